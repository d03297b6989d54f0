package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/batch/jobs"
	"github.com/millrace/millrace/schemas"
)

type jobsBackfillOptions struct {
	from, to     string
	again, fresh bool
}

func newJobsBackfill(a *app) *cobra.Command {
	o := &jobsBackfillOptions{}
	cmd := &cobra.Command{
		Use:   "backfill NAME",
		Short: "Run a job for every interval that ends in a span of time, in order",
		Long: `backfill runs the job for every time it was due after --from and not after --to, in order. Intervals that are done stay as
they are, so a backfill that was cut short goes on where it stopped. --again runs them too, over the records that they
covered before: for a changed SELECT, or files that are gone. --fresh runs them over all there is now: for records that
came late. An interval that fails does not stop the next.`,
		Example: `  millrace jobs backfill weekly --from 2001-01-01 --to 2001-07-01
  millrace jobs backfill weekly --from 2001-01-01 --to 2001-07-01 --fresh`,
		Args:              cobra.ExactArgs(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return runJobsBackfill(cmd.Context(), a, o, args[0]) },
		ValidArgsFunction: a.complete(jobNames, 1, false),
	}
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "", "run what was due after this time; a time without an offset is in the job's time zone")
	f.StringVar(&o.to, "to", "", "and not after this one; now if not given")
	f.BoolVar(&o.again, "again", false, "run intervals that are done once more, over what they covered")
	f.BoolVar(&o.fresh, "fresh", false, "run intervals that are done once more, over all there is now")
	return cmd
}

func runJobsBackfill(ctx context.Context, a *app, o *jobsBackfillOptions, name string) error {
	if o.from == "" {
		return &schemas.Problem{Kind: schemas.Usage, Message: "--from is missing", Hint: "say from when on, like --from 2001-01-01"}
	}
	w, err := a.openJob(ctx, name)
	if err != nil {
		return err
	}
	defer w.close()
	from, err := parseMoment("--from", o.from, w.job.Location())
	if err != nil {
		return err
	}
	now := time.Now()
	to := now
	if o.to != "" {
		if to, err = parseMoment("--to", o.to, w.job.Location()); err != nil {
			return err
		}
		if to.After(now) {
			to = now // what is not over yet cannot be run
		}
	}
	if !from.Before(to) {
		return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("--from %s is not before --to", o.from), Hint: "give an earlier --from; --to is now if not given"}
	}
	ask := jobs.Ask{By: jobs.ByBackfill, Fresh: o.fresh}
	if !o.again && !o.fresh {
		ask.Skip = []jobs.State{jobs.Done}
	}
	for due := w.job.Next(from); !due.IsZero() && !due.After(to) && !w.stopped(); due = w.job.Next(due) {
		w.run(ctx, due, ask)
	}
	ran := len(w.out.Runs)
	switch {
	case ran+w.out.Skipped == 0 && w.err == nil:
		a.note("job %s was not due in that time", name)
	case w.out.Skipped > 0:
		a.note("%s done before; --again or --fresh runs them too", count(w.out.Skipped, "interval"))
	}
	if w.failed > 0 && !w.stopped() {
		w.err = &schemas.Problem{Message: fmt.Sprintf("%d of %s failed, the first", w.failed, count(ran, "run")), Err: w.err, Hint: "the same command runs them again"}
	}
	return w.end()
}
