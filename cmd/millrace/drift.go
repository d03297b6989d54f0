package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas/manifest"
	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/serving/httpapi"
)

const (
	// watchMemory is what the drift watch's engine may take before it spills: it runs beside all the others.
	watchMemory = "64MiB"
	// leastPause is between two rounds of the watch, however little they take.
	leastPause = time.Second
)

// watch compares samples of what is stored of merged views with their records, one after the other, in a share of one
// processor. Concurrency: sampled is safe beside run.
type watch struct {
	app    *app
	live   *live
	server *serving.Server // with an engine of its own for each sample
	share  float64
	pick   func(n int) int

	mu     sync.Mutex
	counts map[httpapi.Sampled]int64 // by what is set beside Samples and Seconds
	spent  time.Duration
	said   map[string]string // view -> why the last sample could not be made; "": why there was none

	alarmed map[string]bool // ranges that the log has
}

// watch is the drift watch of a process; nil: the project wants none.
func (a *app) watch(l *live) *watch {
	share := l.base.session.project.Config.Drift
	if share == 0 {
		return nil
	}
	o := l.base.servingOptions(l.definitions)
	o.Limits.Memory = watchMemory
	return &watch{app: a, live: l, server: serving.New(o), share: share, pick: rand.IntN, counts: map[httpapi.Sampled]int64{}, said: map[string]string{}, alarmed: map[string]bool{}}
}

// run samples until ctx ends. What it cannot do stops nobody else.
func (w *watch) run(ctx context.Context) {
	if w == nil {
		return
	}
	defer w.server.Close()
	pace(ctx, w.share, time.Now, sleep, func() {
		began := time.Now()
		kernel.Gently(func() { w.say(ctx, "", w.round(ctx)) })
		w.mu.Lock()
		defer w.mu.Unlock()
		w.spent += time.Since(began)
	})
}

// pace does something again and again until ctx ends, so that it takes a share of the time, whatever it takes: between two
// times it waits in proportion to how long the last one took.
func pace(ctx context.Context, share float64, now func() time.Time, wait func(context.Context, time.Duration), do func()) {
	pause := leastPause
	for {
		wait(ctx, pause)
		if ctx.Err() != nil {
			return
		}
		began := now()
		do()
		pause = max(leastPause, time.Duration(float64(now().Sub(began))*(1/share-1)))
	}
}

// sleep waits until a time has passed or ctx has ended.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// round looks again at one of the ranges that were reported, and then at one thing that is stored.
func (w *watch) round(ctx context.Context) error {
	e, err := w.live.engine(ctx)
	if err != nil {
		return nil //nolint:nilerr // others say what is wrong with the project's files
	}
	defs := e.catalog.definitions()
	if err := w.again(ctx, e, defs); err != nil {
		return err
	}
	merged := slices.DeleteFunc(slices.Collect(maps.Values(defs.Views)), func(v *views.View) bool { return !v.Class.FromPartials() })
	for len(merged) > 0 {
		i := w.pick(len(merged))
		s, err := w.server.Sample(ctx, defs, merged[i], w.pick)
		if err != nil {
			w.count(httpapi.Sampled{Topic: merged[i].Topic, View: merged[i].Name, Result: httpapi.SampleFailed})
			return err
		}
		if s != nil {
			return w.took(ctx, e, s)
		}
		merged = slices.Delete(merged, i, i+1)
	}
	return nil
}

// took notes a sample: counted, and reported if both sides differ.
func (w *watch) took(ctx context.Context, e *engine, s *serving.Sample) error {
	result := httpapi.SampleAgrees
	var err error
	switch {
	case s.Why != "":
		result = httpapi.SampleImpossible
		w.say(ctx, s.View, fmt.Errorf("%s over %s[%d]@[%d,%d) cannot be compared: %s", s.View, s.Topic, s.Partition, s.From, s.To, s.Why))
	case s.Drift != nil:
		result = httpapi.SampleDiffers
		s.Drift.Found = time.Now().UTC()
		var name string
		name, err = serving.Report(ctx, e.store, s.Root, s.Drift)
		if key := s.Root + s.View + s.Range.String(); !w.alarmed[key] {
			w.alarmed[key] = true
			w.app.logger().ErrorContext(ctx, "what is stored differs from its records", "error", s.Drift.Problem(), "report", name)
		}
	default:
		w.say(ctx, s.View, nil)
	}
	w.count(httpapi.Sampled{Topic: s.Topic, View: s.View, Result: result})
	return err
}

// report is one that lies in the store.
type report struct {
	root string // of its topic's dataset
	serving.Drift
}

// reports are those of all topics.
func (w *watch) reports(ctx context.Context, e *engine) (out []report, err error) {
	for _, topic := range e.session.project.TopicNames() {
		info, err := e.log.Topic(ctx, topic)
		if err != nil {
			return nil, err
		}
		root := manifest.Root(topic, info.ID, e.session.project.Topics[topic].Hash())
		all, err := serving.Reports(ctx, e.store, root)
		if err != nil {
			return nil, err
		}
		for _, d := range all {
			out = append(out, report{root, d})
		}
	}
	return out, nil
}

// again looks at one of the ranges that were reported. Reports of what agrees by now, and of views that are gone, are removed.
func (w *watch) again(ctx context.Context, e *engine, defs *serving.Definitions) error {
	all, err := w.reports(ctx, e)
	if err != nil || len(all) == 0 {
		return err
	}
	r := &all[w.pick(len(all))]
	v := defs.Views[r.View]
	if v == nil && len(w.live.wrong()) > 0 {
		return nil // it may be missing for a mistake in its file
	}
	var s *serving.Sample
	if v != nil && v.Class.FromPartials() {
		if s, err = w.server.Again(ctx, defs, v, &r.Drift, w.pick); err != nil {
			return err
		}
	}
	if s != nil {
		return w.took(ctx, e, s)
	}
	delete(w.alarmed, r.root+r.View+r.Range.String())
	w.app.note("view %s over %s[%d]@[%d,%d): what is stored agrees with its records again", r.View, r.Topic, r.Partition, r.From, r.To)
	return serving.Forget(ctx, e.store, r.root, &r.Drift)
}

// say warns of what keeps samples from being made, once until it changes. What is of no view is under the empty name.
func (w *watch) say(ctx context.Context, view string, err error) {
	why := ""
	if err != nil {
		_, why, _ = strings.Cut(err.Error(), "): ") // without the range, which is another one each time
		if why == "" {
			why = err.Error()
		}
	}
	if ctx.Err() == nil && why != "" && why != w.said[view] {
		w.app.logger().WarnContext(ctx, "drift watch", "error", err)
	}
	w.said[view] = why
}

func (w *watch) count(s httpapi.Sampled) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[s]++
}

// sampled is what was sampled so far, and the time that it took.
func (w *watch) sampled() (out []httpapi.Sampled, seconds float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s, n := range w.counts {
		s.Samples = n
		out = append(out, s)
	}
	return out, w.spent.Seconds()
}
