// Package aggregate says how each aggregate function is computed in parts, as SQL text: what a part of the rows keeps of a
// call (its states), how states of several parts merge, and the final expression over merged states. It knows nothing of
// queries and asks DuckDB nothing but a type, through a Typer.
//
// A Call comes to one of three ends:
//
//	Reduce       states of a fixed size a group: sums, counts, moments around a mean, the n smallest
//	NeedsValues  no smaller state than the values themselves: the caller keeps each value with how often it occurred
//	a reason     it needs all rows at once
//
// Some are replaced by another expression first, so that their answer does not hang on how the rows are read or cut: Tie
// and SettleRanked (which of equal rows wins), Sketch (approximations), Settled (moments of what is not finite).
//
// Example: avg(delay) over INTEGER has the states sum(delay), merged by sum(s0), and count(delay), merged by
// CAST(coalesce(sum(s1), 0) AS BIGINT), and the final expression CAST(s0 AS DOUBLE) / nullif(s1, 0).
package aggregate
