-- Processing time windows: how many bids a user makes in ten seconds of append time
SELECT bidder, count(*) AS bid_count, time_bucket(INTERVAL '10 seconds', _timestamp) AS starttime
FROM bid
GROUP BY bidder, starttime
