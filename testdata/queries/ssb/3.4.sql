-- The same in a month
SELECT c_city, s_city, d_year, sum(lo_revenue) AS revenue
FROM customer, lineorder, supplier, date
WHERE lo_custkey = c_custkey
  AND lo_suppkey = s_suppkey
  AND lo_orderdate = d_datekey
  AND (c_city = 'CANADA   2' OR c_city = 'CANADA   5')
  AND (s_city = 'CANADA   0' OR s_city = 'CANADA   3')
  AND d_yearmonth = 'Oct1992'
GROUP BY c_city, s_city, d_year
ORDER BY d_year ASC, revenue DESC
