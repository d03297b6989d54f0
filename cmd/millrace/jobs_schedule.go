package main

import (
	"context"
	"time"

	"github.com/millrace/millrace/batch/jobs"
	"github.com/millrace/millrace/schemas/project"
)

// jobPoll is how soon `up` sees that a file of jobs/ has changed.
const jobPoll = 5 * time.Second

// schedule runs the project's jobs at their times until ctx ends. Every run is answered for the project as its files are
// then. A run that fails is reported and stands in the history; the error is ctx's.
func (a *app) schedule(ctx context.Context, e *engine) error {
	answerer := jobAnswerer{engine: e, open: func(ctx context.Context) (*project.Project, *catalog, error) {
		p, c, err := a.open()
		if err != nil {
			return nil, nil, err
		}
		c.keep(ctx, a, p, e.store, e.compiler, e.scratch)
		return p, c, e.prepare(ctx, p)
	}}
	s := jobs.Schedule{Runner: a.runner(e.session.project, answerer), Poll: jobPoll, Load: func(context.Context) ([]*project.Job, error) {
		p, found := project.Open(a.dir)
		if len(found) > 0 {
			return nil, problems(found)
		}
		return p.Jobs, nil
	}}
	return s.Run(ctx)
}
