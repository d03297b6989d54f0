-- One file a view: one SELECT. The file's name is the view's.
SELECT time_bucket(INTERVAL '1 minute', ts) AS minute,
       kind,
       count(*)    AS events,
       sum(amount) AS amount
FROM events
GROUP BY ALL
ORDER BY minute, kind
