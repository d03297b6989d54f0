// Package batch turns the log into files that are never changed: a cycle goes Plan, Build, Commit. Plan fixes the ranges
// between the newest manifest's frontier and the log's end. Build streams one range through the kernel and stores a data
// file, a file of rejects and a partial of every merged view; Fold makes one partial of several that were committed before.
// Commit creates the next manifest, if no other cycle has. Until that moment nothing names the new files; after it the
// frontier has moved.
//
// # Files of a dataset
//
//	data/P/FROM-TO.parquet                   the accepted records of a range: declared and system columns in carriers
//	rejects/P/FROM-TO.parquet                _partition, _offset, _timestamp, _key, _headers, value, field, reason
//	partials/VIEW-DEFINITION/P/FROM-TO.parquet  the view's State columns, sorted by its keys
//	manifests/SEQUENCE.manifest              see package manifest
//
// P is the partition, FROM and TO offsets in 20 digits, DEFINITION the first 12 digits of the definition hash. A name is
// a function of what the file holds, and so are its bytes: a cycle that is run again writes the same files.
//
// # Columns of a data file
//
// First the declared fields in their order, then _partition INTEGER, _offset BIGINT, _timestamp TIMESTAMPTZ, _key BLOB,
// _headers STRUCT(key VARCHAR, value BLOB)[] and _extra, which is JSON as text. Rows are in order of offsets. Every
// column is optional. What Parquet cannot hold without loss is text that casts back (schemas.Type.Carrier):
//
//	DuckDB                                        Parquet
//	BOOLEAN, FLOAT, DOUBLE                        BOOLEAN, FLOAT, DOUBLE
//	TINYINT to BIGINT, UTINYINT to UBIGINT        INT(8 to 64, signed or unsigned)
//	DECIMAL(p,s)                                  DECIMAL(p,s)
//	VARCHAR                                       STRING
//	BLOB                                          BYTE_ARRAY
//	DATE                                          DATE
//	TIME                                          TIME(MICROS), not adjusted to UTC
//	TIMESTAMP, TIMESTAMP_S, TIMESTAMP_MS          TIMESTAMP(MICROS), not adjusted to UTC
//	TIMESTAMP_NS                                  TIMESTAMP(NANOS), not adjusted to UTC
//	TIMESTAMPTZ                                   TIMESTAMP(MICROS), adjusted to UTC
//	LIST, ARRAY; STRUCT; MAP                      LIST; a group; MAP; of what their elements are
//	HUGEINT, UHUGEINT, BIGNUM, BIT, UUID, ENUM,   STRING
//	JSON, INTERVAL, TIMETZ, TIME_NS
//
// DuckDB, pyarrow and parquet-go read all of them as they are. So does Spark 4.3, an unsigned integer as the next wider
// type; but a file with a TIME or a TIMESTAMP_NS column it refuses to read unless spark.sql.timeType.enabled or
// spark.sql.legacy.parquet.nanosAsLong (which gives BIGINT nanoseconds) is true.
//
// # Scratch
//
// A file is finished in a folder of its own under Input.Scratch and then moved into the store. The folder goes when the
// build ends, well or not; that of a killed process goes at the next build, which knows by its free lock that its owner
// is dead.
package batch
