package batch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"github.com/millrace/millrace/pipelines/carry"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/runner"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// Beam finds the types of a pipeline by their registration.
func init() {
	beam.RegisterType(reflect.TypeFor[work]())
	register.DoFn3x1[context.Context, []byte, func([]byte), error](&buildFn{})
	register.DoFn3x1[context.Context, int, func(*[]byte) bool, error](&commitFn{})
	register.Emitter1[[]byte]()
	register.Iter1[[]byte]()
}

// work is what a worker must know. Its fields are JSON: Beam's schemas cannot describe a type that contains itself, as a
// topic's do.
type work struct {
	Input []byte // of a portable
	Plan  []byte // of a Plan without its Previous, which the worker reads from the store
}

// portable is an Input on its way to a worker.
type portable struct {
	Log        kafkalog.Config
	Store      string
	Topic      *schemas.Topic
	Views      []*views.View
	References map[string]*views.Reference
	Memory     string
	Scratch    string
	Build      string // of the binary that made the pipeline
}

// task is one piece of a pipeline: a range to build, a partial that a view lacks over what is committed, or partials to fold.
type task struct {
	Range   *schemas.Range `json:"range,omitempty"`
	Missing *Missing       `json:"missing,omitempty"`
	Fold    *Fold          `json:"fold,omitempty"`
}

// result is what a task has stored.
type result struct {
	Built    *Built             `json:"built,omitempty"`
	Partials []manifest.Partial `json:"partials,omitempty"`
	Parts    []manifest.Partial `json:"parts,omitempty"` // that the one partial was folded of
}

// pipeline is a plan as Beam runs it: its tasks -> Build -> gather -> Commit. Data stays within a task; what
// crosses a stage are descriptions of files.
func (in *Input) pipeline(s beam.Scope, p *Plan) (err error) {
	w, err := in.pack(p)
	if err != nil {
		return err
	}
	var all []task
	for i := range p.Ranges {
		all = append(all, task{Range: &p.Ranges[i]})
	}
	for i := range p.Missing {
		all = append(all, task{Missing: &p.Missing[i]})
	}
	for i := range p.Folds {
		all = append(all, task{Fold: &p.Folds[i]})
	}
	tasks := make([][]byte, len(all))
	for i := range all {
		if tasks[i], err = json.Marshal(all[i]); err != nil {
			return err
		}
	}
	built := beam.ParDo(s, &buildFn{Work: w}, beam.Reshuffle(s, beam.CreateList(s, tasks)))
	beam.ParDo0(s, &commitFn{Work: w}, beam.GroupByKey(s, beam.AddFixedKey(s, built)))
	return nil
}

func (in *Input) pack(p *Plan) (w work, err error) {
	now := in
	if p.now != nil {
		now = p.now
	}
	if w.Input, err = json.Marshal(portable{in.Log.Config(), in.Store.URL(), in.Topic, now.Views, now.References, in.Memory, in.Scratch, in.Engine.Build()}); err != nil {
		return w, fmt.Errorf("cycle of %s: %w", in.Topic.Name, err)
	}
	slim := *p
	slim.Previous, slim.Ranges, slim.Missing, slim.Folds = nil, nil, nil, nil
	if w.Plan, err = json.Marshal(slim); err != nil {
		return w, fmt.Errorf("cycle of %s: %w", in.Topic.Name, err)
	}
	return w, nil
}

// unpack is the input and the plan at the worker. The caller closes the input's log.
func (w work) unpack() (*Input, *Plan, error) {
	var from portable
	p := &Plan{}
	if err := json.Unmarshal(w.Input, &from); err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(w.Plan, p); err != nil {
		return nil, nil, err
	}
	if err := runner.CheckBuild(from.Build); err != nil {
		return nil, nil, err
	}
	if _, err := os.Stat(from.Scratch); err != nil {
		from.Scratch = "" // it is of another machine
	}
	in := &Input{Topic: from.Topic, Views: from.Views, References: from.References, Memory: from.Memory, Scratch: from.Scratch}
	var err error
	if in.Store, err = store.Open(from.Store); err != nil {
		return nil, nil, err
	}
	in.Log, err = kafkalog.Open(from.Log)
	return in, p, err
}

// buildFn does one task.
type buildFn struct {
	Work work

	in   *Input
	plan *Plan
}

// Setup connects to the log and the store. Beam's workers in Go end without a Teardown, so the log goes with Setup's
// context, which is the worker's.
func (fn *buildFn) Setup(ctx context.Context) (err error) {
	if fn.in, fn.plan, err = fn.Work.unpack(); err == nil {
		context.AfterFunc(ctx, func() { fn.in.Log.Close() })
	}
	return carry.Pack(err)
}

// ProcessElement builds and emits the descriptions of what it stored.
func (fn *buildFn) ProcessElement(ctx context.Context, text []byte, emit func([]byte)) error {
	done, err := turn.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	var t task
	var r result
	err = json.Unmarshal(text, &t)
	switch {
	case err != nil:
	case t.Range != nil:
		r.Built, err = fn.in.Build(ctx, fn.plan.Root, *t.Range)
	case t.Fold != nil:
		var folded manifest.Partial
		folded, err = fn.in.Fold(ctx, fn.plan.Root, *t.Fold)
		if errors.Is(err, errNotWhole) { // it is for fsck; the cycle goes on without the fold
			err = nil
			break
		}
		r.Partials, r.Parts = []manifest.Partial{folded}, t.Fold.Parts
	default:
		r.Partials, err = fn.in.fill(ctx, fn.plan.Root, *t.Missing)
	}
	if err != nil {
		return carry.Pack(err)
	}
	if text, err = json.Marshal(r); err != nil {
		return carry.Pack(err)
	}
	emit(text)
	return nil
}

// commitFn gathers what was built into the next manifest.
type commitFn struct {
	Work work
}

// ProcessElement gets every result of the cycle under one key and commits.
func (fn *commitFn) ProcessElement(ctx context.Context, _ int, next func(*[]byte) bool) error {
	in, plan, err := fn.Work.unpack()
	if err != nil {
		return carry.Pack(err)
	}
	defer in.Log.Close()
	var results []result
	for text := []byte(nil); next(&text); text = nil {
		var r result
		if err := json.Unmarshal(text, &r); err != nil {
			return carry.Pack(err)
		}
		if err := in.there(ctx, plan, r); err != nil {
			return carry.Pack(err)
		}
		results = append(results, r)
	}
	return carry.Pack(in.Commit(ctx, plan, results))
}

// there says whether what a worker has stored is in the store as this one sees it.
func (in *Input) there(ctx context.Context, p *Plan, r result) error {
	var paths []string
	if r.Built != nil {
		paths = append(paths, r.Built.Data.Path, r.Built.Rejects.Path)
		r.Partials = append(r.Partials, r.Built.Partials...)
	}
	for _, part := range r.Partials {
		paths = append(paths, part.Path)
	}
	for _, path := range paths {
		if path == "" {
			continue
		}
		if _, err := in.Store.Stat(ctx, p.Root+path); errors.Is(err, store.ErrNotExist) {
			return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("a worker has stored %s, and here it is not in the store %s", p.Root+path, in.Store.URL()),
				Hint: "store: must be a folder that every machine of the engine shares, or an object store; nothing was committed"}
		} else if err != nil {
			return err
		}
	}
	return nil
}
