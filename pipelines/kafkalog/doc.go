// Package kafkalog is the client side of the log: what topics there are and where they begin and end, their records chunk
// by chunk, and the appending of slices. Metadata and fetches go through franz-go's client as plain requests, for kafka-go
// gives no topic ids, reads a socket 4 KiB at a time and copies every record. Record batches are read here: a chunk's
// records point into the fetch's response. Slices are appended through kafka-go.
//
// Every client of the cluster, of either library and in whatever package, is made by Config. Reading is as Kafka means it for
// committed records: up to the last stable offset, without aborted transactions and markers (aborted.go).
package kafkalog
