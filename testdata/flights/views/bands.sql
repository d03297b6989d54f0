-- How are delays spread over bands, on short and on long hauls?
SELECT CASE WHEN delay < 0 THEN 'early'
            WHEN delay <= 15 THEN 'on time'
            WHEN delay <= 60 THEN 'late'
            ELSE 'very late' END                               AS band,
       distance >= 1500                                        AS long_haul,
       count(*)                                                AS flights,
       sum(CASE WHEN delay > 0 THEN delay ELSE 0 END)          AS minutes_lost
FROM flights
WHERE delay IS NOT NULL
GROUP BY ALL
