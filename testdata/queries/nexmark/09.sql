-- Winning bids
SELECT id, itemName, description, initialBid, reserve, expires, seller, category, bidder, price, bid_dateTime
FROM (
    SELECT
        a.*,
        b.bidder,
        b.price,
        b.dateTime AS bid_dateTime,
        row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.dateTime ASC) AS rownum
    FROM auction a, bid b
    WHERE a.id = b.auction AND b.dateTime BETWEEN a.dateTime AND a.expires
)
WHERE rownum <= 1
