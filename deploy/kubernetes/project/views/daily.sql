-- What did each day look like?
SELECT time_bucket(INTERVAL '1 day', date) AS day,
       count(*)                            AS flights,
       count(DISTINCT origin)              AS airports,
       sum(distance)                       AS miles,
       count(*) FILTER (delay > 60)        AS over_an_hour_late
FROM flights
GROUP BY day
ORDER BY day
