package serving

import (
	"context"
	"fmt"
	"time"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/frontier"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
	"github.com/millrace/millrace/schemas/slice"
)

// pinned is one topic as a question sees it: fixed bounds and a fixed manifest.
type pinned struct {
	topic    *schemas.Topic
	id       string
	root     string             // of the dataset in the store
	manifest *manifest.Manifest // nil: no cycle has run
	from, to schemas.Frontier
	below    schemas.Frontier // min(frontier, to): what the batch layer answers
}

// cover is how one reader of a topic gets at [from, to).
type cover struct {
	partials []manifest.Partial
	history  []schemas.Range // from Parquet files, through the kernel
	slices   []slice.Slice
	raw      []schemas.Range // from the log, through the kernel
}

// pin fixes what a question sees of a topic.
func (s *Server) pin(ctx context.Context, topic *schemas.Topic, asOf *AsOf) (*pinned, error) {
	info, err := s.log.Topic(ctx, topic.Name)
	if err != nil {
		return nil, fmt.Errorf("pin %s: %w", topic.Name, err)
	}
	start, end, err := s.log.Offsets(ctx, topic.Name)
	if err != nil {
		return nil, fmt.Errorf("pin %s: %w", topic.Name, err)
	}
	p := &pinned{topic: topic, id: info.ID, root: manifest.Root(topic.Name, info.ID, topic.Hash()), from: start, to: end}
	if p.manifest, err = dataset.Newest(ctx, s.store, p.root); err != nil {
		return nil, fmt.Errorf("pin %s: %w", topic.Name, err)
	}
	if asOf != nil {
		if p.to, err = s.asOf(ctx, topic.Name, info.ID, end, asOf); err != nil {
			return nil, err
		}
	}
	p.below = schemas.Frontier{}
	if p.manifest != nil {
		p.below = p.manifest.Frontier.Min(p.to)
		p.from = p.manifest.Start.Clone()
		for part, offset := range start { // a partition no cycle has seen yet
			if _, seen := p.manifest.Frontier[part]; !seen {
				p.from[part] = offset
			}
			if hole := (schemas.Range{Partition: part, From: p.manifest.Frontier[part], To: offset}); p.manifest.Frontier[part] > 0 && hole.Len() > 0 && hole.From < p.to[part] {
				return nil, &schemas.Problem{Message: fmt.Sprintf("%s[%d]: Kafka dropped offsets [%d, %d) before a cycle had read them", topic.Name, part, hole.From, hole.To),
					Hint: "ask --as-of offsets below the hole; lengthen the topic's retention or run cycles more often"}
			}
		}
	}
	return p, nil
}

func (s *Server) asOf(ctx context.Context, topic, id string, end schemas.Frontier, asOf *AsOf) (schemas.Frontier, error) {
	if asOf.Offsets == nil {
		to, err := s.log.OffsetsAt(ctx, topic, asOf.Time)
		if err != nil {
			return nil, fmt.Errorf("as of %s: %w", asOf.Time.Format(time.RFC3339Nano), err)
		}
		return to.Min(end), nil
	}
	to, named := asOf.Offsets[topic]
	if !named {
		return end, nil
	}
	if want := asOf.IDs[topic]; want != "" && want != id {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("as of: the certificate is of topic %s with id %s, the topic now has id %s", topic, want, id),
			Hint: "the topic was deleted and made again; its old records are not in this one"}
	}
	out := schemas.Frontier{}
	for part := range end {
		out[part] = 0
	}
	for part, offset := range to {
		if offset > end[part] || offset < 0 {
			return nil, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("as of: offset %d of %s[%d] lies beyond the log's end %d", offset, topic, part, end[part]),
				Hint: "give offsets within the log; `millrace status` shows them"}
		}
		out[part] = offset
	}
	return out, nil
}

// coverView chooses partials, slices and raw ranges for a merged view, so that they tile [from, to). A slice that is not
// usable is left out: raw records stand in for it.
func (s *Server) coverView(ctx context.Context, p *pinned, v *views.View, usable func(*slice.Slice) bool) (*cover, error) {
	c := &cover{}
	if p.manifest != nil {
		var have []manifest.Partial
		for _, part := range p.manifest.Partials {
			if part.Definition == v.Definition && part.Failed == "" {
				have = append(have, part)
			}
		}
		for _, r := range p.from.Ranges(p.below) {
			use, gaps := frontier.Cover(r, rangesOf(have, func(m manifest.Partial) schemas.Range {
				return schemas.Range{Partition: m.Partition, From: m.From, To: m.To}
			}))
			for _, i := range use {
				c.partials = append(c.partials, have[i])
			}
			c.history = append(c.history, gaps...)
		}
	}
	above := p.above()
	if len(above) == 0 {
		return c, nil
	}
	found, err := s.slices(ctx, p, v)
	if err != nil {
		return nil, err
	}
	var have []slice.Slice
	for i := range found {
		if usable(&found[i]) {
			have = append(have, found[i])
		}
	}
	for _, r := range above {
		use, gaps := frontier.Cover(r, rangesOf(have, func(sl slice.Slice) schemas.Range {
			return schemas.Range{Partition: sl.Partition, From: sl.From, To: sl.To}
		}))
		for _, i := range use {
			c.slices = append(c.slices, have[i])
		}
		c.raw = append(c.raw, gaps...)
	}
	return c, nil
}

// coverRows chooses Parquet files and raw ranges for the rows themselves.
func (p *pinned) coverRows() *cover {
	return &cover{history: p.from.Ranges(p.below), raw: p.above()}
}

// frontier is where the batch layer ends, for each partition; the log's start where it has nothing.
func (p *pinned) frontier() schemas.Frontier {
	at := p.from.Clone()
	for part, offset := range p.below {
		at[part] = max(at[part], offset)
	}
	return at
}

// above is what lies over the frontier and below the end.
func (p *pinned) above() []schemas.Range { return p.frontier().Ranges(p.to) }

func rangesOf[T any](items []T, of func(T) schemas.Range) []schemas.Range {
	out := make([]schemas.Range, len(items))
	for i, it := range items {
		out[i] = of(it)
	}
	return out
}
