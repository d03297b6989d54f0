package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

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
	if err := besideUp(p, listen); err != nil {
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
		return noCluster()
	}
	l, err := a.live(e)
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String()
	if a.json {
		err = a.printJSON(map[string]string{"http": url})
	} else {
		_, err = fmt.Fprintf(a.stdout, "millrace serves at %s\n", url)
	}
	if err != nil {
		return err
	}
	return a.serveHTTP(ctx, listener, a.newHTTP(l), drain)
}

// besideUp says whether the project has a broker that serve can share.
func besideUp(p *project.Project, listen string) error {
	if !p.Config.Embedded() {
		return nil
	}
	owner, owned := broker.Owner(p.Private("broker"))
	up := readUp(p)
	switch {
	case !owned || up == nil || up.PID != owner.PID:
		return noCluster()
	case listen == "":
		return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("`millrace up` serves this project already, as process %d, at %s", up.PID, up.HTTP),
			Hint: "use that, or give --listen for a second server beside it"}
	}
	return nil
}

func noCluster() error {
	return &schemas.Problem{Kind: schemas.Usage, Message: "serve needs a Kafka cluster, and brokers: is embedded", Hint: "run `millrace up`, which serves too, or name the cluster's brokers in millrace.yaml"}
}
