-- How late do flights arrive, by the airport they left?
SELECT origin,
       count(*)              AS flights,
       avg(delay)            AS mean_delay,
       min(delay)            AS earliest,
       max(delay)            AS latest
FROM flights
GROUP BY origin
