-- Where is the delay a lottery? Deviation and variance in minutes, where there are flights enough to tell.
SELECT origin,
       count(delay)              AS flights,
       round(stddev(delay), 6)   AS deviation,
       round(variance(delay), 6) AS variance
FROM flights
GROUP BY origin
HAVING count(delay) >= 100
