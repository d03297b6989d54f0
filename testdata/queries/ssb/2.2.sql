-- The same of a range of brands
SELECT sum(lo_revenue) AS lo_revenue, d_year, p_brand1
FROM lineorder, date, part, supplier
WHERE lo_orderdate = d_datekey
  AND lo_partkey = p_partkey
  AND lo_suppkey = s_suppkey
  AND p_brand1 BETWEEN 'MFGR#3211' AND 'MFGR#3219'
  AND s_region = 'AFRICA'
GROUP BY d_year, p_brand1
ORDER BY d_year, p_brand1
