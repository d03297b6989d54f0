package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/ingest"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/serving/httpapi"
)

// runGateway is `ingest --listen`: the HTTP API without questions. It has a broker and no store, and compiles no view.
func runGateway(cmd *cobra.Command, a *app, o *ingestOptions) error {
	ctx := cmd.Context()
	for _, name := range []string{"format", "rate", "strict", "id"} {
		if cmd.Flags().Changed(name) {
			return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("--%s is for files, --listen takes records over HTTP", name), Hint: "leave one of them away"}
		}
	}
	if cmd.Flags().Changed("timeout") && o.timeout <= 0 {
		return &schemas.Problem{Kind: schemas.Usage, Message: "--timeout must be above 0", Hint: "write --timeout 30s, or leave it out"}
	}
	p, err := a.topics()
	if err != nil {
		return err
	}
	if err := besideUp(p, "ingest --listen", o.listen); err != nil {
		return err
	}
	listener, err := a.listenHTTP(o.listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	e := &engine{}
	defer e.Close()
	if e.session, err = a.connect(ctx, p); err != nil {
		return err
	}
	if e.session.own != nil { // `up` ended in between
		return noCluster("ingest --listen")
	}
	if e.log, err = e.session.log(); err != nil {
		return err
	}
	patience := e.session.requestPatience()
	if cmd.Flags().Changed("timeout") {
		patience = o.timeout
	}
	if e.producer, err = ingest.NewProducer(ingest.ProducerOptions{Kafka: e.session.kafka, Timeout: patience}); err != nil {
		return err
	}
	if err := prepare(ctx, e.producer, p); err != nil {
		return err
	}
	l := &live{dir: a.dir, base: e, producer: e.producer}
	if err := a.announce("millrace takes records", listener); err != nil {
		return err
	}
	return a.serveHTTP(ctx, listener, a.newGateway(l), drain)
}

// newGateway is the HTTP API of `ingest --listen`.
func (a *app) newGateway(l *live) *httpapi.Server {
	return httpapi.New(httpapi.Options{
		Topics:   l.topics,
		Appender: gateway{l.producer},
		Status: func(ctx context.Context) (any, error) {
			topics, err := logsOf(ctx, l)
			return map[string]any{"topics": topics}, err
		},
		Positions: func(ctx context.Context) ([]httpapi.Position, error) {
			topics, err := logsOf(ctx, l)
			var out []httpapi.Position
			for _, t := range topics {
				out = append(out, httpapi.Position{Topic: t.Topic, End: t.End})
			}
			return out, err
		},
		Ready: func(ctx context.Context) error {
			_, err := logsOf(ctx, l)
			return err
		},
		Log: a.logger(),
	})
}

// logsOf is each topic in the log, of the project as its files are now.
func logsOf(ctx context.Context, l *live) ([]logStatus, error) {
	p, _, err := l.read()
	if err != nil {
		return nil, err
	}
	out := []logStatus{}
	for _, name := range p.TopicNames() {
		t, err := readLogStatus(ctx, l.base.log, name)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}
