-- Where do people of one state fly at the weekend, and what was the first such flight?
SELECT a.state                    AS from_state,
       b.state                    AS to_state,
       count(*)                   AS flights,
       min(f.date)                AS first_flight,
       avg(f.distance)            AS mean_miles
FROM flights AS f
JOIN airports AS a ON a.iata = f.origin
JOIN airports AS b ON b.iata = f.destination
WHERE dayofweek(f.date) IN (0, 6) AND a.state <> b.state
GROUP BY a.state, b.state
HAVING count(*) >= 5
ORDER BY flights DESC, from_state, to_state
LIMIT 50
