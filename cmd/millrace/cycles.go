package main

import (
	"context"
	"errors"
	"time"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/pipelines/store"
)

// cycles runs batch cycles on schedule.
type cycles struct {
	app    *app
	live   *live
	topics []string // none: all of the project, also those that are declared later
	every  time.Duration
	report func(topic string, r *batch.Report) // nil: nobody wants to know
	after  func()                              // told when the topics have had their cycles

	done, lost, failed int // cycles; lost ones are those that another process was faster with
}

// run runs a cycle of every topic each time until ctx ends. A cycle that fails is reported and tried again at its next
// time: the log keeps what it would have read. One that another process was faster with has failed nothing: what it would
// have committed is committed.
func (c *cycles) run(ctx context.Context) error {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			c.all(ctx)
		}
	}
}

// all runs one cycle a topic, of the project as its files are now. A topic that fails does not keep the others from
// theirs.
func (c *cycles) all(ctx context.Context) {
	e, err := c.live.engine(ctx)
	var topics []string
	if err == nil {
		topics, err = e.topics(c.topics)
	}
	if err != nil {
		c.fail(ctx, err)
		return
	}
	for _, name := range topics {
		r, err := e.cycle(c.app, name).Cycle(ctx)
		switch {
		case errors.Is(err, store.ErrExist):
			c.lost++
			c.app.note("%s: another batch process committed this cycle first; the next one goes on from there", name)
			continue
		case err != nil:
			c.fail(ctx, err)
			continue
		}
		c.done++
		for _, f := range r.Failed {
			c.app.logger().Error("batch cycle", "error", f)
		}
		if c.report != nil {
			c.report(name, r)
		}
	}
	c.after()
}

func (c *cycles) fail(ctx context.Context, err error) {
	if ctx.Err() == nil {
		c.failed++
		c.app.logger().Error("batch cycle", "error", err)
	}
}
