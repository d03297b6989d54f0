// Package bench measures millrace on this machine, each row beside its ceiling.
//
// A row is two pieces of work that do the same: the measured one calls the functions that the verbs call, the ceiling is
// the least that the same work can cost, most often DuckDB alone. Every run is a child process of its own, and the runs
// of a row alternate: measured, ceiling, measured, ceiling. What is compared is events per CPU-second (getrusage of the
// child over the measured part), with GOMAXPROCS=1 (2 for pipelines on prism, see procs) and DuckDB at one thread: a wall
// clock lies on a shared machine. Only the rows about one key count answers a second of it, for they are about how long one
// takes. Both sides return a check value, a number that the work came to; a row whose two sides differ is an error and no
// figure.
//
// # Parts
//
//   - row.go: the rows; run.go: interleaving and medians
//   - child.go: a child process, its job on standard input and its sample on standard output
//   - world.go: a scratch project with its data; broker.go: the broker, a process of its own whose time is not counted
//   - kernel.go, batch.go, query.go, ingest.go, speed.go: the work of the rows
//   - groups.go, key.go: a view with many groups, and one key of it; slices.go: a view of many slices
//   - soak.go: `up` under a steady rate
//   - engines.go: prism, Flink and Spark beside those engines' own SQL; engines_work.go: our side of a run, sql/: the others';
//     servers.go: the CPU time of other processes; tally.go: are the answers the same?
package bench
