package batch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// What is made over history is committed after so many partials or records: it is used from then on, and whoever is killed
// has no more than that to do again.
const (
	stepPartials = 64
	stepRecords  = 8 << 20
)

// Pace says how history is gone over.
type Pace struct {
	Gentle bool           // gives way: a cycle interrupts it, and other work comes first at the processors
	Watch  func(Progress) // hears at the start of a view and after each partial; nil: nobody does
}

// Progress is how far the partials of one view are.
type Progress struct {
	Topic      string `json:"topic"`
	View       string `json:"view"`
	Definition string `json:"definition"`
	Partials   int    `json:"partials"`   // made
	Of         int    `json:"of"`         // to be made
	Records    int64  `json:"records"`    // gone over
	OfRecords  int64  `json:"of_records"` // to be gone over
	Rows       int64  `json:"rows"`       // of the partials made
}

// Rebuilt is what was made of one view's partials.
type Rebuilt struct {
	Topic      string     `json:"topic"`
	View       string     `json:"view"`
	Definition string     `json:"definition"`
	Manifest   int64      `json:"manifest"` // that names them; 0: no cycle has committed one
	Partials   int        `json:"partials"` // made
	Records    int64      `json:"records"`  // that they stand for
	Rows       int64      `json:"rows"`
	Bytes      int64      `json:"bytes"`
	New        int        `json:"new"`              // there was none over the range
	Same       int        `json:"same"`             // it came out as it was stored
	Differed   []Differed `json:"differed"`         // it did not: what was stored is replaced
	Failed     string     `json:"failed,omitempty"` // what the view's SQL comes to over some range, which so has no partial
	Seconds    float64    `json:"seconds"`
}

// CatchUp makes the partials that the views lack over what is committed, from the data files, which it proves first, and
// commits them in steps, beside cycles and beside others that do the same. Views that lack nothing are not in what it
// returns. Errors: a Problem if a data file is damaged; as Build's. What was made before one is committed.
func (in *Input) CatchUp(ctx context.Context, pace Pace) ([]*Rebuilt, error) {
	w, err := in.walk(ctx, pace)
	if err != nil || w.manifest == nil {
		return nil, err
	}
	var work []*viewWork
	eras, err := in.eras(ctx, w.manifest.Versions, in.Views)
	if err != nil {
		return nil, err
	}
	for _, lack := range in.missing(w.manifest, eras) {
		if n := len(work); n == 0 || work[n-1].view.Name != lack.View.Name {
			work = append(work, &viewWork{view: lack.View})
		}
		last := work[len(work)-1]
		last.units = append(last.units, unit{Missing: lack})
	}
	return w.do(ctx, work)
}

// Rebuild makes every partial of some views anew, as CatchUp makes those that are missing. One that does not come out as it
// was stored replaces that; until then the stored one is in use.
func (in *Input) Rebuild(ctx context.Context, of []*views.View, pace Pace) ([]*Rebuilt, error) {
	w, err := in.walk(ctx, pace)
	if err != nil {
		return nil, err
	}
	w.here = true
	var work []*viewWork
	for _, v := range of {
		again, err := w.again(ctx, v)
		if err != nil {
			return nil, err
		}
		work = append(work, again)
	}
	return w.do(ctx, work)
}

// unit is one partial to be made.
type unit struct {
	Missing
	old *manifest.Partial // nil: there is none over the range
}

// viewWork is what is to be made of one view, and what came of it.
type viewWork struct {
	view  *views.View
	units []unit
	done  *Rebuilt
}

// walk goes over what is committed.
type walk struct {
	in       *Input
	pace     Pace
	root     string
	topicID  string
	manifest *manifest.Manifest // at the start; nil: no cycle has committed one
	here     bool               // in this process, wherever cycles run
	proven   map[string]bool    // data files found whole

	step    []outcome // made and not committed
	records int64     // of the step
}

// outcome is a partial that was made, and the one it replaces.
type outcome struct {
	made manifest.Partial
	old  *manifest.Partial
	of   *viewWork
}

func (in *Input) walk(ctx context.Context, pace Pace) (*walk, error) {
	info, err := in.Log.Topic(ctx, in.Topic.Name)
	w := &walk{in: in, pace: pace, proven: map[string]bool{}, topicID: info.ID, root: manifest.Root(in.Topic.Name, info.ID, in.Topic.Hash())}
	if err == nil {
		w.manifest, err = dataset.Newest(ctx, in.Store, w.root)
	}
	if err != nil {
		return nil, fmt.Errorf("history of %s: %w", in.Topic.Name, err)
	}
	return w, nil
}

// again is every partial of a view, in all its eras: those that there are, and those that it lacks.
func (w *walk) again(ctx context.Context, v *views.View) (*viewWork, error) {
	work := &viewWork{view: v}
	if w.manifest == nil {
		return work, nil
	}
	eras, err := w.in.eras(ctx, w.manifest.Versions, []*views.View{v})
	if err != nil {
		return nil, err
	}
	type key struct {
		definition string
		r          schemas.Range
	}
	seen := map[key]bool{} // two views with one definition have partials each
	for _, e := range eras {
		for i, p := range w.manifest.Partials {
			if k := (key{p.Definition, p.Range()}); p.Definition == e.View.Definition && !isNote(p) && !seen[k] {
				seen[k] = true
				work.units = append(work.units, unit{Missing{e.View, p.Range(), over(w.manifest.Files, p.Range()), e.References}, &w.manifest.Partials[i]})
			}
		}
	}
	for _, lack := range w.in.missing(w.manifest, eras) {
		work.units = append(work.units, unit{Missing: lack})
	}
	return work, nil
}

// do makes what is to be made. What was made before an error is committed, whatever the error is.
func (w *walk) do(ctx context.Context, work []*viewWork) (out []*Rebuilt, err error) {
	for _, v := range work {
		if err == nil {
			err = w.view(ctx, v)
		}
		if v.done != nil {
			out = append(out, v.done)
		}
	}
	if failed := w.commit(context.WithoutCancel(ctx)); err == nil {
		err = failed
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return out, err
}

// view makes the partials of one view.
func (w *walk) view(ctx context.Context, v *viewWork) error {
	began := time.Now()
	at := Progress{Topic: w.in.Topic.Name, View: v.view.Name, Definition: v.view.Definition, Of: len(v.units)}
	for i := range v.units {
		at.OfRecords += v.units[i].records()
	}
	v.done = &Rebuilt{Topic: at.Topic, View: at.View, Definition: at.Definition, Differed: []Differed{}}
	if w.manifest != nil {
		v.done.Manifest = w.manifest.Sequence
	}
	tell := func() {
		v.done.Seconds = time.Since(began).Seconds()
		if w.pace.Watch != nil {
			w.pace.Watch(at)
		}
	}
	tell()
	took := func(u *unit, made manifest.Partial) {
		at.Partials, at.Records, at.Rows = at.Partials+1, at.Records+u.records(), at.Rows+made.Rows
		v.done.took(u, made)
		tell()
	}
	if w.in.Engine.Remote() && !w.here {
		return w.remote(ctx, v, took)
	}
	for i := range v.units {
		u := &v.units[i]
		made, changed, err := w.build(ctx, u, v.done)
		if err != nil {
			return w.in.of(ctx, "make the partial of "+v.view.Name+" over", u.Range, err)
		}
		took(u, made)
		if !changed {
			continue
		}
		w.step, w.records = append(w.step, outcome{made, u.old, v}), w.records+u.records()
		if len(w.step) >= cmp.Or(w.in.stepPartials, stepPartials) || w.records >= stepRecords {
			if err := w.commit(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// took notes a partial.
func (r *Rebuilt) took(u *unit, made manifest.Partial) {
	r.Partials, r.Records, r.Rows, r.Bytes = r.Partials+1, r.Records+u.records(), r.Rows+made.Rows, r.Bytes+made.Bytes
	if u.old == nil {
		r.New++
	}
	if made.Failed != "" && r.Failed == "" {
		r.Failed = made.Failed
	}
}

// remote has an engine make the partials, a pipeline a step.
func (w *walk) remote(ctx context.Context, v *viewWork, took func(*unit, manifest.Partial)) error {
	for units := range slices.Chunk(v.units, stepPartials) {
		p := &Plan{Root: w.root, TopicID: w.topicID, Previous: w.manifest, Sequence: w.manifest.Sequence, Start: w.manifest.Start, From: w.manifest.Frontier, To: w.manifest.Frontier}
		for _, u := range units {
			p.Missing = append(p.Missing, u.Missing)
		}
		m, err := w.in.run(ctx, p, "rebuild-")
		if errors.Is(err, store.ErrExist) { // others have made all of them
			continue
		}
		if err != nil {
			return err
		}
		v.done.Manifest = m.Sequence
		for i := range units {
			at := slices.IndexFunc(m.Partials, func(p manifest.Partial) bool {
				return p.Definition == units[i].View.Definition && p.Range() == units[i].Range
			})
			if at >= 0 { // else another had made one over a larger range
				took(&units[i], m.Partials[at])
			}
		}
	}
	return nil
}

// commit names what was made in the next manifest. What another has made or changed meanwhile stays as it is there.
func (w *walk) commit(ctx context.Context) error {
	step := w.step
	w.step, w.records = nil, 0
	if len(step) == 0 {
		return nil
	}
	var sequence int64
	err := w.in.amend(ctx, w.root, "", 0, func(m *manifest.Manifest) (*manifest.Manifest, error) {
		if m == nil {
			return nil, nil // the dataset was taken away
		}
		next := after(m, "")
		changed := false
		for _, o := range step {
			if o.replace(next) {
				changed = true
			}
		}
		sequence = m.Sequence
		if !changed {
			return nil, nil
		}
		sequence = next.Sequence
		sortManifest(next)
		return next, nil
	})
	for _, o := range step {
		o.of.done.Manifest = sequence
	}
	if err != nil {
		return fmt.Errorf("commit partials of %s: %w", w.in.Topic.Name, err)
	}
	return nil
}

// replace puts the partial into the manifest, for the one it replaces or where there is none, and says whether it did.
func (o *outcome) replace(m *manifest.Manifest) bool {
	if o.old == nil {
		add := lacking(m, []manifest.Partial{o.made})
		m.Partials = append(m.Partials, add...)
		return len(add) > 0
	}
	if !names(m, *o.old) {
		return false
	}
	m.Partials = slices.DeleteFunc(m.Partials, func(p manifest.Partial) bool {
		return p.Definition == o.made.Definition && p.Range() == o.made.Range()
	})
	m.Partials = append(m.Partials, o.made)
	return true
}
