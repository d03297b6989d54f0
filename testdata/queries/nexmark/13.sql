-- Bounded side input join
SELECT b.auction, b.bidder, b.price, b.dateTime, p.name AS value
FROM bid AS b
JOIN person AS p ON p.id = mod(b.auction, 100)
