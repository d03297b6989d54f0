-- Hot items: which auctions have seen the most bids in the last ten seconds, every two
SELECT auction, starttime, num
FROM (
    SELECT auction, starttime, count(*) AS num
    FROM bid, unnest(generate_series(
        time_bucket(INTERVAL '2 seconds', dateTime) - INTERVAL '8 seconds',
        time_bucket(INTERVAL '2 seconds', dateTime),
        INTERVAL '2 seconds')) AS hop(starttime)
    GROUP BY auction, starttime
)
QUALIFY num = max(num) OVER (PARTITION BY starttime)
