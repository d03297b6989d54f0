-- Which states wait longest? The airports come from reference/airports.csv.
SELECT a.state,
       count(*)                 AS flights,
       count(DISTINCT f.origin) AS airports,
       avg(f.delay)             AS mean_delay
FROM flights AS f
JOIN airports AS a ON a.iata = f.origin
GROUP BY a.state
ORDER BY mean_delay DESC, a.state
