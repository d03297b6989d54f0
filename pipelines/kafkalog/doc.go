// Package kafkalog is the client side of the log: what topics there are and where they begin and end, their records chunk
// by chunk, and the appending of slices. Metadata and fetches go through franz-go's client as plain requests, for kafka-go
// gives no topic ids, reads a socket 4 KiB at a time and copies every record. Record batches are read here: a chunk's
// records point into the fetch's response. Slices are appended through kafka-go.
//
// Transactional topics are not supported yet: records of aborted transactions would be read.
package kafkalog
