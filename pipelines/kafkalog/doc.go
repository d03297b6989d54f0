// Package kafkalog is the client side of the log: what topics there are and where they begin and end, their records chunk
// by chunk, and the appending of slices. Records are read through kafka-go's Conn, which decodes record batches as they
// come from the socket; metadata comes through franz-go, for kafka-go does not give topic ids.
//
// Transactional topics are not supported yet: records of aborted transactions would be read.
package kafkalog
