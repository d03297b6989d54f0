-- The macros of testdata/macros.txt, as views/_macros.sql would have them.
CREATE MACRO double(x) AS x * 2;
CREATE MACRO scaled(x, times := 10, plus := 0) AS x * times + plus;
CREATE OR REPLACE FUNCTION quadruple(x) AS double(double(x));
create macro late_share(x, limit_ := 15) AS count(*) FILTER (WHERE x > limit_) / count(*); -- ; not the end
CREATE MACRO spread(a) AS max(a) - min(a), (a, b) AS max(a) - min(b);

/* a SELECT within: /* the column named as an argument */ is the caller's */
CREATE MACRO city_of(of_) AS (SELECT min(a.city) FROM airports AS a WHERE a.iata = upper(of_) OR iata = of_);
CREATE MACRO flights_from(x) AS (SELECT count(*) FROM flights WHERE flights.origin = x);
CREATE MACRO rank_of(d) AS (WITH c AS (SELECT date FROM flights WHERE date < d) SELECT count(*) FROM c);
CREATE MACRO plus_all(l, n) AS list_transform(l, lambda e: e || n);
CREATE MACRO field_of(s) AS s.a;
CREATE MACRO label(x) AS CASE WHEN x > 15 THEN 'late; very' WHEN x IS NULL THEN $$no 'one' knows$$ ELSE E'it\'s fine' END;

CREATE MACRO above(least) AS TABLE SELECT * FROM flights WHERE delay > least;
CREATE MACRO counted(dest, more := 0) AS TABLE SELECT dest, origin, count(*) + more AS n FROM flights GROUP BY ALL;
CREATE TEMP MACRO numbered(n) AS TABLE WITH c AS (SELECT unnest(range(n)) AS i) SELECT i, quadruple(i) AS j FROM c;
CREATE MACRO "odd one"("the x") AS "the x" + 1;
