-- Highest bid of each ten seconds
SELECT b.auction, b.price, b.bidder, b.dateTime, b.extra
FROM bid b
JOIN (
    SELECT max(price) AS maxprice, time_bucket(INTERVAL '10 seconds', dateTime) AS w
    FROM bid
    GROUP BY w
) b1
ON b.price = b1.maxprice AND time_bucket(INTERVAL '10 seconds', b.dateTime) = b1.w
