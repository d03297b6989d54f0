// Package engine is the DuckDB that the compiler asks: it parses SQL into trees (Parse), prints trees as SQL (Print), says
// which columns a query has over empty tables (CreateTable, Describe) and which functions there are (IsAggregate). No
// record ever gets here.
//
// What DuckDB says is wrong with a person's SQL becomes a Problem at its place in their file, with a hint: Error.Problem.
package engine
