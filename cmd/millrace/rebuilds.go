package main

import (
	"context"
	"time"

	"github.com/millrace/millrace/batch"
)

// rebuilds makes, beside all else, the partials that new and changed views lack over history, and lets go of those that no
// view has any more, until ctx ends.
type rebuilds struct {
	app    *app
	live   *live
	topics []string      // none: all of the project
	look   chan struct{} // told after cycles: there may be something to do

	known map[string]string    // topic -> the definitions that lack nothing
	rest  map[string]time.Time // topic -> when it is tried again after an error
}

func (a *app) rebuilds(l *live, topics []string) *rebuilds {
	return &rebuilds{app: a, live: l, topics: topics, look: make(chan struct{}, 1), known: map[string]string{}, rest: map[string]time.Time{}}
}

// retryAfter is how long history is left alone after an error.
const retryAfter = time.Minute

// wake says that the manifests may have changed.
func (r *rebuilds) wake() {
	select {
	case r.look <- struct{}{}:
	default: // it looks soon
	}
}

func (r *rebuilds) run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		r.all(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-r.look:
			clear(r.known)
		}
	}
}

// all brings every topic up to date whose views have changed. What is wrong in the project's files others say.
func (r *rebuilds) all(ctx context.Context) {
	e, err := r.live.engine(ctx)
	if err != nil {
		return
	}
	topics, err := e.topics(r.topics)
	if err != nil {
		return
	}
	for _, name := range topics {
		if ctx.Err() != nil {
			return
		}
		in := e.cycle(r.app, name)
		key := definitions(in.Topic, in.Views)
		if r.known[name] == key || time.Now().Before(r.rest[name]) {
			continue
		}
		if err := r.topic(ctx, e, in, key); err == nil {
			r.known[name] = key
		}
	}
}

// topic makes what one topic's views lack, until they change.
func (r *rebuilds) topic(ctx context.Context, e *engine, in *batch.Input, key string) error {
	mine, stop := context.WithCancel(ctx)
	defer stop()
	go r.until(mine, in.Topic.Name, key, stop)
	made, err := r.app.catchUp(mine, e.session.project, in, true)
	if err == nil && len(r.live.wrong()) == 0 { // else a view may be missing for a mistake in its file
		err = r.app.collect(mine, in, nil)
	}
	for _, m := range made {
		if m.Partials > 0 {
			r.app.note("%s: %s over %s records made in the background in %.1f s", m.View, count(m.Partials, "partial"), thousands(m.Records), m.Seconds)
		}
	}
	for _, f := range failuresOf(made) {
		r.app.logger().Error("rebuild", "error", f)
	}
	if err != nil && mine.Err() == nil {
		r.rest[in.Topic.Name] = time.Now().Add(retryAfter)
		r.app.logger().Error("rebuild", "topic", in.Topic.Name, "error", err)
	}
	return err
}

// collect lets go of what no view has any more, and notes it in a cycle's report if there is one.
func (a *app) collect(ctx context.Context, in *batch.Input, r *batch.Report) error {
	c, err := in.Collect(ctx, time.Now())
	if c.Files > 0 {
		a.note("%s: %s of partials that no view has any more removed, %s", in.Topic.Name, count(c.Files, "file"), size(c.Bytes))
	}
	if c.Parts > 0 {
		a.note("%s: %s of folded partials removed", in.Topic.Name, count(c.Parts, "large part"))
	}
	if r != nil {
		r.Manifest = max(r.Manifest, c.Manifest)
	}
	return err
}

// until calls stop when a topic's views are other ones.
func (r *rebuilds) until(ctx context.Context, topic, key string, stop func()) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		e, err := r.live.engine(ctx)
		if err != nil {
			continue
		}
		if t := e.session.project.Topics[topic]; t == nil || definitions(t, e.merged(topic)) != key {
			stop()
			return
		}
	}
}

// addRebuilt puts what was made over history into a cycle's report.
func addRebuilt(r *batch.Report, made []*batch.Rebuilt) {
	for _, m := range made {
		r.Rebuilt, r.Seconds, r.Manifest = r.Rebuilt+m.New, r.Seconds+m.Seconds, max(r.Manifest, m.Manifest)
		if m.Failed != "" {
			r.Failed = append(r.Failed, batch.Failure{View: m.View, Reason: m.Failed})
		}
	}
}
