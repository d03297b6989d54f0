// Package kafkaio reads Kafka in a Beam Go pipeline, without Java: a splittable DoFn over package kafkalog that emits
// chunks, the records of one fetch each. One element a chunk, not one a record: what a runner does for an element costs
// more than decoding a record.
//
//	chunks := kafkaio.Read(s, kafkaio.Options{Config: config, Topic: "flights", Ranges: ranges})
//	beam.ParDo(s, &countFn{}, chunks) // ProcessElement(c *kafkalog.Chunk, ...); it calls c.Release when done
//
// A range that ends at Follow is read for ever; with ends for all, the source is bounded. The source stays in one call of
// ProcessElement for Options.Bundle and emits chunks as they come, then hands back what is left: so a DoFn fused to it
// sees its bundle finish about every Options.Bundle, with data or without, and what a bundle has not finished is read
// again after a crash.
//
// # Restrictions
//
// A restriction is ranges of several partitions. On prism all partitions must be one restriction, for it takes the
// watermark of the bundle that came last for the source's; on a cluster Options.Spread makes one of each partition. A
// running restriction is not split; a checkpoint takes all that was not claimed.
//
// # Watermark
//
// A chunk's event time is the append time of its last record if Options.Want asks for timestamps, else the time it was
// fetched. The watermark is the least of the partitions' latest chunks; partitions without records do not hold it.
//
// # Use
//
// The stage that holds the source needs an output that crosses to another stage (prism would spin without one): let the
// fused DoFn emit a small element and put a Reshuffle behind it.
package kafkaio
