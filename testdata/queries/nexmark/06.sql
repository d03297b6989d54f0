-- Average selling price by seller, of his last ten auctions
SELECT
    seller,
    dateTime,
    avg(final) OVER (PARTITION BY seller ORDER BY dateTime, id ROWS BETWEEN 10 PRECEDING AND CURRENT ROW) AS average
FROM (
    SELECT a.seller, a.id, max(b.price) AS final, max(b.dateTime) AS dateTime
    FROM auction AS a, bid AS b
    WHERE a.id = b.auction AND b.dateTime BETWEEN a.dateTime AND a.expires
    GROUP BY a.seller, a.id
)
