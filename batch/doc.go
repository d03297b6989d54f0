// Package batch turns the log into files that are never changed: a cycle goes Plan, Build, Commit. Plan fixes the ranges
// between the newest manifest's frontier and the log's end. Build reads one range through the kernel and stores a data
// file, a file of rejects and a partial of every merged view. Commit creates the next manifest, if no other cycle has.
// Until that moment nothing names the new files; after it the frontier has moved.
//
// # Files of a dataset
//
//	data/P/FROM-TO.parquet                   the accepted records of a range: declared and system columns in carriers
//	rejects/P/FROM-TO.parquet                _partition, _offset, _timestamp, _key, _headers, value, field, reason
//	partials/VIEW-DEFINITION/P/FROM-TO.parquet  the view's State columns, sorted by its keys
//	manifests/SEQUENCE.manifest              see package manifest
//
// P is the partition, FROM and TO offsets in 20 digits, DEFINITION the first 12 digits of the definition hash. A name is
// a function of what the file holds, so a cycle that is run again writes the same files.
package batch
