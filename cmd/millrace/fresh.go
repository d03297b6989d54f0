package main

import (
	"context"
	"sync"

	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/serving"
)

// fresh keeps an engine in step with the project's files, so that a view added a moment ago is answered, sliced and given
// partials. Concurrency: safe.
type fresh struct {
	app *app

	mu    sync.Mutex
	stamp string
	now   *engine
}

// fresh begins with an engine as it is.
func (a *app) fresh(e *engine) *fresh {
	return &fresh{app: a, stamp: project.Stamp(a.dir), now: e}
}

// engine is the engine over the files as they are now: the one before while no file has changed. Its session, log and
// store are those it began with; where they are is fixed while a process runs. Errors: every problem of the files.
func (f *fresh) engine(ctx context.Context) (*engine, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stamp := project.Stamp(f.app.dir)
	if stamp == f.stamp {
		return f.now, nil
	}
	p, c, err := f.app.open()
	if err != nil {
		return nil, err
	}
	next := *f.now
	next.session = &session{project: p, brokers: f.now.session.brokers, up: f.now.session.up}
	next.catalog = c
	next.server = next.serve(func(context.Context) (*serving.Definitions, error) { return c.definitions(), nil })
	if err := next.prepare(ctx, p); err != nil {
		return nil, err
	}
	f.now, f.stamp = &next, stamp
	return f.now, nil
}
