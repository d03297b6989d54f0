-- At what hour should one leave to arrive on time?
SELECT hour(date)                                              AS departs,
       count(*)                                                AS flights,
       count(*) FILTER (delay <= 15) / count(delay)            AS on_time,
       avg(delay) FILTER (delay > 15)                          AS mean_delay_when_late
FROM flights
GROUP BY hour(date)
