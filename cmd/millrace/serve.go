package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/ingest/broker"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

func newServe(a *app) *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "The serving layer as a process of its own: records, questions and status over HTTP",
		Long: `serve answers HTTP for a project whose brokers: is a Kafka cluster, until a signal; any number may run side by side.
Where brokers: is embedded, ` + "`millrace up`" + ` serves already; with --listen, serve is a second server beside a running ` + "`up`" + `.
SIGTERM and Ctrl-C let requests in flight end, and the exit code is 0.`,
		Example: `  millrace serve
  millrace -C flights serve --listen 0.0.0.0:8080`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runServe(cmd.Context(), a, listen) },
	}
	cmd.Flags().StringVar(&listen, "listen", "", "host:port; listen: of millrace.yaml if not given")
	_ = cmd.RegisterFlagCompletionFunc("listen", cobra.NoFileCompletions)
	return cmd
}

// drain is how long requests in flight may take once serve is told to end.
const drain = 15 * time.Second

func runServe(ctx context.Context, a *app, listen string) error {
	p, found := project.Open(a.dir)
	if p == nil {
		return problems(found)
	}
	if err := besideUp(p, "serve", listen); err != nil {
		return err
	}
	if listen == "" {
		listen = p.Config.Listen
	}
	listener, err := a.listenHTTP(listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	e, err := a.engine(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	if e.session.own != nil { // `up` ended in between
		return noCluster("serve")
	}
	l, err := a.live(e)
	if err != nil {
		return err
	}
	if err := a.announce("millrace serves", listener); err != nil {
		return err
	}
	watch := a.watch(l)
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return a.serveHTTP(ctx, listener, a.newHTTP(l, watch), drain) })
	both.Go(func() error {
		watch.run(ctx)
		return nil
	})
	return both.Wait()
}

// announce says that a server is ready, and where.
func (a *app) announce(what string, listener net.Listener) error {
	url := "http://" + listener.Addr().String()
	if a.json {
		return a.printJSON(map[string]string{"http": url})
	}
	_, err := fmt.Fprintf(a.stdout, "%s at %s\n", what, url)
	return err
}

// besideUp says whether the project has a broker that a verb which serves HTTP can share.
func besideUp(p *project.Project, verb, listen string) error {
	if !p.Config.Embedded() {
		return nil
	}
	up := runningUp(p)
	switch {
	case up == nil:
		return noCluster(verb)
	case listen == "":
		return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("`millrace up` serves this project already, as process %d, at %s", up.PID, up.HTTP),
			Hint: "use that, or give --listen for a second server beside it"}
	}
	return nil
}

// runningUp is the `up` that has the project's embedded broker, nil if none runs.
func runningUp(p *project.Project) *upFile {
	owner, owned := broker.Owner(p.Private("broker"))
	if up := readUp(p); owned && up != nil && up.PID == owner.PID {
		return up
	}
	return nil
}

func noCluster(verb string) error {
	return &schemas.Problem{Kind: schemas.Usage, Message: verb + " needs a Kafka cluster, and brokers: is embedded", Hint: "run `millrace up`, which does it too, or name the cluster's brokers in " + project.File}
}
