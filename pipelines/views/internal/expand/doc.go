// Package expand puts plain SQL in place of what stands for other SQL, before a SELECT is compiled: calls of macros, names of
// other views, stars and COLUMNS(...), PIVOT and UNPIVOT. No plan and no answer needs any of these.
//
// Names mean after it what they meant before it. The frame of a place says which tables, common table expressions and
// aliases are in scope there, so an argument of a macro means what it meant at the call, and what is put in means the
// catalog's tables even where the query has others of the same name: clashing names are changed. DuckDB is asked which
// columns things have; what would not come to the same columns as the text itself stays as it is.
//
// Example: with CREATE MACRO double(x) AS x * 2, SELECT double(delay) FROM flights becomes
//
//	SELECT delay * 2 AS "double(delay)" FROM flights
package expand
