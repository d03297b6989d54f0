package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/schemas/project"
)

func newBatch(a *app) *cobra.Command {
	var on engineFlags
	cmd := &cobra.Command{
		Use:   "batch [TOPIC...]",
		Short: "Run one batch cycle: what is new in the log becomes Parquet and partials",
		Long: `batch reads what no cycle has read yet, writes it as Parquet with the partials of every merged view, and commits one
manifest a topic. Killed anywhere, the next cycle just works; of two at once one wins and the other says so. With --runner flink or
spark the ranges are built there.`,
		Example: `  millrace batch
  millrace batch flights --json
  millrace batch --runner spark --endpoint 127.0.0.1:8099`,
		RunE:              func(cmd *cobra.Command, args []string) error { return runBatch(cmd.Context(), a, &on, args) },
		ValidArgsFunction: a.complete((*project.Project).TopicNames, 0, false),
	}
	on.add(cmd)
	return cmd
}

func runBatch(ctx context.Context, a *app, on *engineFlags, topics []string) error {
	e, err := a.engine(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	if topics, err = e.topics(topics); err != nil {
		return err
	}
	if e.batchOn, err = on.engine(&e.session.project.Config); err != nil {
		return err
	}
	out := struct {
		Topics []*batch.Report `json:"topics"`
	}{Topics: []*batch.Report{}}
	for _, name := range topics {
		r, err := e.cycle(a, name).Cycle(ctx)
		if err != nil {
			return err
		}
		out.Topics = append(out.Topics, r)
		for _, f := range r.Failed {
			a.note("%s: %s", name, f.Error())
		}
		if !a.json {
			fmt.Fprintf(a.stdout, "%s: %s records and %s into manifest %d in %.1f s\n", name, thousands(r.Records), count(int(r.Rejects), "reject"), r.Manifest, r.Seconds)
			if r.Rebuilt > 0 {
				fmt.Fprintf(a.stdout, "%s: %s made for what was committed before\n", name, count(r.Rebuilt, "partial"))
			}
		}
	}
	if a.json {
		return a.printJSON(out)
	}
	return nil
}

// cycle is the batch layer's input for a topic.
func (e *engine) cycle(a *app, topic string) *batch.Input {
	return &batch.Input{Log: e.log, Store: e.store, Topic: e.session.project.Topics[topic], Views: e.merged(topic), References: e.catalog.References,
		Memory: e.session.project.Config.Memory, Engine: e.batchOn, Scratch: e.scratch, Logger: a.logger()}
}
