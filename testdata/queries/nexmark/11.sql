-- User sessions: how many bids a user makes in each, a pause of ten seconds ending it
SELECT bidder, count(*) AS bid_count, session(dateTime, INTERVAL '10 seconds') AS starttime, max(dateTime) AS endtime
FROM bid
GROUP BY bidder, session(dateTime, INTERVAL '10 seconds')
