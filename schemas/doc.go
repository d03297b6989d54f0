// Package schemas holds what both sides of every hand-over agree on: the record, the range and the frontier,
// a topic's declared fields and their types, and the error a person can act on.
//
// Its sub-packages fix bytes: decode (JSON payloads to Arrow columns), manifest (the file that names a snapshot),
// slice (a partial on the wire) and project (the files of a project's folder).
package schemas
