-- The star schema of the Star Schema Benchmark (O'Neil, O'Neil, Chen and Revilak, revision 3), made of TPC-H's tables as
-- its section 2 says: orders and lineitem become lineorder, partsupp's cost goes into it, nation and region go into
-- customer and supplier, and dates become a table. A city is nine letters of the nation and a digit, and a brand is one of
-- forty of its category.
CREATE TABLE lineorder AS
SELECT
    l_orderkey AS lo_orderkey,
    l_linenumber AS lo_linenumber,
    o_custkey AS lo_custkey,
    l_partkey AS lo_partkey,
    l_suppkey AS lo_suppkey,
    strftime(o_orderdate, '%Y%m%d')::INTEGER AS lo_orderdate,
    o_orderpriority AS lo_orderpriority,
    o_shippriority AS lo_shippriority,
    l_quantity::INTEGER AS lo_quantity,
    l_extendedprice AS lo_extendedprice,
    o_totalprice AS lo_ordtotalprice,
    (l_discount * 100)::INTEGER AS lo_discount,
    (l_extendedprice * (1 - l_discount))::DECIMAL(15, 2) AS lo_revenue,
    ps_supplycost AS lo_supplycost,
    (l_tax * 100)::INTEGER AS lo_tax,
    strftime(l_commitdate, '%Y%m%d')::INTEGER AS lo_commitdate,
    l_shipmode AS lo_shipmode
FROM tpch.lineitem
JOIN tpch.orders ON o_orderkey = l_orderkey
JOIN (SELECT ps_partkey, ps_suppkey, min(ps_supplycost) AS ps_supplycost FROM tpch.partsupp GROUP BY ALL)
    ON ps_partkey = l_partkey AND ps_suppkey = l_suppkey
ORDER BY l_orderkey, l_linenumber;

CREATE TABLE customer AS
SELECT
    c_custkey,
    c_name,
    c_address,
    rpad(n_name, 9, ' ') || c_custkey % 10 AS c_city,
    n_name AS c_nation,
    r_name AS c_region,
    c_phone,
    c_mktsegment
FROM tpch.customer
JOIN tpch.nation ON n_nationkey = c_nationkey
JOIN tpch.region ON r_regionkey = n_regionkey
ORDER BY c_custkey;

CREATE TABLE supplier AS
SELECT
    s_suppkey,
    s_name,
    s_address,
    rpad(n_name, 9, ' ') || s_suppkey % 10 AS s_city,
    n_name AS s_nation,
    r_name AS s_region,
    s_phone
FROM tpch.supplier
JOIN tpch.nation ON n_nationkey = s_nationkey
JOIN tpch.region ON r_regionkey = n_regionkey
ORDER BY s_suppkey;

CREATE TABLE part AS
SELECT
    p_partkey,
    p_name,
    replace(p_mfgr, 'Manufacturer', 'MFGR') AS p_mfgr,
    replace(p_brand, 'Brand', 'MFGR') AS p_category,
    replace(p_brand, 'Brand', 'MFGR') || p_partkey % 40 + 1 AS p_brand1,
    split_part(p_name, ' ', 1) AS p_color,
    p_type,
    p_size,
    p_container
FROM tpch.part
ORDER BY p_partkey;

CREATE TABLE date AS
SELECT
    strftime(day, '%Y%m%d')::INTEGER AS d_datekey,
    strftime(day, '%B %-d, %Y') AS d_date,
    dayname(day) AS d_dayofweek,
    monthname(day) AS d_month,
    year(day) AS d_year,
    year(day) * 100 + month(day) AS d_yearmonthnum,
    strftime(day, '%b%Y') AS d_yearmonth,
    day(day) AS d_daynuminmonth,
    dayofyear(day) AS d_daynuminyear,
    month(day) AS d_monthnuminyear,
    (dayofyear(day) - 1) // 7 + 1 AS d_weeknuminyear
FROM range(DATE '1992-01-01', DATE '1999-01-01', INTERVAL '1 day') AS r(day)
ORDER BY day;
