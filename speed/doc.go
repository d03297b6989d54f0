// Package speed publishes slices: a Beam pipeline from Kafka to Kafka, one a topic, that goes Read, Slice, Publish. Read
// follows every partition chunk by chunk. Slice runs each chunk through the kernel, the same one the batch and the serving
// layer call. When a bundle finishes, Publish appends one slice for each partition and view, with the range it covers, to
// the topic _millrace.slices.TOPIC (see package slice for the bytes).
//
// Nothing else is kept: no state in the runner, no committed offset. Plan finds where to go on from what was published.
// A slice that is published twice, or one that is missing, costs time and never an answer: a question uses each offset
// once and reads what no slice covers from the log.
package speed
