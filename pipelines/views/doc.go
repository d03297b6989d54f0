// Package views compiles a view's SELECT into the plans that compute it in pieces.
//
// DuckDB's own parser reads the SQL (json_serialize_sql), this package edits the tree it gives, and DuckDB prints the
// result (json_deserialize_sql). Nothing here parses SQL by itself; lex.go only tells the statements of a file apart.
//
// A view over one topic and any reference tables is merged:
//
//	partial  over any part of the topic's rows -> State rows: group keys k0, k1, ... and state columns s0, s1, ...
//	merge    over State rows of any parts      -> State rows, one a group; may be applied again to its own result
//	final    over merged State rows            -> the answer: the SELECT list, HAVING, DISTINCT, ORDER BY and LIMIT
//
// and for every cut of the rows into parts, final(merge(partials)) equals the SELECT over all rows. What cannot be cut
// is raw: the SELECT itself runs over all rows, and View.Reasons says which function or clause stands in the way.
//
// Example: SELECT origin, avg(delay) AS late FROM flights GROUP BY origin HAVING count(*) > 9 has
//
//	partial  SELECT origin AS k0, CAST(sum(delay) AS VARCHAR) AS s0, count(delay) AS s1, count(*) AS s2 FROM flights GROUP BY 1
//	merge    SELECT k0, CAST(sum(s0) AS VARCHAR) AS s0, sum(s1) AS s1, sum(s2) AS s2 FROM (... casts ...) GROUP BY k0
//	final    SELECT k0 AS origin, s0 / s1 AS late FROM (... casts ...) WHERE s2 > 9
//
// State columns travel in their carriers (schemas.Type.Carrier): a HUGEINT sum is VARCHAR between the plans.
//
// Where SQL leaves the answer open, the plans close it, so that every layer gives the same one. arg_min, arg_max,
// first, last and any_value decide ties by append time, then partition, then offset, the earliest record first
// (last: the latest), then by the value itself where a join makes several rows of one record. An ORDER BY or LIMIT is
// completed by all output columns from left to right.
package views
