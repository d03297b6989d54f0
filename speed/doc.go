// Package speed publishes slices: a Beam pipeline from Kafka to Kafka, one a topic, that goes Read, Slice, Publish. Read
// follows every partition chunk by chunk. Slice runs each chunk through the kernel, the same one the batch and the serving
// layer call. When a bundle finishes, Publish appends one slice for each partition and view, with the range it covers, to
// the topic _millrace.slices.TOPIC (see package slice for the bytes).
//
// Nothing else is kept: no state in the runner, and a committed offset only as a hint for Kafka's own tools. Plan finds
// where to go on from what was published. A slice that is published twice, or one that is missing, costs time and never an
// answer: a question uses each offset once and reads what no slice covers from the log.
//
// A pipeline follows the partitions that the topic had when it was planned. Run watches the topic: when it has more, or is
// another one of the same name, the pipeline is ended and planned anew.
package speed
