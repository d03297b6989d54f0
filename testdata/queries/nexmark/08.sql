-- Monitor new users: people who came and opened an auction in the same ten seconds
SELECT p.id, p.name, p.starttime
FROM (
    SELECT id, name, time_bucket(INTERVAL '10 seconds', dateTime) AS starttime
    FROM person
    GROUP BY ALL
) p
JOIN (
    SELECT seller, time_bucket(INTERVAL '10 seconds', dateTime) AS starttime
    FROM auction
    GROUP BY ALL
) a
ON p.id = a.seller AND p.starttime = a.starttime
