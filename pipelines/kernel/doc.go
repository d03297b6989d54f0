// Package kernel computes the partials of a topic's views from its records. It is the one place where records become
// rows and rows become state: the speed layer's DoFn, the batch cycle and the serving layer's raw remainder all call it,
// so the layers cannot drift apart.
//
// A chunk's payloads are decoded into Arrow columns that lie outside Go's heap (package decode). DuckDB reads them in
// place through one Arrow stream a session, registered once: before each statement the stream is given the batch it will
// yield. Each view's partial plan is prepared once as an INSERT into the view's state table; Flush merges that table and
// hands it out. Chunks are gathered until there are enough rows to make a statement worth its cost.
package kernel
