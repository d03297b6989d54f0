package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/ingest/broker"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

func newUp(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Run the project in one process until a signal: broker, speed layer, batch cycles, jobs and HTTP",
		Long: `up keeps the project's broker open, so that verbs and other Kafka clients work side by side, publishes slices as
records come in, and runs batch cycles and jobs on their schedules. It prints its addresses when all is ready. SIGTERM and
Ctrl-C end it with exit code 0; what is cut short is simply done again.`,
		Example: `  millrace up
  millrace -C flights up`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runUp(cmd.Context(), a) },
	}
}

// shutdown is how long requests in flight may take once `up` is told to end.
const shutdown = 5 * time.Second

func runUp(ctx context.Context, a *app) error {
	if p, _ := project.Open(a.dir); p != nil && p.Config.Embedded() { // it may be busy, or stopped
		if up := runningUp(p); up != nil {
			return alreadyUp(up)
		}
	}
	e, err := a.engine(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	p := e.session.project
	if e.session.up != nil {
		return alreadyUp(e.session.up)
	}
	listener, err := a.listenHTTP(p.Config.Listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	l, err := a.live(e)
	if err != nil {
		return err
	}
	up := upFile{PID: os.Getpid(), Kafka: e.session.kafka.Brokers[0], HTTP: "http://" + listener.Addr().String()}
	if err := writeUp(p, up); err != nil {
		return &schemas.Problem{Kind: schemas.Environment, Message: "the project's private folder cannot be written", Err: err, Hint: "give this user the right to write there, or free space"}
	}
	defer os.Remove(upPath(p))
	fmt.Fprintf(a.stdout, "millrace is up: Kafka at %s, HTTP at %s; a batch cycle every %s\n", up.Kafka, up.HTTP, p.Config.Batch.Every)
	err = a.runLayers(ctx, l, listener)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // a signal is how `up` is meant to end
	}
	return err
}

func alreadyUp(up *upFile) error {
	return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("`millrace up` runs here already, as process %d", up.PID), Hint: "use it, or stop it first"}
}

// runLayers runs every layer until ctx ends or one of them cannot go on.
func (a *app) runLayers(ctx context.Context, l *live, listener net.Listener) error {
	layers, ctx := errgroup.WithContext(ctx)
	watch := a.watch(l)
	layers.Go(func() error { return a.serveHTTP(ctx, listener, a.newHTTP(l, watch), shutdown) })
	layers.Go(func() error {
		watch.run(ctx)
		return nil
	})
	layers.Go(func() error { return a.keepSlices(ctx, l, nil, false) })
	history := a.rebuilds(l, nil)
	layers.Go(func() error { return history.run(ctx) })
	layers.Go(func() error {
		return (&cycles{app: a, live: l, every: l.base.session.project.Config.Batch.Every, after: history.wake}).run(ctx)
	})
	layers.Go(func() error { return a.schedule(ctx, l.base) })
	if own := l.base.session.own; own != nil {
		layers.Go(func() error { return watchBroker(ctx, own) })
	}
	return layers.Wait()
}

// watchBroker returns when the embedded broker cannot take records any more.
func watchBroker(ctx context.Context, b *broker.Broker) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := b.Fault(); err != nil {
				return err
			}
		}
	}
}
