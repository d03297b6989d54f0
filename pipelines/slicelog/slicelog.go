// Package slicelog reads back the slices that the speed layer published.
package slicelog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/millrace/millrace/pipelines/frontier"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/slice"
)

// Entry is a slice on the slices' topic.
type Entry struct {
	Offset int64     // on that topic
	At     time.Time // when it was appended
	Size   int       // bytes of its payload
	slice.Slice
	Rows []arrow.RecordBatch // its decoded payload, if somebody has put it here; the Follower releases it
	Bad  bool                // somebody has found that its payload cannot be read
	Gone bool                // the Follower has left it out
}

// Follower knows the slices of one topic that may be of use. Not safe for concurrent use.
type Follower struct {
	log     *kafkalog.Log
	topic   string
	topicID string
	first   schemas.Frontier // of the slices' topic
	next    schemas.Frontier // offset to read on from
	have    map[int32][]*Entry
	forget  func(*Entry)
}

// Follow begins to follow the slices of a topic; forget, if it is not nil, is told of each entry that is left out.
func Follow(l *kafkalog.Log, topic, topicID string, forget func(*Entry)) *Follower {
	return &Follower{log: l, topic: topic, topicID: topicID, next: schemas.Frontier{}, have: map[int32][]*Entry{}, forget: forget}
}

// Read reads on to the end of the slices' topic, and leaves out what is of no use any more: slices that do not begin above a
// frontier, and those that are not in the log any more. Wanted says whose payload stays in its entry, nil: nobody's. A
// message that is no slice, is corrupt or of another topic of the name is passed over: it costs its range only, raw records
// stand in. No slices' topic is no slices.
func (f *Follower) Read(ctx context.Context, below schemas.Frontier, wanted func(*slice.Slice) bool) error {
	first, end, err := f.log.Offsets(ctx, slice.Topic(f.topic))
	if errors.Is(err, kafkalog.ErrNoTopic) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("slices of %s: %w", f.topic, err)
	}
	f.first = first
	for _, p := range end.Partitions() {
		r := schemas.Range{Partition: p, From: max(first[p], f.next[p]), To: end[p]}
		if end[p] < f.next[p] { // another topic of the name
			r.From = first[p]
			f.leave(p, func(*Entry) bool { return true })
		}
		if err := Each(ctx, f.log, f.topic, r, func(m Message) {
			if m.Slice == nil || m.TopicID != f.topicID || m.Partition != p {
				return
			}
			e := &Entry{Offset: m.Offset, At: m.At, Size: len(m.Payload), Slice: *m.Slice}
			if wanted == nil || !wanted(m.Slice) {
				e.Payload = nil
			}
			f.have[p] = append(f.have[p], e)
		}); err != nil {
			return err
		}
		f.next[p] = end[p]
		f.leave(p, func(e *Entry) bool { return e.Offset < first[p] || e.From < below[p] })
	}
	return nil
}

// leave leaves out entries of a partition.
func (f *Follower) leave(partition int32, which func(*Entry) bool) {
	f.have[partition] = slices.DeleteFunc(f.have[partition], func(e *Entry) bool {
		if !which(e) {
			return false
		}
		if f.forget != nil {
			f.forget(e)
		}
		ReleaseRows(e.Rows)
		e.Rows, e.Gone = nil, true
		return true
	})
}

// Close gives the entries' rows free.
func (f *Follower) Close() {
	for p := range f.have {
		f.leave(p, func(*Entry) bool { return true })
	}
}

// Of are the entries of a partition, in the order they were published. They are the follower's: valid until the next Read.
func (f *Follower) Of(partition int32) []*Entry { return f.have[partition] }

// Partitions are those of the slices' topic, as last read.
func (f *Follower) Partitions() []int32 { return f.next.Partitions() }

// Load puts the payloads of entries of one partition that have none into them, reading them again in one go; it leaves those
// as they are that are gone.
func (f *Follower) Load(ctx context.Context, entries []*Entry) error {
	at := map[int64]*Entry{}
	r := schemas.Range{}
	for _, e := range entries {
		if e.Withheld != slice.Given || e.Payload != nil {
			continue
		}
		if len(at) == 0 {
			r = schemas.Range{Partition: e.Partition, From: e.Offset, To: e.Offset + 1}
		}
		r.From, r.To = min(r.From, e.Offset), max(r.To, e.Offset+1)
		at[e.Offset] = e
	}
	return Each(ctx, f.log, f.topic, r, func(m Message) {
		if e := at[m.Offset]; e != nil && m.Slice != nil {
			e.Payload = slices.Clone(m.Payload) // without what lies around it
		}
	})
}

// Drop deletes the beginning of each partition of the slices' topic up to the first entry that is needed: one that no fold of
// its kind stands for, or that was published after a moment, if it is not zero. Each partition keeps its last message.
func (f *Follower) Drop(ctx context.Context, after time.Time) error {
	keep := schemas.Frontier{}
	for p, end := range f.next {
		at := end - 1
		folds := folded(f.have[p])
		for _, e := range f.have[p] {
			if recent := !after.IsZero() && !e.At.Before(after); recent || !slices.ContainsFunc(folds[e.Definition], func(fold *Entry) bool { return fold.Tier > e.Tier && fold.Range().Holds(e.Range()) }) {
				at = min(at, e.Offset)
			}
		}
		if at > f.first[p] {
			keep[p] = at
		}
	}
	if len(keep) == 0 {
		return nil
	}
	return f.log.DeleteBefore(ctx, slice.Topic(f.topic), keep)
}

// folded are the entries that were folded of others, by definition.
func folded(all []*Entry) map[string][]*Entry {
	out := map[string][]*Entry{}
	for _, e := range all {
		if e.Tier > 0 {
			out[e.Definition] = append(out[e.Definition], e)
		}
	}
	return out
}

// Choose picks from entries those that answer for the ranges and gives what is left of the ranges: see frontier.Cover.
func Choose(ranges []schemas.Range, have []*Entry) (use []*Entry, gaps []schemas.Range) {
	at := make([]schemas.Range, len(have))
	for i, e := range have {
		at[i] = e.Range()
	}
	for _, r := range ranges {
		chosen, left := frontier.Cover(r, at)
		for _, i := range chosen {
			use = append(use, have[i])
		}
		gaps = append(gaps, left...)
	}
	return use, gaps
}

// Chosen are the slices with rows that answer for a definition over [from, to), and what they leave of it.
func Chosen(ctx context.Context, l *kafkalog.Log, topic, topicID string, from, to schemas.Frontier, definition string) (use []*Entry, gaps []schemas.Range, err error) {
	f := Follow(l, topic, topicID, nil)
	given := func(s *slice.Slice) bool { return s.Definition == definition && s.Withheld == slice.Given }
	if err := f.Read(ctx, nil, given); err != nil {
		return nil, nil, err
	}
	var have []*Entry
	for _, p := range f.Partitions() {
		for _, e := range f.Of(p) {
			if given(&e.Slice) {
				have = append(have, e)
			}
		}
	}
	use, gaps = Choose(from.Ranges(to), have)
	return use, gaps, nil
}

// Message is a message on the slices' topic.
type Message struct {
	Offset       int64
	At           time.Time // when it was appended
	*slice.Slice           // nil: it is none
}

// Each calls f with each message in a range of the slices' topic. What is not in the log any more is passed over. A slice's
// payload keeps the memory of the messages around it.
func Each(ctx context.Context, l *kafkalog.Log, topic string, r schemas.Range, f func(Message)) error {
	reader := l.Read(slice.Topic(topic), r, kafkalog.ReadOptions{Want: kafkalog.Timestamps})
	defer reader.Close()
	for {
		c, err := reader.Next(ctx)
		if errors.Is(err, kafkalog.ErrEnd) {
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
			f(Message{c.Records[i].Offset, c.Records[i].AppendTime(), s})
		}
		r.From = c.To
		c.Release()
	}
}
