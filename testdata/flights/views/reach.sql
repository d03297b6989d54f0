-- How far does one get without a stop from the airports with forty destinations or more?
SELECT origin,
       count(DISTINCT destination)    AS destinations,
       arg_min(destination, distance) AS nearest,
       min(distance)                  AS nearest_miles,
       arg_max(destination, distance) AS farthest,
       max(distance)                  AS farthest_miles
FROM flights
WHERE distance > 0
GROUP BY origin
HAVING count(DISTINCT destination) >= 40
