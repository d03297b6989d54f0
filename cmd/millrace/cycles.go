package main

import (
	"context"
	"errors"
	"slices"
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

// run runs a cycle of every topic each time until ctx ends, and one before its time where Kafka may drop what it would read. A
// cycle that fails is reported and tried again at its next time: the log keeps what it would have read. One that another
// process was faster with has failed nothing: what it would have committed is committed.
func (c *cycles) run(ctx context.Context) error {
	tick, look := time.NewTicker(c.every), time.NewTicker(guardEvery)
	defer tick.Stop()
	defer look.Stop()
	c.guard(ctx)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			c.all(ctx)
		case <-look.C:
			c.guard(ctx)
		}
	}
}

// dropped is what Kafka drops some day and no cycle has read. The embedded broker keeps its records for ever, whatever it says of
// their retention.
func (e *engine) dropped(ctx context.Context, a *app, t *topicStatus) ([]batch.Unread, error) {
	if e.session.project.Config.Embedded() {
		return nil, nil
	}
	return e.cycle(a, t.Topic).Unread(ctx, t.unread(), time.Now())
}

// guardEvery is how often it is looked for records that Kafka may drop before their cycle's time.
const guardEvery = time.Minute

// guard runs the cycles of topics early whose unread records Kafka may drop, and raises the alarm if they stay unread.
func (c *cycles) guard(ctx context.Context) {
	e, topics := c.now(ctx)
	look := func(name string) ([]batch.Unread, error) {
		t, _, err := readTopicStatus(ctx, e.log, e.store, e.session.project.Topics[name])
		if err != nil {
			return nil, err
		}
		return e.dropped(ctx, c.app, &t)
	}
	for _, name := range topics {
		unread, err := look(name)
		if err == nil && slices.ContainsFunc(unread, func(u batch.Unread) bool { return u.Early() }) {
			c.one(ctx, e, name)
			c.after()
			unread, err = look(name)
		}
		if err != nil {
			c.fail(ctx, err)
		}
		for _, u := range unread {
			if u.Alarm() {
				c.app.logger().ErrorContext(ctx, "records may be lost to history", "error", u.Problem(name))
			}
		}
	}
}

// all runs one cycle a topic, of the project as its files are now. A topic that fails does not keep the others from
// theirs.
func (c *cycles) all(ctx context.Context) {
	e, topics := c.now(ctx)
	for _, name := range topics {
		c.one(ctx, e, name)
	}
	if e != nil {
		c.after()
	}
}

// now is the project as its files are, and its topics that have cycles here; none if it cannot be read.
func (c *cycles) now(ctx context.Context) (*engine, []string) {
	e, err := c.live.engine(ctx)
	var topics []string
	if err == nil {
		topics, err = e.topics(c.topics)
	}
	if err != nil {
		c.fail(ctx, err)
		return nil, nil
	}
	return e, topics
}

// one runs a topic's cycle.
func (c *cycles) one(ctx context.Context, e *engine, topic string) {
	r, err := e.cycle(c.app, topic).Cycle(ctx)
	switch {
	case errors.Is(err, store.ErrExist):
		c.lost++
		c.app.note("%s: another batch process committed this cycle first; the next one goes on from there", topic)
		return
	case err != nil:
		c.fail(ctx, err)
		return
	}
	c.done++
	for _, f := range r.Failed {
		c.app.logger().Error("batch cycle", "error", f)
	}
	if c.report != nil {
		c.report(topic, r)
	}
}

func (c *cycles) fail(ctx context.Context, err error) {
	if ctx.Err() == nil {
		c.failed++
		c.app.logger().Error("batch cycle", "error", err)
	}
}
