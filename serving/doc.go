// Package serving answers SQL over batch and speed views as one, up to the last acknowledged record.
//
// A question goes Pin, Attach, Merge, Query. Pin reads the log's end and the newest manifest of every topic the question
// reads, and chooses for every partition what covers [start, end): the batch view's files below the frontier, slices
// above it, and the raw records wherever neither fits. Attach brings that into an in-memory DuckDB of the question's
// own. Merge puts a table under every name the question uses. Query locks that DuckDB (no file, no network, no setting
// can be reached) and runs the question. The certificate says what was covered.
package serving
