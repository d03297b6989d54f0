package batch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/runner"
	"github.com/millrace/millrace/pipelines/store"
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
// unmoved frontier. Errors: a Problem over store.ErrExist if another cycle committed first.
func (in *Input) Cycle(ctx context.Context) (*Report, error) {
	began := time.Now()
	p, err := in.Plan(ctx)
	if err != nil {
		return nil, err
	}
	r := &Report{Topic: in.Topic.Name, From: p.From, To: p.To, Manifest: p.Sequence, Rebuilt: len(p.Missing), Folded: len(p.Folds)}
	if len(p.Ranges) > 0 || len(p.Missing) > 0 || len(p.Folds) > 0 {
		p.Cycle = rand.Text()
		pipeline, s := beam.NewPipelineWithRoot()
		if err := in.pipeline(s, p); err != nil {
			return nil, err
		}
		o := runner.Options{Name: "batch-" + in.Topic.Name, Project: in.Store.URL(), Engine: in.Engine, Logger: in.Logger}
		if err := runner.Run(ctx, pipeline, o); err != nil {
			return nil, err
		}
		if err := in.count(ctx, p, r); err != nil {
			return nil, err
		}
	}
	in.hint(ctx, r)
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}

// count reads from the new manifest what the cycle has added.
func (in *Input) count(ctx context.Context, p *Plan, r *Report) error {
	r.Manifest = p.Sequence + 1
	m, err := dataset.Read(ctx, in.Store, p.Root, p.Root+manifest.Name(r.Manifest))
	if errors.Is(err, store.ErrNotExist) {
		return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("the engine has run the cycle of %s, and its manifest %d is not in the store %s", in.Topic.Name, r.Manifest, in.Store.URL()),
			Hint: "the workers have another folder of that name: store: must be one that every machine of the engine shares"}
	}
	if err != nil {
		return fmt.Errorf("report %s: %w", in.Topic.Name, err)
	}
	added := func(files []manifest.File) (n int64) {
		for _, f := range files {
			if f.From >= p.From[f.Partition] {
				n += f.Records
			}
		}
		return n
	}
	r.Records, r.Rejects = added(m.Files), added(m.Rejects)
	type key struct {
		definition string
		r          schemas.Range
	}
	lacked, seen := map[key]bool{}, map[string]bool{}
	for _, lack := range p.Missing {
		lacked[key{lack.View.Definition, lack.File.Range()}] = true
	}
	planned := map[key]bool{}
	for _, f := range p.Folds {
		planned[key{f.View.Definition, f.Range()}] = true
	}
	for _, part := range m.Partials {
		if part.Tier > 0 {
			if part.Failed != "" && planned[key{part.Definition, part.Range()}] {
				r.Folded--
			}
			continue
		}
		again := lacked[key{part.Definition, part.Range()}]
		if part.Failed == "" || !again && part.From < p.From[part.Partition] {
			continue
		}
		if again {
			r.Rebuilt--
		}
		if !seen[part.View] {
			seen[part.View] = true
			r.Failed = append(r.Failed, Failure{part.View, part.Failed})
		}
	}
	return nil
}
