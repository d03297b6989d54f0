-- Which routes are flown most, and how many miles are that?
SELECT origin, destination, count(*) AS flights, sum(distance) AS miles
FROM flights
GROUP BY origin, destination
ORDER BY flights DESC, origin, destination
LIMIT 25
