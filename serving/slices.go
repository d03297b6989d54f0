package serving

import (
	"context"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/slice"
)

// sliceCache keeps in mind which slices there are, and the decoded rows of those that questions have used as far as they
// fit into a limit: the next question reads only what was published since. Safe for concurrent use.
type sliceCache struct {
	log   *kafkalog.Log
	limit int64 // bytes of rows

	mu     sync.Mutex
	held   int64
	topics map[string]*topicSlices
}

// topicSlices are the slices of one topic. Its lock is held while they are read and chosen.
type topicSlices struct {
	mu sync.Mutex
	id string
	of *slicelog.Follower
}

// topic is what is known of a topic's slices, locked.
func (c *sliceCache) topic(name, id string) *topicSlices {
	c.mu.Lock()
	t := c.topics[name]
	if t == nil {
		t = &topicSlices{}
		c.topics[name] = t
	}
	c.mu.Unlock()
	t.mu.Lock()
	if t.id != id {
		if t.of != nil {
			t.of.Close()
		}
		t.id, t.of = id, slicelog.Follow(c.log, name, id, c.forget)
	}
	return t
}

func (c *sliceCache) forget(e *slicelog.Entry) {
	if e.Rows != nil {
		c.mu.Lock()
		c.held -= int64(e.Size)
		c.mu.Unlock()
	}
}

// keep says whether an entry's rows may stay in memory, and counts them.
func (c *sliceCache) keep(e *slicelog.Entry) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held+int64(e.Size) > c.limit {
		return false
	}
	c.held += int64(e.Size)
	return true
}

// close gives all rows free.
func (c *sliceCache) close() {
	for _, t := range c.topics {
		t.mu.Lock()
		if t.of != nil {
			t.of.Close()
			t.id, t.of = "", nil
		}
		t.mu.Unlock()
	}
}

// choose picks a view's slices for what lies above the frontier; raw is what they leave of it. Those of which it is known
// that they cannot be read are left out.
func (c *sliceCache) choose(ctx context.Context, p *pinned, v *views.View) (use []*slicelog.Entry, raw []schemas.Range, err error) {
	t := c.topic(p.topic.Name, p.id)
	defer t.mu.Unlock()
	var below schemas.Frontier
	if p.manifest != nil {
		below = p.manifest.Frontier
	}
	mine := func(s *slice.Slice) bool { return s.Definition == v.Definition && s.Withheld == slice.Given }
	if err := t.of.Read(ctx, below, mine); err != nil {
		return nil, nil, err
	}
	above := p.above()
	var have []*slicelog.Entry
	for _, r := range above {
		for _, e := range t.of.Of(r.Partition) {
			if mine(&e.Slice) && !e.Bad {
				have = append(have, e)
			}
		}
	}
	use, raw = slicelog.Choose(above, have)
	used := make(map[*slicelog.Entry]bool, len(use))
	for _, e := range use {
		used[e] = true
	}
	for _, e := range have {
		if !used[e] {
			e.Payload = nil
		}
	}
	return use, raw, nil
}

// rows gives the rows of entries of one partition that choose gave, which the caller releases. One that cannot be read, or whose rows are not
// of the schema, is marked as bad, and there are no rows.
func (c *sliceCache) rows(ctx context.Context, p *pinned, entries []*slicelog.Entry, schema *arrow.Schema) (out []arrow.RecordBatch, ok bool, err error) {
	t := c.topic(p.topic.Name, p.id)
	defer t.mu.Unlock()
	if err := t.of.Load(ctx, slices.DeleteFunc(slices.Clone(entries), func(e *slicelog.Entry) bool { return e.Rows != nil })); err != nil {
		return nil, false, err
	}
	ok = true
	for _, e := range entries {
		rows := e.Rows
		if rows == nil {
			if rows, err = slicelog.DecodeRows(e.Payload, schema); err != nil {
				e.Bad, ok = true, false
			} else if !e.Gone && c.keep(e) {
				e.Rows = rows
			}
			e.Payload = nil
		}
		for _, b := range rows {
			if e.Rows != nil {
				b.Retain()
			}
			out = append(out, b)
		}
	}
	if !ok {
		slicelog.ReleaseRows(out)
		return nil, false, nil
	}
	return out, true, nil
}

// unload lets go of the payloads of entries that choose gave, and that nobody asks for now.
func (c *sliceCache) unload(p *pinned, entries []*slicelog.Entry) {
	t := c.topic(p.topic.Name, p.id)
	defer t.mu.Unlock()
	for _, e := range entries {
		e.Payload = nil
	}
}
