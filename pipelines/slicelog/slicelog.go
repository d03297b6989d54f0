// Package slicelog reads back the slices that the speed layer published, and drops those that no question needs any more.
package slicelog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/slice"
)

// margin is how much earlier than the first uncovered record slices are looked for, for the brokers' clocks differ.
const margin = time.Minute

// Read returns the slices of a topic that have a wanted definition and lie within [from, to), in the order they were
// published; some may overlap or be there twice. One that is missed or corrupt costs its range only: raw records stand
// in, so both are passed over. No slices topic is no slices.
func Read(ctx context.Context, l *kafkalog.Log, topic, topicID string, from, to schemas.Frontier, wanted map[string]bool) ([]slice.Slice, error) {
	name := slice.Topic(topic)
	first, end, err := l.Offsets(ctx, name)
	if errors.Is(err, kafkalog.ErrNoTopic) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("slices of %s: %w", topic, err)
	}
	var out []slice.Slice
	for _, p := range to.Partitions() {
		if from[p] >= to[p] || first[p] >= end[p] {
			continue
		}
		begin, err := since(ctx, l, topic, name, schemas.Range{Partition: p, From: from[p], To: to[p]})
		if err != nil {
			return nil, fmt.Errorf("slices of %s[%d]: %w", topic, p, err)
		}
		r := schemas.Range{Partition: p, From: max(first[p], begin), To: end[p]}
		if err := read(ctx, l, name, r, func(_ int64, s *slice.Slice) bool {
			if s != nil && wanted[s.Definition] && s.TopicID == topicID && s.Partition == p && s.From >= from[p] && s.To <= to[p] {
				out = append(out, *s)
			}
			return true
		}); err != nil {
			return nil, fmt.Errorf("slices of %s[%d]: %w", topic, p, err)
		}
	}
	return out, nil
}

// Trim deletes the slices at the beginning of the log that lie below the frontier: the partials of a cycle answer for what
// they cover. Those of a topic that was deleted and made again go too. Each partition keeps its last message.
func Trim(ctx context.Context, l *kafkalog.Log, topic, topicID string, below schemas.Frontier) error {
	name := slice.Topic(topic)
	first, end, err := l.Offsets(ctx, name)
	if errors.Is(err, kafkalog.ErrNoTopic) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("trim slices of %s: %w", topic, err)
	}
	keep := schemas.Frontier{}
	for _, p := range end.Partitions() {
		at := first[p]
		if err := read(ctx, l, name, schemas.Range{Partition: p, From: at, To: end[p] - 1}, func(offset int64, s *slice.Slice) bool {
			if s != nil && s.TopicID == topicID && s.To > below[p] {
				return false
			}
			at = offset + 1
			return true
		}); err != nil {
			return fmt.Errorf("trim slices of %s[%d]: %w", topic, p, err)
		}
		if at > first[p] {
			keep[p] = at
		}
	}
	if err := l.DeleteBefore(ctx, name, keep); err != nil {
		return fmt.Errorf("trim slices of %s: %w", topic, err)
	}
	return nil
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

// read calls f with each message of the range, nil for one that is no slice, until f says false.
func read(ctx context.Context, l *kafkalog.Log, topic string, r schemas.Range, f func(offset int64, s *slice.Slice) bool) error {
	reader := l.Read(topic, r, kafkalog.ReadOptions{Want: kafkalog.Keys})
	defer reader.Close()
	for {
		c, err := reader.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		var lost *kafkalog.RangeError
		if errors.As(err, &lost) { // retention overtook the reader
			reader.Close()
			r.From = lost.Lost.To
			return read(ctx, l, topic, r, f)
		}
		if err != nil {
			return err
		}
		for i := range c.Records {
			// What a record points to outlives the chunk.
			s, err := slice.Decode(c.Records[i].Value)
			if err != nil {
				s = nil
			}
			if !f(c.Records[i].Offset, s) {
				c.Release()
				return nil
			}
		}
		c.Release()
	}
}
