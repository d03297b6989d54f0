// Package httpapi is millrace over HTTP: records in, questions out, and what an operator looks at.
//
//	POST /v1/topics/TOPIC/records   NDJSON or one object; answered when all are durable, with the offset of each
//	POST /v1/query                  {"sql","as_of","params"}; JSON, CSV, NDJSON, an Arrow stream or Parquet, by Accept
//	GET  /v1/status                 what `millrace status --json` prints
//	GET  /healthz, /readyz          the process lives; it can serve now
//	GET  /metrics                   Prometheus
//
// Without a Querier there is no /v1/query. All else answers 404. [New] lists the routes in one table: a new one is a line there and a method here.
//
// Nothing is imported from the ingest or the batch layer: [Options] says what the server stands on, and cmd wires it.
//
// # Errors
//
// Every error is an RFC 9457 problem document (application/problem+json) of the about:blank type: title, status and
// detail, with hint (the next step), line and column (in the SQL), index (of the record at fault) and rejects (index,
// field and reason of each malformed record) where they apply. What a client sends is answered by a 4xx, a broker or a
// store that is away and a full queue by 503 with Retry-After; 500 is a fault of this program, and is logged.
//
// # What is bounded
//
// The bytes and records of a request, the requests that hold a body at once, the questions that run at once (each has a
// DuckDB of its own) and those that wait, and the time of each. Over a bound the answer is 413, 408 or 503.
package httpapi
