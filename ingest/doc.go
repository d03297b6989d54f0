// Package ingest brings records from sources into Kafka: the ingest verb's Run, and the gateway's Producer.
//
// The way of a line through Run:
//
//	Read      a source gives payloads; they are gathered into parcels of up to 2,048 lines or 256 KiB
//	Check     workers decode each payload as every layer will, to count rejects, and find its key and partition
//	Send      parcels go to the producer in order; a line over max_record is refused and not sent
//	Ack       the broker has the record on its disk; only then a line counts
//
// Memory is bounded by the parcels that exist; one is used again when its last record is acknowledged. The producer is
// idempotent, so within a partition lines keep their order and a retry doubles nothing.
//
// # Exactly once across crashes
//
// With Options.ID every record carries the header millrace-ingest, whose value is the id, "@" and the line's number in
// the whole input, and the topic _millrace.ingest (one partition) gets a note before the first record is sent: where
// each partition of the topic ended. A later run of the same id reads the topic from there, finds the last line of each
// partition, and sends only lines beyond it. That is exact because a line's partition is a function of its key, or of
// its number where it has no key, and a partition keeps the order of lines. Notes are repeated as lines are
// acknowledged, so the part to read stays short. A note also says what the input looked like; another input stops.
//
// When the topic gets partitions, keys go to others than before. What is on its way is acknowledged first, then a note
// closes the era of the old number and begins one of the new. A line is in the log if any era has it: by that era's number
// of partitions it belongs to a partition whose mark is not before the line.
//
// Whoever takes an id up writes a note before it reads the topic, which ends the run that had it: a run asks again and again
// whether such a note has come, and writes to its connections only while the last answer is less than half of Options.Settle old. So
// one that was stopped and wakes, or waited for its input, sends nothing more and says that another run has gone on.
//
// One limit: a batch that a killed or stopped process had handed to the network may reach the broker after the next run has read
// the topic. The next run waits until the topic's end has stood still for Options.Settle; a batch that is later than
// that is doubled.
//
// AppendOnce does the same for a request with a key: see there.
//
// A note is the JSON of type note, with the key TOPIC/ID.
package ingest
