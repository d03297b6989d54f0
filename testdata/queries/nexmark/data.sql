-- Nexmark's three streams as its generator makes them: of every fifty events one is a person, three are auctions and the
-- rest are bids, a hot tenth of the auctions and bidders gets most of the bids, and prices lie on a logarithmic scale.
-- An event's number decides all of it, so the data are the same each time.
CREATE MACRO pick(n, salt, below) AS (hash(n * 1000 + salt) % below)::BIGINT;

CREATE TABLE person AS
SELECT
    n // 50 AS id,
    ['Peter', 'Paul', 'Luke', 'John', 'Saul', 'Vicky', 'Kate', 'Julie', 'Sarah', 'Deiter', 'Walter'][pick(n, 1, 11) + 1]
        || ' ' || ['Shultz', 'Abrams', 'Spencer', 'White', 'Bartels', 'Walton', 'Smith', 'Jones', 'Noris'][pick(n, 2, 9) + 1] AS name,
    'p' || n || '@example.com' AS emailAddress,
    lpad(pick(n, 3, 10000)::VARCHAR, 4, '0') || ' ' || lpad(pick(n, 4, 10000)::VARCHAR, 4, '0') AS creditCard,
    ['Phoenix', 'Los Angeles', 'San Francisco', 'Boise', 'Portland', 'Bend', 'Redmond', 'Seattle', 'Kent', 'Cheyenne'][pick(n, 5, 10) + 1] AS city,
    ['AZ', 'CA', 'ID', 'OR', 'WA', 'WY'][pick(n, 6, 6) + 1] AS state,
    TIMESTAMP '2024-01-01' + to_milliseconds(n * 100) AS dateTime,
    repeat('x', pick(n, 7, 5)::INTEGER) AS extra
FROM range(0, 6000, 50) AS r(n);

CREATE TABLE auction AS
SELECT
    n // 50 * 3 + n % 50 - 1 AS id,
    'item ' || pick(n, 1, 200) AS itemName,
    'an item, ' || pick(n, 2, 1000) AS description,
    pick(n, 3, 1000) AS initialBid,
    1000 + pick(n, 4, 100000) AS reserve,
    TIMESTAMP '2024-01-01' + to_milliseconds(n * 100) AS dateTime,
    TIMESTAMP '2024-01-01' + to_milliseconds(n * 100) + to_seconds(10 + pick(n, 5, 50)) AS expires,
    CASE WHEN pick(n, 6, 4) > 0 THEN n // 50 // 10 * 10 ELSE pick(n, 7, n // 50 + 1) END AS seller,
    10 + pick(n, 8, 5) AS category,
    repeat('y', pick(n, 9, 5)::INTEGER) AS extra
FROM range(6000) AS r(n)
WHERE n % 50 BETWEEN 1 AND 3;

CREATE TABLE bid AS
SELECT
    CASE WHEN pick(n, 1, 2) > 0 THEN (n // 50 * 3 + 2) // 10 * 10 ELSE pick(n, 2, n // 50 * 3 + 3) END AS auction,
    CASE WHEN pick(n, 3, 4) > 0 THEN n // 50 // 10 * 10 + 1 ELSE pick(n, 4, n // 50 + 1) END AS bidder,
    round(pow(10, pick(n, 5, 6000) / 1000.0) * 100)::BIGINT AS price,
    ['Google', 'Facebook', 'Baidu', 'Apple', 'channel-' || pick(n, 6, 100)][pick(n, 7, 5) + 1] AS channel,
    'https://www.nexmark.com/' || ['abo', 'eig', 'owk'][pick(n, 8, 3) + 1] || '/' || ['tio', 'ceq'][pick(n, 9, 2) + 1] || '/item.htm?query=1'
        || CASE WHEN pick(n, 10, 2) > 0 THEN '&channel_id=' || pick(n, 11, 1000) ELSE '' END AS url,
    TIMESTAMP '2024-01-01' + to_milliseconds(n * 100) AS dateTime,
    repeat('c', pick(n, 12, 4)::INTEGER) || 'z' AS extra
FROM range(6000) AS r(n)
WHERE n % 50 > 3;
