// Package broker is the embedded broker: franz-go's kfake over a data directory, made fit to hold a log that must not
// lose or double a record.
//
// kfake alone does most of it: segments of plain Kafka record batches, an index beside each, topics and producer ids
// kept across restarts, a torn tail cut off. What this package adds, and why:
//
//   - One owner. A lock file (lock, held by flock) names the owner's process and address.
//   - Acknowledged means on disk. Every batch is followed by fsync; with the batches of a fast producer that costs a
//     quarter of the rate or so (BenchmarkProduce; Options.NoSync does without).
//   - A batch retried across a crash is not doubled. kfake saves its producers' sequence windows only when it is closed
//     in order; after a crash it would take a retried batch as new, or refuse a good one by an old window. The file
//     "open" exists while a broker owns the directory; where it is found at start, [recoverDir] reads every batch
//     header and writes the windows (seq_windows.json) as the log itself tells them, as Apache Kafka does.
//   - Memory at start is bounded. After a crash kfake would hold whole partitions decoded in memory; the same pass
//     writes the partition snapshots, with which it reads segment by segment.
//   - Damage is not deepened. kfake cuts a segment at the first bad checksum, wherever it lies. After a crash only the
//     end of a partition's last segment may be torn; anything else is an error, and nothing is changed.
//   - A failed write is never acknowledged. kfake moves a producer's window before it writes, so the retry of a batch
//     whose write failed would be answered as a duplicate. After one failed write every produce request is answered
//     KAFKA_STORAGE_ERROR until the directory is opened again; and while the disk has less than Options.MinFree left
//     they are answered so beforehand, which clients take as "try again".
//   - Append time is the broker's. kfake ignores message.timestamp.type. Each batch's timestamps are set to the time it
//     came in, never earlier than the batch before it.
//
// Files in the directory, beside kfake's own: lock, open, port (the port used last, so that clients find the broker
// again after a restart).
//
// Limits: fsync that fails is not seen (kfake drops its error). Retention that empties a partition makes kfake forget
// its offsets at the next start, so it is off. Transactions are left to kfake, whose recovery holds a partition that
// contains any in memory.
package broker
