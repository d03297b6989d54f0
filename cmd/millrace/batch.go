package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

func newBatch(a *app) *cobra.Command {
	o := &batchOptions{}
	cmd := &cobra.Command{
		Use:   "batch [TOPIC...]",
		Short: "Run one batch cycle: what is new in the log becomes Parquet and partials",
		Long: `batch reads what no cycle has read yet, writes it as Parquet with the partials of every merged view, and commits one
manifest a topic; then it makes the partials that new and changed views lack over what was committed before. Killed anywhere,
the next cycle just works; of two at once one wins and the other says so. With --runner flink or spark the ranges are built there.

Where Kafka has dropped records before a cycle had read them, the cycle exits with 1 and names them. --accept-loss goes on
without them: the manifest, and every certificate from then on, names their offsets as lost.

With --every or --follow it is the batch layer as a process of its own beside a Kafka cluster, until a signal: a cycle at
once and then each time, what views lack over history between them, and the project's jobs at their times. Two of them are one too many and do no harm: a cycle that
the other one was faster with is noted, and a job runs in one of them. With TOPICs it runs their cycles, and no jobs.`,
		Example: `  millrace batch
  millrace batch flights --json
  millrace batch --runner spark --endpoint 127.0.0.1:8099
  millrace batch flights --accept-loss
  millrace batch --every 1m
  millrace batch --follow            # each batch.every of millrace.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if follow := o.follow || cmd.Flags().Changed("every"); follow && o.loss {
				return &schemas.Problem{Kind: schemas.Usage, Message: "--accept-loss is a decision about what is lost now; --every and --follow go on",
					Hint: "run `millrace batch TOPIC --accept-loss` once; what runs goes on at its next time"}
			} else if follow {
				return runBatchFollow(cmd, a, o, args)
			}
			return runBatch(cmd.Context(), a, o, args)
		},
		ValidArgsFunction: a.complete((*project.Project).TopicNames, 0, false),
	}
	cmd.Flags().DurationVar(&o.every, "every", 0, "go on until a signal: a cycle each time, and jobs at their times")
	cmd.Flags().BoolVar(&o.follow, "follow", false, "the same, with batch.every of millrace.yaml")
	cmd.Flags().BoolVar(&o.loss, "accept-loss", false, "go on without the records that Kafka dropped before a cycle had read them")
	o.engine.add(cmd)
	return cmd
}

type batchOptions struct {
	every  time.Duration
	follow bool
	loss   bool
	engine engineFlags
}

func runBatch(ctx context.Context, a *app, o *batchOptions, topics []string) error {
	e, err := a.engine(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	if topics, err = e.topics(topics); err != nil {
		return err
	}
	if e.batchOn, err = o.engine.engine(&e.session.project.Config); err != nil {
		return err
	}
	out := struct {
		Topics []*batch.Report `json:"topics"`
	}{Topics: []*batch.Report{}}
	for _, name := range topics {
		in := e.cycle(a, name)
		in.AcceptLoss = o.loss
		r, err := in.Cycle(ctx)
		if err != nil {
			return err
		}
		made, err := a.catchUp(ctx, e.session.project, in, false)
		if err != nil {
			return err
		}
		addRebuilt(r, made)
		if err := a.collect(ctx, in, r); err != nil {
			return err
		}
		out.Topics = append(out.Topics, r)
		for _, f := range r.Failed {
			a.note("%s: %s", name, f.Error())
		}
		if !a.json {
			a.printCycle(name, r)
		}
	}
	if a.json {
		return a.printJSON(out)
	}
	return nil
}

func (a *app) printCycle(topic string, r *batch.Report) {
	fmt.Fprintf(a.stdout, "%s: %s records and %s into manifest %d in %.1f s\n", topic, thousands(r.Records), count(int(r.Rejects), "reject"), r.Manifest, r.Seconds)
	printLost(a.stdout, topic, r.Lost)
	if r.Rebuilt > 0 {
		fmt.Fprintf(a.stdout, "%s: %s made for what was committed before\n", topic, count(r.Rebuilt, "partial"))
	}
	if r.Folded > 0 {
		fmt.Fprintf(a.stdout, "%s: %s folded of smaller ones\n", topic, count(r.Folded, "partial"))
	}
}

// printLost names ranges of a topic that were given up.
func printLost(w io.Writer, topic string, lost []schemas.Range) {
	for _, r := range lost {
		fmt.Fprintf(w, "%s[%d]: offsets [%d, %d) are lost: Kafka dropped them before a cycle had read them\n", topic, r.Partition, r.From, r.To)
	}
}

// cycle is the batch layer's input for a topic.
func (e *engine) cycle(a *app, topic string) *batch.Input {
	return &batch.Input{Log: e.log, Store: e.store, Topic: e.session.project.Topics[topic], Views: e.merged(topic), References: e.catalog.References, History: e.catalog.history,
		Memory: e.session.project.Config.Memory, Engine: e.batchOn, Keep: e.session.project.Config.Batch.Keep, Scratch: e.workScratch(), Logger: a.logger()}
}
