package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

// leastEvery is the shortest time between two cycles' beginnings.
const leastEvery = 100 * time.Millisecond

// runBatchFollow is `batch --every`: the batch layer until a signal.
func runBatchFollow(cmd *cobra.Command, a *app, o *batchOptions, named []string) error {
	ctx := cmd.Context()
	p, found := project.Open(a.dir)
	if p == nil {
		return problems(found)
	}
	every := p.Config.Batch.Every
	if cmd.Flags().Changed("every") {
		every = o.every
	}
	if every < leastEvery {
		return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("--every must be %s at least", leastEvery), Hint: "write --every 1m, or --follow for batch.every of millrace.yaml"}
	}
	if p.Config.Embedded() {
		if up := runningUp(p); up != nil {
			return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("`millrace up`, process %d, runs cycles and jobs here", up.PID),
				Hint: "there is nothing to do; a batch layer of its own is for a Kafka cluster"}
		}
		return noCluster("batch --every")
	}
	e, err := a.engine(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	if _, err := e.topics(named); err != nil {
		return err
	}
	if e.batchOn, err = o.engine.engine(&p.Config); err != nil {
		return err
	}
	l, err := a.live(e)
	if err != nil {
		return err
	}
	c := &cycles{app: a, live: l, topics: named, every: every, report: func(topic string, r *batch.Report) {
		if r.Records+r.Rejects > 0 && !a.json {
			a.printCycle(topic, r)
		}
	}}
	a.note("millrace batch: a cycle every %s", every)
	history := a.rebuilds(l, named)
	c.after = history.wake
	layers, running := errgroup.WithContext(ctx)
	layers.Go(func() error {
		c.all(running)
		return c.run(running)
	})
	layers.Go(func() error { return history.run(running) })
	if len(named) == 0 {
		layers.Go(func() error { return a.schedule(running, e) })
	}
	if err := layers.Wait(); ctx.Err() == nil { // a signal is how it is meant to end
		return err
	}
	if a.json {
		return a.printJSON(map[string]int{"cycles": c.done, "lost": c.lost, "failed": c.failed})
	}
	return nil
}
