package batch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/runner"
	folders "github.com/millrace/millrace/pipelines/scratch"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// Report is what a cycle did, as `millrace batch --json` prints it.
type Report struct {
	Topic    string           `json:"topic"`
	From     schemas.Frontier `json:"from"`
	To       schemas.Frontier `json:"to"`
	Lost     []schemas.Range  `json:"lost,omitempty"` // that Kafka had dropped before a cycle had read them, given up by this one
	Records  int64            `json:"records"`
	Rejects  int64            `json:"rejects"`
	Manifest int64            `json:"manifest"` // its number; 0: there is none yet
	Rebuilt  int              `json:"rebuilt"`  // partials made over what was committed before
	Folded   int              `json:"folded"`   // partials made of smaller ones
	Failed   []Failure        `json:"failed,omitempty"`
	Seconds  float64          `json:"seconds"`
}

// Failure is a view whose SQL fails on records that the cycle has committed: it has no partials there, and a question to
// it fails in the same way until the view is mended.
type Failure struct {
	View   string `json:"view"`
	Reason string `json:"reason"` // of the first range
}

// Error says it to a person.
func (f Failure) Error() string {
	return "view " + f.View + " has no answer over these records, which are kept: " + f.Reason + " (TRY_CAST or a WHERE in views/" + f.View + ".sql mends it)"
}

// Cycle plans, and runs the pipeline that builds and commits. With nothing new it commits nothing and says so by an
// unmoved frontier. A new version of a reference table that is joined as it was comes into force with it. Errors: a Problem
// over store.ErrExist if another cycle committed first.
func (in *Input) Cycle(ctx context.Context) (*Report, error) {
	began := time.Now()
	_ = folders.Sweep(in.Scratch, buildPrefix) // also where nothing is to be built; what it leaves does no harm
	p, err := in.Plan(ctx)
	if err != nil {
		return nil, err
	}
	r := &Report{Topic: in.Topic.Name, From: p.From, To: p.To, Lost: p.Lost, Manifest: p.Sequence}
	if len(p.Ranges) > 0 || len(p.Folds) > 0 {
		m, err := in.run(ctx, p, "batch-")
		if err != nil {
			return nil, err
		}
		in.count(m, p, r)
	} else if len(p.Fresh)+len(p.Lost) > 0 {
		if err := in.Commit(ctx, p, nil); err != nil && (len(p.Lost) > 0 || !errors.Is(err, store.ErrExist)) { // else another has brought them into force
			return nil, err
		}
		m, err := dataset.Newest(ctx, in.Store, p.Root)
		if err != nil {
			return nil, fmt.Errorf("report %s: %w", in.Topic.Name, err)
		}
		r.Manifest = m.Sequence
	}
	in.hint(ctx, r)
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}

// run runs a plan's pipeline and gives the manifest that it committed. The job's name begins with a prefix.
func (in *Input) run(ctx context.Context, p *Plan, prefix string) (*manifest.Manifest, error) {
	p.Cycle = rand.Text()
	pipeline, s := beam.NewPipelineWithRoot()
	if err := in.pipeline(s, p); err != nil {
		return nil, err
	}
	o := runner.Options{Name: prefix + in.Topic.Name, Project: in.Store.URL(), Engine: in.Engine, Logger: in.Logger}
	if err := runner.Run(ctx, pipeline, o); err != nil {
		return nil, err
	}
	newest, err := dataset.Newest(ctx, in.Store, p.Root)
	var m *manifest.Manifest
	if err == nil && newest != nil {
		m, err = named(ctx, in.Store, p.Root, p.Cycle, p.Sequence, newest.Sequence)
	}
	if err == nil && m == nil {
		return nil, &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("the engine has run the cycle of %s, and its manifest is not in the store %s", in.Topic.Name, in.Store.URL()),
			Hint: "the workers have another folder of that name: store: must be one that every machine of the engine shares"}
	}
	if err != nil {
		return nil, fmt.Errorf("report %s: %w", in.Topic.Name, err)
	}
	return m, nil
}

// count takes from the new manifest what the cycle has added.
func (in *Input) count(m *manifest.Manifest, p *Plan, r *Report) {
	added := func(files []manifest.File) (n int64) {
		for _, f := range files {
			if f.From >= p.From[f.Partition] {
				n += f.Records
			}
		}
		return n
	}
	r.Manifest, r.Records, r.Rejects = m.Sequence, added(m.Files), added(m.Rejects)
	for _, f := range p.Folds {
		if slices.ContainsFunc(m.Partials, func(part manifest.Partial) bool {
			return part.Tier > 0 && part.Failed == "" && part.Definition == f.View.Definition && part.Range() == f.Range()
		}) {
			r.Folded++
		}
	}
	seen := map[string]bool{}
	for _, part := range m.Partials {
		if part.Tier == 0 && part.Failed != "" && part.From >= p.From[part.Partition] && !seen[part.View] {
			seen[part.View] = true
			r.Failed = append(r.Failed, Failure{part.View, part.Failed})
		}
	}
}
