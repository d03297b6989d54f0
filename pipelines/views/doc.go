// Package views compiles a view's SELECT into the plans that compute it in pieces.
//
// DuckDB's own parser reads the SQL (json_serialize_sql), this package edits the tree it gives, and DuckDB prints the
// result (json_deserialize_sql). Nothing here parses SQL by itself; tree.Lex only tells the statements of a file apart.
// Compile goes through these steps:
//
//	internal/tree, internal/engine  what everything is said in: the tree, and the DuckDB that parses, prints and describes it
//	internal/expand                 what stands for other SQL is put in: macros, other views, stars, PIVOT
//	refuse, settle                  what has no lasting answer is refused; what SQL leaves open is fixed
//	split, group, bag, rows         the tree is cut where it goes from records to groups, and each cut gets its State
//	internal/aggregate              what State holds of an aggregate, and how it merges
//	assemble, results               the plans are printed and bound
//
// A view over one topic and any reference tables is cut where it goes from the topic's records to groups of them:
//
//	partial  over any part of the topic's rows -> State rows: group keys k0, k1, ... and state columns s0, s1, ...
//	merge    over State rows of any parts      -> State rows, one a group; may be applied again to its own result
//	final    over State rows of any parts      -> the answer
//
// and for every cut of the rows into parts, final(merge(partials)) equals the SELECT over all rows. What cannot be cut
// is raw: the SELECT itself runs over all rows, and View.Reasons says which function or clause stands in the way.
//
// Example: SELECT origin, avg(delay) AS late FROM flights GROUP BY origin HAVING count(*) > 9 has
//
//	partial  SELECT origin AS k0, CAST(sum(delay) AS VARCHAR) AS s0, count(delay) AS s1, count(*) AS s2 FROM flights GROUP BY 1
//	merge    SELECT k0, CAST(sum(s0) AS VARCHAR) AS s0, sum(s1) AS s1, sum(s2) AS s2 FROM (... casts ...) GROUP BY k0
//	final    SELECT key0 AS origin, s0 / s1 AS late FROM (... merge, k0 AS key0 ...) AS merged WHERE s2 > 9
//
// # From the inside out
//
// split goes through the tree from the inside out. A query takes nothing from the topic (a reference), its records each by
// itself, or results over all records. What takes records hands them on (a WHERE, an expression, a join with a reference,
// UNION ALL, a CTE) until a SELECT groups them, sorts and limits them, or is the whole view: there the tree is cut.
// That SELECT's place in the final plan is taken by one over State, and whatever stands around it stays as it was:
// HAVING, QUALIFY, windows over groups, joins of results, set operations, ORDER BY. Records that meet other records, or
// results, before they are grouped make the view raw.
//
// # State
//
// State has a section for each place where the view is cut; with several, the column part tells their rows apart.
//
//	groups    keys and states of a GROUP BY; ROLLUP, CUBE and GROUPING SETS keep the groups by all their keys
//	bag       keys, then the arguments of aggregates that need their values, and how often the tuple occurred: DISTINCT, median, mode, list ...
//	rows      the columns of a SELECT that does not group; with a LIMIT, the first of them
//	sessions  groups whose last key is a stretch of time [start, stop], fused with others within the gap when merged
//
// State columns travel in their carriers (schemas.Type.Carrier): a HUGEINT sum is VARCHAR between the plans.
//
// # What SQL leaves open
//
// The plans close it, so that every layer gives the same answer (settle). arg_min, arg_max, first, last, any_value, mode and
// lists decide by append time, then partition, then offset, the earliest record first (last: the latest), then by the value
// itself where a join makes several rows of one record. An ORDER BY or LIMIT is completed by all output columns from left
// to right. approx_count_distinct, approx_quantile and approx_top_k are computed by sketches of ours
// (internal/aggregate), for DuckDB's own come out otherwise for every cut.
package views
