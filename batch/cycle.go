package batch

import (
	"context"
	"fmt"
	"time"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// Report is what a cycle did, as `millrace batch --json` prints it.
type Report struct {
	Topic    string           `json:"topic"`
	From     schemas.Frontier `json:"from"`
	To       schemas.Frontier `json:"to"`
	Records  int64            `json:"records"`
	Rejects  int64            `json:"rejects"`
	Manifest int64            `json:"manifest"` // its number; 0: there is none yet
	Rebuilt  int              `json:"rebuilt"`  // partials made for committed ranges
	Seconds  float64          `json:"seconds"`
}

// Cycle plans, builds and commits. With nothing new it commits nothing and says so by an unmoved frontier.
func (in *Input) Cycle(ctx context.Context) (*Report, error) {
	began := time.Now()
	p, err := in.Plan(ctx)
	if err != nil {
		return nil, err
	}
	r := &Report{Topic: in.Topic.Name, From: p.From, To: p.To}
	if p.Previous != nil {
		r.Manifest = p.Previous.Sequence
	}
	if len(p.Ranges) == 0 && len(p.Missing) == 0 {
		r.Seconds = time.Since(began).Seconds()
		return r, nil
	}
	next := p.next(in)
	for _, span := range p.Ranges {
		b, err := in.Build(ctx, p.Root, span)
		if err != nil {
			return nil, err
		}
		r.Records += b.Data.Records
		r.Rejects += b.Rejects.Records
		next.Files = append(next.Files, b.Data)
		next.Rejects = append(next.Rejects, b.Rejects)
		next.Partials = append(next.Partials, b.Partials...)
	}
	made, err := in.Rebuild(ctx, p.Root, p.Missing)
	if err != nil {
		return nil, err
	}
	next.Partials = append(next.Partials, made...)
	if err := dataset.Commit(ctx, in.Store, p.Root, next); err != nil {
		return nil, fmt.Errorf("commit %s: %w", in.Topic.Name, err)
	}
	r.Manifest, r.Rebuilt, r.Seconds = next.Sequence, len(made), time.Since(began).Seconds()
	return r, nil
}

// next is the previous manifest moved to the plan's end, with all that was committed before. Partials of definitions that
// no view has any more stay: they answer for the past of a definition that may come back.
func (p *Plan) next(in *Input) *manifest.Manifest {
	m := &manifest.Manifest{Topic: in.Topic.Name, TopicID: p.TopicID, Schema: in.Topic.Hash(), Sequence: 1, Start: p.Start, Frontier: p.To,
		Files: []manifest.File{}, Rejects: []manifest.File{}, Partials: []manifest.Partial{}}
	if p.Previous != nil {
		m.Sequence = p.Previous.Sequence + 1
		m.Files = append(m.Files, p.Previous.Files...)
		m.Rejects = append(m.Rejects, p.Previous.Rejects...)
		m.Partials = append(m.Partials, p.Previous.Partials...)
	}
	return m
}
