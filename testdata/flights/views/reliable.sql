-- On which routes was nobody ever two hours late, and did anybody arrive early?
SELECT origin, destination,
       count(*)              AS flights,
       bool_and(delay < 120) AS never_two_hours_late,
       bool_or(delay < 0)    AS sometimes_early
FROM flights
GROUP BY origin, destination
HAVING count(*) >= 20 AND bool_and(delay < 120)
