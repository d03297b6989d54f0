-- Views over the topic t and the reference r, each compared with DuckDB run directly on all rows, for random rows cut
-- into random chunks. A view ends with ; and its name stands in the comment above it. "ties" after the name: DuckDB's
-- own answer depends on how it reads the rows, or loses digits that the plans keep, so the view is compared with its raw
-- plan only.

-- count
SELECT g, count(*) AS n, count(i) AS ni, count(s) FILTER (b) AS ns FROM t GROUP BY g;
-- count of nothing
SELECT count(*), count(i), sum(i), min(s), avg(d) FROM t WHERE i > 2000000000;
-- global
SELECT count(*), sum(i), sum(l), sum(h), sum(dc), sum(big), avg(i), avg(dc), min(ts), max(s) FROM t;
-- sums of every kind
SELECT g, sum(i), sum(l), sum(h), sum(dc), sum(big), sum(d), sum(b), sum(ut) FROM t GROUP BY g;
-- sum of infinities
SELECT sum(x), min(x), max(x), count(DISTINCT x) FROM t;
-- averages
SELECT g, avg(i), avg(l), avg(h), avg(dc), avg(d), mean(ut) FROM t GROUP BY g;
-- ratio
SELECT s, sum(dc) / nullif(count(i), 0) AS ratio, 100.0 * count(*) FILTER (i > 0) / count(*) AS share FROM t GROUP BY s;
-- min and max
SELECT g, min(i), max(l), min(h), max(dc), min(d), max(s), min(ts), max(dt), min(u), max(bt), min(b), max(tz) FROM t GROUP BY g;
-- min and max of nested
SELECT min(tags), max(st), min(m) FROM t;
-- bool
SELECT g, bool_and(b), bool_or(b), bool_and(i > 0) FILTER (b) FROM t GROUP BY g;
-- bit
SELECT g, bit_and(i), bit_or(l), bit_xor(h), bit_or(bt), bit_and(ut) FROM t GROUP BY g;
-- distinct counts
SELECT g, count(DISTINCT i), count(DISTINCT s), count(DISTINCT h), count(DISTINCT u), count(DISTINCT dc), count(DISTINCT b) FILTER (i > 0) FROM t GROUP BY g;
-- distinct nested
SELECT count(DISTINCT st), count(DISTINCT tags), count(DISTINCT dt), count(DISTINCT lower(s)) FROM t;
-- distinct sums
SELECT g, sum(DISTINCT i), avg(DISTINCT dc), max(DISTINCT s) FROM t GROUP BY g;
-- arg_min ties
SELECT g, arg_min(s, i), arg_max(s, i), min_by(h, dt), max_by(u, ts) FROM t GROUP BY g;
-- arg_min filter ties
SELECT arg_min(i, s) FILTER (b), argmax(tags, d), arg_max_null(iv, i), arg_min_null(s, i) FROM t;
-- arg_max after a join ties
SELECT t.g, arg_max(r.name, t.i), arg_min(r.w, t.s) FROM t JOIN r ON t.g = r.g GROUP BY t.g;
-- first and last ties
SELECT g, first(i), last(i), any_value(i), last(s) FILTER (b) FROM t GROUP BY g;
-- spread
SELECT g, stddev(d), stddev_samp(d), stddev_pop(d), variance(d), var_samp(d), var_pop(d) FROM t GROUP BY g;
-- spread of integers
SELECT stddev(i % 1000), var_pop(dc), stddev_pop(ut) FILTER (b) FROM t;
-- count_if and product
SELECT g, count_if(i > 0), countif(b), product(1 + ut % 3) FROM t GROUP BY g;
-- kahan
SELECT fsum(d), kahan_sum(d) FROM t;
-- keys of many types
SELECT h, u, dt, b, count(*) FROM t GROUP BY ALL;
-- key that travels as text
SELECT iv, bt, j, count(*) AS n, sum(h) FROM t GROUP BY iv, bt, j;
-- nested key
SELECT st, tags, max(i) FROM t GROUP BY st, tags;
-- key in a struct
SELECT st.a AS a, t.st.b, count(*) FROM t GROUP BY a, t.st.b;
-- position, alias and expression keys
SELECT upper(s) AS up, date_trunc('month', ts) AS mon, CASE WHEN i > 0 THEN 'late' WHEN i IS NULL THEN 'none' ELSE 'early' END AS how, count(*) FROM t GROUP BY 1, mon, how;
-- time bucket
SELECT time_bucket(INTERVAL '1 day', ts) AS day, g, sum(i) FROM t GROUP BY ALL ORDER BY day NULLS FIRST, g DESC NULLS LAST;
-- having
SELECT g, count(*) AS n FROM t GROUP BY g HAVING n > 2 AND max(i) IS NOT NULL;
-- order and limit
SELECT g, count(*) AS n, sum(i) FROM t GROUP BY g ORDER BY g NULLS LAST LIMIT 2 OFFSET 1;
-- limit among ties
SELECT s, count(*) AS n FROM t GROUP BY s ORDER BY n DESC LIMIT 2;
-- order by an aggregate that is not shown
SELECT g FROM t GROUP BY g ORDER BY sum(i) DESC NULLS LAST, g;
-- order by all
SELECT g, b, count(*) FROM t GROUP BY ALL ORDER BY ALL;
-- distinct answer
SELECT DISTINCT count(*) > 1 AS many, b FROM t GROUP BY s, b;
-- distinct rows
SELECT DISTINCT g, b FROM t WHERE i IS NOT NULL;
-- group by without aggregates
SELECT g, upper(g) FROM t GROUP BY g;
-- where
SELECT g, sum(i) FROM t WHERE b AND s LIKE '%a%' OR i BETWEEN -5 AND 5 GROUP BY g;
-- where over an alias
SELECT i * 2 AS twice, count(*) FROM t WHERE twice > 0 GROUP BY twice;
-- lateral alias
SELECT g, sum(i) AS total, count(*) AS n, total / n AS per FROM t GROUP BY g;
-- left join
SELECT r.name, t.b, count(*), count(r.g), sum(t.i * r.w) FROM t LEFT JOIN r ON t.g = r.g GROUP BY ALL;
-- right join mirrored
SELECT name, sum(i) FROM r RIGHT JOIN t USING (g) GROUP BY name;
-- using key
SELECT g, name, count(*) FROM t JOIN r USING (g) GROUP BY g, name;
-- cross join
SELECT r.w, sum(t.i) FROM t, r WHERE t.i > r.w GROUP BY r.w;
-- semi join
SELECT count(*), sum(i) FROM t SEMI JOIN r ON t.g = r.g;
-- anti join
SELECT s, count(*) FROM t ANTI JOIN r USING (g) GROUP BY s;
-- subquery in where
SELECT g, count(*) FROM t WHERE g IN (SELECT g FROM r WHERE w > 1) AND i < (SELECT max(w) * 100 FROM r) GROUP BY g;
-- correlated subquery in an aggregate
SELECT b, sum((SELECT max(w) FROM r WHERE r.g = t.g)) FROM t GROUP BY b;
-- subquery in having
SELECT g, count(*) FROM t GROUP BY g HAVING count(*) > (SELECT count(*) / 2 FROM r);
-- subquery in from
SELECT q.name, max(t.dc) FROM t JOIN (SELECT g, min(name) AS name FROM r GROUP BY g) q ON q.g = t.g GROUP BY q.name;
-- two joins
SELECT a.name, z.w, count(*) FROM t LEFT JOIN r a ON a.g = t.g LEFT JOIN r z ON z.w = t.ut GROUP BY ALL;
-- asof join
SELECT r.name, count(*), sum(t.i) FROM t ASOF LEFT JOIN (SELECT DISTINCT ON (w) w, name FROM r WHERE w IS NOT NULL ORDER BY w, name) r ON t.ut >= r.w GROUP BY r.name;
-- lambda
SELECT g, sum(len(list_filter(tags, lambda x: x <> 'a'))), max(list_transform(tags, lambda i: i || '!')) FROM t GROUP BY g;
-- lambda over an aggregate
SELECT g, list_transform([1, 2], lambda k: k + count(*)) FROM t GROUP BY g;
-- unnest in from
SELECT tag, count(*) FROM t, unnest(t.tags) AS u(tag) GROUP BY tag;
-- json
SELECT j->>'$.k' AS k, count(*) FROM t GROUP BY k;
-- system columns
SELECT _partition, count(*), min(_offset), max(_offset), max(_timestamp) FROM t GROUP BY _partition;
-- unicode names
SELECT g AS "größe", count(*) AS "n""ummer" FROM t AS "Tabelle 1" GROUP BY "größe" ORDER BY "n""ummer", "größe";
-- alias hides column
SELECT -i AS i, count(*) FROM t GROUP BY t.i ORDER BY i;
-- constants
SELECT 'all' AS who, g, count(*), 42 FROM t GROUP BY g;
-- casts
SELECT CAST(avg(i) AS INTEGER) AS a, round(avg(d), 1) IS NULL AS r, sum(i)::VARCHAR || '!' AS s, b FROM t GROUP BY b;
-- distinct of every kind
SELECT g, count(DISTINCT iv), count(DISTINCT x), stddev(DISTINCT i % 1000), string_agg(DISTINCT s, ',' ORDER BY s), count(DISTINCT s) FILTER (b), sum(ut) FROM t GROUP BY g;
-- distinct pairs
SELECT count(DISTINCT (s, b)), count(DISTINCT s) FROM t;
-- median and quantiles
SELECT g, median(i), quantile_cont(d, 0.9), quantile_disc(s, 0.5), quantile_cont(d, [0.1, 0.5]), mad(ut), percentile_cont(0.25) WITHIN GROUP (ORDER BY d DESC) FROM t GROUP BY g;
-- median beside a sum
SELECT b, median(ut) FILTER (i > 0) AS m, sum(i), median(ut) FILTER (i > 0) + count(*) AS n FROM t GROUP BY b HAVING median(ut) IS NOT NULL OR count(*) > 3;
-- median of nothing
SELECT median(i), count(DISTINCT i), mode(s) FROM t WHERE i > 2000000000;
-- mode ties
SELECT g, mode(i), mode(s) FILTER (b) FROM t GROUP BY g;
-- histogram and entropy
SELECT g, histogram(ut), entropy(s), entropy(ut % 2) FILTER (i > 7), histogram(s) FILTER (b) FROM t GROUP BY g;
-- bag counted and spread out
SELECT g, median(ut), histogram(ut), count(DISTINCT ut), entropy(ut) FROM t GROUP BY g;
-- lists ties
SELECT g, list(i), array_agg(s), string_agg(s, '-') FROM t GROUP BY g;
-- lists in order ties
SELECT g, list(i ORDER BY d DESC NULLS FIRST), string_agg(s, '-' ORDER BY i), list(s ORDER BY ts) FILTER (b), first(i ORDER BY ts), arg_max(s, i ORDER BY d) FROM t GROUP BY g;
-- list of a distinct
SELECT list(DISTINCT i ORDER BY i), array_agg(DISTINCT s ORDER BY s DESC) FROM t;
-- list after a join ties
SELECT t.b, list(r.name), count(*) FROM t JOIN r ON t.g = r.g GROUP BY t.b;
-- sketches ties
SELECT g, approx_count_distinct(i), approx_count_distinct(s) FILTER (b), approx_quantile(d, 0.5), approx_quantile(i, [0.1, 0.9]), approx_top_k(s, 2), approx_quantile(ts, 0.5) FROM t GROUP BY g;
-- sketches of nothing ties
SELECT approx_count_distinct(i), approx_quantile(d, 0.5), approx_top_k(s, 2) FROM t WHERE i > 2000000000;
-- rollup
SELECT g, b, sum(i), count(*), grouping(g), grouping(g, b) AS l FROM t GROUP BY ROLLUP (g, b);
-- cube
SELECT g, b, avg(d), count(DISTINCT s), median(ut) FROM t GROUP BY CUBE (g, b);
-- grouping sets
SELECT coalesce(g, '-') AS who, b, count(*) AS n FROM t GROUP BY GROUPING SETS ((g), (b), ()) HAVING count(*) > 1 ORDER BY ALL;
-- grouping sets twice
SELECT g, count(*) FROM t GROUP BY GROUPING SETS ((g), (g), ());
-- window over groups
SELECT g, count(*) AS n, sum(count(*)) OVER () AS total, rank() OVER (ORDER BY count(*) DESC) AS place, 100.0 * sum(ut) / sum(sum(ut)) OVER () AS share FROM t GROUP BY g;
-- qualify over groups
SELECT g, b, sum(i) AS n FROM t GROUP BY g, b QUALIFY rank() OVER (PARTITION BY b ORDER BY n DESC) <= 2;
-- filtered rows
SELECT g, i, d * 2 AS twice FROM t WHERE b;
-- every column
SELECT * FROM t WHERE i > 0;
-- star and more
SELECT *, i + 1 AS more FROM t WHERE NOT b;
-- rows after a join
SELECT t.s, r.name FROM t LEFT JOIN r USING (g);
-- first rows ties
SELECT s, i, ts FROM t ORDER BY i DESC NULLS LAST, d LIMIT 5 OFFSET 1;
-- first rows by what is not shown ties
SELECT s FROM t ORDER BY abs(l % 7), ts DESC, s, _offset LIMIT 4;
-- sorted rows ties
SELECT s, b, i FROM t ORDER BY ALL;
-- unnested rows
SELECT g, unnest(tags) AS tag FROM t;
-- cte over rows
WITH late AS (SELECT g, i * 2 AS i, s FROM t WHERE b), named AS (SELECT late.*, r.name FROM late JOIN r USING (g)) SELECT name, sum(i), count(DISTINCT s) FROM named GROUP BY name;
-- cte over groups
WITH per AS (SELECT g, b, count(*) AS n, sum(ut) AS u FROM t GROUP BY g, b) SELECT g, max(n), sum(u) / sum(n) AS mean FROM per GROUP BY g;
-- cte twice
WITH per AS (SELECT g, count(*) AS n FROM t GROUP BY g) SELECT a.g, a.n, (SELECT sum(n) FROM per) AS total FROM per a WHERE a.n >= (SELECT avg(n) FROM per);
-- subquery over groups
SELECT b, max(n) FROM (SELECT b, g, count(*) AS n FROM t GROUP BY ALL) GROUP BY b;
-- subquery over rows
SELECT big, count(*) FROM (SELECT CASE WHEN i > 100 THEN 'big' ELSE 'small' END AS big, ts FROM t) AS q GROUP BY big;
-- union of rows in from
SELECT v, count(*) FROM (SELECT g AS v FROM t UNION ALL SELECT s FROM t WHERE b) GROUP BY v;
-- union of groups
SELECT g AS v, count(*) AS n FROM t GROUP BY g UNION ALL SELECT s, sum(ut) FROM t GROUP BY s ORDER BY ALL;
-- union of rows and a reference
SELECT g FROM t WHERE b UNION ALL SELECT g FROM r;
-- union, intersect and except
(SELECT g FROM t WHERE b UNION SELECT s FROM t) INTERSECT SELECT g FROM t EXCEPT SELECT g FROM r;
-- share of the whole
SELECT g, sum(ut) / (SELECT sum(ut) FROM t) AS share, count(*) FROM t GROUP BY g;
-- in a result
SELECT g, count(*) AS n FROM t GROUP BY g HAVING g IN (SELECT s FROM t GROUP BY s HAVING count(*) > 1) OR n > (SELECT max(w) FROM r);
-- results joined
SELECT a.g, a.n, z.m, r.name FROM (SELECT g, count(*) AS n FROM t GROUP BY g) a LEFT JOIN (SELECT s, max(i) AS m FROM t GROUP BY s) z ON a.g = z.s LEFT JOIN r ON r.g = a.g;
-- top of each group
SELECT g, b, n FROM (SELECT g, b, count(*) AS n, row_number() OVER (PARTITION BY g ORDER BY count(*) DESC, b) AS place FROM t GROUP BY g, b) WHERE place <= 1;
-- average of the last rows ties
SELECT avg(ut), count(*) FROM (SELECT ut FROM t ORDER BY ts DESC, _offset, ut LIMIT 7);
-- distinct from a cte
WITH a AS (SELECT DISTINCT g, b FROM t) SELECT count(*) FROM a;
-- first through a subquery ties
SELECT g, first(i), last(s) FROM (SELECT * FROM t WHERE b) GROUP BY g;
-- lists through a union ties
WITH u AS (SELECT * FROM t WHERE b UNION ALL SELECT * FROM t WHERE NOT b) SELECT g, list(i), any_value(s) FROM u GROUP BY g;
-- any value of what was reckoned ties
SELECT k, any_value(v), count(*) FROM (SELECT g AS k, i + 1 AS v FROM t) GROUP BY k;
-- renamed columns
SELECT q.a, count(*) FROM t AS q(a) GROUP BY q.a;
-- recursion over a reference
WITH RECURSIVE n AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM n WHERE n < 3) SELECT n.n, sum(t.ut) FROM t, n GROUP BY n.n;
-- lateral
SELECT tag, count(*) FROM t, LATERAL (SELECT unnest(t.tags) AS tag) u GROUP BY tag;
-- sessions ties
SELECT g, session(tz, INTERVAL 1 DAY) AS s, count(*), sum(ut), max(tz), arg_max(s, i) FROM t GROUP BY ALL;
-- sessions by append time ties
SELECT session(_timestamp, INTERVAL 1 MICROSECOND) AS begun, b, count(*) AS n FROM t GROUP BY begun, b HAVING n > 1 ORDER BY ALL;
-- session alone ties
SELECT session(ts, INTERVAL '1 month') AS s, min(ts), max(ts), count(*) FROM t GROUP BY 1;
-- ties through what was reckoned ties
SELECT k, first(v), arg_max(k, v), list(v), mode(v), min(n) FROM (SELECT g AS k, i % 3 AS v, ut AS n FROM t WHERE b) GROUP BY k;
-- ties through a cte ties
WITH q AS (SELECT g AS k, ut % 3 AS v FROM t), z AS (SELECT k, v + 1 AS v FROM q) SELECT k, arg_min(v, v % 2), last(v), string_agg(v, '') FROM z GROUP BY k;
-- mode under a rollup ties
SELECT g, b, mode(i), mode(s) FILTER (b) FROM t GROUP BY ROLLUP (g, b);
-- mode in several ways ties
SELECT g, mode(i), mode(i) FILTER (b), mode(DISTINCT s), count(DISTINCT i), median(i) FROM t GROUP BY g;
-- spread of one and of none ties
SELECT i, var_pop(d), var_samp(d), stddev_pop(d), stddev(d), sem(d), skewness(d), kurtosis(d), kurtosis_pop(d) FROM t GROUP BY i;
-- shape ties
SELECT g, skewness(d), kurtosis(d), kurtosis_pop(d), sem(d), skewness(ut) FILTER (b), kurtosis(i % 1000) FROM t GROUP BY g;
-- covariance
SELECT g, covar_pop(d, ut), covar_samp(ut, d), corr(d, ut), corr(i % 100, d) FILTER (b), corr(d, d) FROM t GROUP BY g;
-- regression
SELECT g, regr_count(d, ut), regr_avgx(d, ut), regr_avgy(d, ut), regr_sxx(d, ut), regr_syy(d, ut), regr_sxy(d, ut), regr_slope(d, ut), regr_intercept(d, ut), regr_r2(d, ut) FROM t GROUP BY g;
-- regression of a constant
SELECT regr_slope(d, 0.1), regr_intercept(d, 0.1), regr_r2(d, 0.1), regr_r2(0.1, d), corr(0.1, d), regr_sxx(d, 0.1), covar_pop(0.1, d) FROM t WHERE d > 0;
-- moments of an offset ties
SELECT skewness(1e9 + d), kurtosis(1e9 + d), kurtosis_pop(1e9 + d) FROM t;
-- moments in an expression
SELECT b, round(stddev(d) / nullif(avg(d), 0), 6) AS cv, 2 * corr(d, ut) AS twice, count(*) FROM t GROUP BY b HAVING regr_count(d, ut) > 2;
-- moments over all sets ties
SELECT g, b, corr(d, ut), skewness(d), regr_slope(ut, d) FROM t GROUP BY ROLLUP (g, b);
-- geometric and weighted averages
SELECT g, geomean(d), geometric_mean(1.5 + ut), wavg(d, ut), weighted_avg(ut, 1 + i % 2), favg(d) FROM t GROUP BY g;
-- averages of times
SELECT g, avg(ts), avg(tz), avg(dt), avg(iv), avg(ts) FILTER (b), avg(CAST(ts AS TIME)) FROM t GROUP BY g;
-- largest and smallest
SELECT g, max(i, 3), min(s, 2), max(dc, 1), min(ts, 2) FILTER (b), max(h, 2), min(tags, 2), max(st, 3), max(DISTINCT i, 2) FROM t GROUP BY g;
-- rows of the largest and smallest ties
SELECT g, arg_max(s, i, 2), arg_min(h, ts, 3), max_by(st, ut, 2) FILTER (b), min_by(iv, d, 1) FROM t GROUP BY g;
-- rows of the largest after a join ties
SELECT t.b, arg_max(r.name, t.i, 3) FROM t JOIN r ON t.g = r.g GROUP BY t.b;
-- bit strings
SELECT g, bitstring_agg(ut, 0, 255), bitstring_agg(i % 5, -4, 4) FILTER (b) FROM t GROUP BY g;
-- constants in aggregates ties
SELECT list('x'), mode(3), string_agg('a', '-'), count(DISTINCT 1), first(2) FROM t;
-- most frequent in having ties
SELECT g, approx_top_k(s, 2) AS top FROM t GROUP BY g HAVING approx_top_k(s, 2) IS NOT NULL AND len(top) > 0;
-- moments of distinct values ties
SELECT g, corr(DISTINCT d, ut), regr_count(DISTINCT d, ut), covar_pop(DISTINCT ut, d) FILTER (b), favg(DISTINCT d), skewness(DISTINCT d), sem(DISTINCT ut), bitstring_agg(DISTINCT ut, 0, 255), avg(DISTINCT ts), avg(DISTINCT dt) FROM t GROUP BY g;
-- moments of distinct values with an offset ties
SELECT g, skewness(DISTINCT 1e9 + d), kurtosis(DISTINCT 1e9 + d * (i % 7)) FILTER (b), kurtosis_pop(DISTINCT 1e9 + d) FROM t GROUP BY g;
-- moments of groups with an offset ties
WITH per AS (SELECT g, s, sum(d) AS d FROM t GROUP BY g, s) SELECT g, skewness(1e9 + d), kurtosis(1e9 + d) FROM per GROUP BY g;
-- union of rows in a cte
WITH u AS (SELECT g AS who, i FROM t UNION ALL SELECT s, ut FROM t WHERE b) SELECT who, count(*), sum(i), count(DISTINCT i) FROM u GROUP BY who;
-- mode after a join ties
SELECT t.b, mode(r.name) FROM t JOIN r ON t.g = r.g GROUP BY ROLLUP (t.b);
-- values of sessions ties
SELECT g, session(tz, INTERVAL 1 DAY) AS begun, count(*), count(DISTINCT s), median(ut), list(i), mode(s) FROM t GROUP BY ALL;
-- values of sessions of all ties
SELECT session(_timestamp, INTERVAL 1 MICROSECOND) AS begun, string_agg(s, ''), max(i) FROM t GROUP BY begun;
-- the one group
SELECT 1 AS one FROM t GROUP BY ();
-- counted values of sessions ties
SELECT g, session(tz, INTERVAL 1 DAY) AS begun, histogram(s), entropy(ut), approx_top_k(s, 2), mode(s) FROM t GROUP BY g, begun;
-- a quantile of no integers ties
SELECT approx_quantile(i, 0.5), approx_quantile(i, [0.5]) FROM t WHERE i IS NULL;
