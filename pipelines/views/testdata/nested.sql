-- The views of testdata/nested.txt: each ends with ; and its name stands in the comment above it. In DuckDB they are
-- created in this order.

-- late
SELECT origin, count(*) AS n, avg(delay) AS mean
FROM flights
WHERE delay > 15 GROUP BY origin;
-- top
SELECT origin, n FROM late ORDER BY n DESC, origin LIMIT 2;
-- two
SELECT origin, n FROM late ORDER BY n LIMIT 2;
-- unnamed
SELECT dest, count(*), double(max(delay)), sum(count(*)) OVER () > 1 FROM flights GROUP BY dest;
-- cities
WITH flights AS (SELECT iata, city FROM airports), late AS (SELECT * FROM flights WHERE city > 'B')
SELECT coalesce(city, iata) AS place, (SELECT count(*) FROM late) AS n FROM flights ORDER BY place;
-- pairs
SELECT a.origin AS x, b.origin AS y FROM late AS a JOIN Late AS b ON a.n < b.n;
-- matches
SELECT * FROM late UNION ALL SELECT * FROM late ORDER BY n;
-- deep
SELECT p.x, m.n, c.place FROM pairs AS p JOIN matches AS m ON p.x = m.origin LEFT JOIN cities AS c ON c.n = m.n;
