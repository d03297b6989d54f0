package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

func newUp(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Run the project in one process until a signal: the broker, and a batch cycle every batch.every",
		Long: `up keeps the project's broker open, so that verbs and other Kafka clients work side by side, and runs batch cycles on
their schedule. It prints its addresses when all is ready. SIGTERM and Ctrl-C end it with exit code 0; a cycle that is cut
short is simply done again.`,
		Example: `  millrace up
  millrace -C flights up`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runUp(cmd.Context(), a) },
	}
}

// shutdown is how long requests in flight may take once `up` is told to end.
const shutdown = 5 * time.Second

func runUp(ctx context.Context, a *app) error {
	e, err := a.engine(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	p := e.session.project
	if e.session.up != nil {
		return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("`millrace up` runs here already, as process %d", e.session.up.PID), Hint: "use it, or stop it first"}
	}
	listener, err := net.Listen("tcp", p.Config.Listen)
	if err != nil {
		return &schemas.Problem{Kind: schemas.Environment, Message: "listen on " + p.Config.Listen, Err: err, Hint: "stop what uses the port, or set listen: in millrace.yaml to another"}
	}
	server := &http.Server{Handler: health(), ReadHeaderTimeout: shutdown}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	up := upFile{PID: os.Getpid(), Kafka: e.session.brokers[0], HTTP: "http://" + listener.Addr().String()}
	if err := writeUp(p, up); err != nil {
		return errors.Join(&schemas.Problem{Kind: schemas.Environment, Message: "the project's private folder cannot be written", Err: err}, server.Close())
	}
	defer os.Remove(upPath(p))
	fmt.Fprintf(a.stdout, "millrace is up: Kafka at %s, HTTP at %s; a batch cycle every %s\n", up.Kafka, up.HTTP, p.Config.Batch.Every)
	err = a.cycles(ctx, e, served)
	if ctx.Err() != nil {
		err = nil // a signal is how `up` is meant to end
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdown)
	defer cancel()
	return errors.Join(err, server.Shutdown(last))
}

// cycles runs a batch cycle of every topic on schedule until ctx ends. A cycle that fails is reported and tried again at
// its next time: the log keeps what it would have read.
func (a *app) cycles(ctx context.Context, e *engine, served <-chan error) error {
	tick := time.NewTicker(e.session.project.Config.Batch.Every)
	defer tick.Stop()
	health := time.NewTicker(time.Second)
	defer health.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-served:
			return &schemas.Problem{Kind: schemas.Environment, Message: "HTTP", Err: err}
		case <-health.C:
			if e.session.own == nil {
				continue
			}
			if err := e.session.own.Fault(); err != nil {
				return err
			}
		case <-tick.C:
			if err := a.cycleAll(ctx, e); err != nil && ctx.Err() == nil {
				a.logger().Error("batch cycle", "error", err)
			}
		}
	}
}

// cycleAll reads the project anew, so that a view added a moment ago gets its partials, and runs one cycle a topic.
func (a *app) cycleAll(ctx context.Context, e *engine) error {
	p, found := project.Open(a.dir)
	if len(found) > 0 {
		return problems(found)
	}
	c, found, err := compile(p)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return problems(found)
	}
	now := &engine{session: &session{project: p, brokers: e.session.brokers}, log: e.log, store: e.store, catalog: c}
	if err := now.prepare(ctx, p); err != nil {
		return err
	}
	for _, name := range p.TopicNames() {
		if _, err := now.cycle(name).Cycle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// health answers /healthz and /readyz: the process listens only once all is ready.
func health() http.Handler {
	mux := http.NewServeMux()
	ok := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }
	mux.HandleFunc("GET /healthz", ok)
	mux.HandleFunc("GET /readyz", ok)
	return mux
}
