// Package slicelog reads back the slices that the speed layer published.
package slicelog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/millrace/millrace/pipelines/frontier"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/slice"
)

// margin is how much earlier than the first uncovered record slices are looked for, for the brokers' clocks differ.
const margin = time.Minute

// few is how many messages are read rather than asked which of them are too old.
const few = 1000

// Read calls f with the slices of a topic that have a wanted definition and lie within [from, to), by partition in the order
// they were published; some may overlap, be there twice, or have been withheld. One that is missed or corrupt costs its
// range only: raw records stand in, so both are passed over. No slices topic is no slices.
func Read(ctx context.Context, l *kafkalog.Log, topic, topicID string, from, to schemas.Frontier, wanted map[string]bool, f func(*slice.Slice)) error {
	name := slice.Topic(topic)
	first, end, err := l.Offsets(ctx, name)
	if errors.Is(err, kafkalog.ErrNoTopic) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("slices of %s: %w", topic, err)
	}
	for _, p := range to.Partitions() {
		if from[p] >= to[p] || first[p] >= end[p] {
			continue
		}
		begin := first[p]
		if end[p]-begin > few {
			if begin, err = since(ctx, l, topic, name, schemas.Range{Partition: p, From: from[p], To: to[p]}); err != nil {
				return fmt.Errorf("slices of %s[%d]: %w", topic, p, err)
			}
		}
		if err := Each(ctx, l, topic, schemas.Range{Partition: p, From: max(first[p], begin), To: end[p]}, func(_ int64, s *slice.Slice) {
			if s != nil && wanted[s.Definition] && s.TopicID == topicID && s.Partition == p && s.From >= from[p] && s.To <= to[p] {
				f(s)
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

// Choose picks from slices at hand those that answer for the ranges, by their indexes, and gives what is left of the
// ranges: see frontier.Cover.
func Choose(ranges []schemas.Range, have []slice.Slice) (use []int, gaps []schemas.Range) {
	at := make([]schemas.Range, len(have))
	for i := range have {
		at[i] = have[i].Range()
	}
	for _, r := range ranges {
		chosen, left := frontier.Cover(r, at)
		use, gaps = append(use, chosen...), append(gaps, left...)
	}
	return use, gaps
}

// Chosen are the slices with rows that answer for a definition over [from, to), and what they leave of it.
func Chosen(ctx context.Context, l *kafkalog.Log, topic, topicID string, from, to schemas.Frontier, definition string) (use []slice.Slice, gaps []schemas.Range, err error) {
	var have []slice.Slice
	if err := Read(ctx, l, topic, topicID, from, to, map[string]bool{definition: true}, func(s *slice.Slice) {
		if s.Withheld == slice.Given {
			have = append(have, *s)
		}
	}); err != nil {
		return nil, nil, err
	}
	chosen, gaps := Choose(from.Ranges(to), have)
	for _, i := range chosen {
		use = append(use, have[i])
	}
	return use, gaps, nil
}

// Each calls f with each message in a range of the slices' topic and its offset, with nil for one that is no slice. What is
// not in the log any more is passed over. A slice's payload keeps the memory of the messages around it.
func Each(ctx context.Context, l *kafkalog.Log, topic string, r schemas.Range, f func(offset int64, s *slice.Slice)) error {
	reader := l.Read(slice.Topic(topic), r, kafkalog.ReadOptions{})
	defer reader.Close()
	for {
		c, err := reader.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		var lost *kafkalog.RangeError
		if errors.As(err, &lost) { // they were dropped meanwhile
			r.From = lost.Lost.To
			return Each(ctx, l, topic, r, f)
		}
		if err != nil {
			return fmt.Errorf("slices of %s[%d]: %w", topic, r.Partition, err)
		}
		for i := range c.Records {
			s, err := slice.Decode(c.Records[i].Value)
			if err != nil {
				s = nil
			}
			f(c.Records[i].Offset, s)
		}
		r.From = c.To
		c.Release()
	}
}

// since is the slices' offset from which slices of the range can be: none was published before its first record was
// appended.
func since(ctx context.Context, l *kafkalog.Log, topic, slices string, r schemas.Range) (int64, error) {
	reader := l.Read(topic, r, kafkalog.ReadOptions{Want: kafkalog.Timestamps, MaxBytes: 64 << 10})
	defer reader.Close()
	c, err := reader.Next(ctx)
	if err != nil {
		return 0, err
	}
	defer c.Release()
	if len(c.Records) == 0 {
		return 0, nil
	}
	at, err := l.OffsetsAt(ctx, slices, c.Records[0].AppendTime().Add(-margin))
	return at[r.Partition], err
}
