package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/batch/jobs"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

type jobsRunOptions struct {
	at    string
	fresh bool
}

func newJobsRun(a *app) *cobra.Command {
	o := &jobsRunOptions{}
	cmd := &cobra.Command{
		Use:   "run NAME",
		Short: "Run a job for its last interval, or for the one that was due at a time",
		Long: `run answers the job's SELECT for the interval that was due last, or for the one that was due last at --at, and writes its
output whole or not at all. Without --at it first makes up, in order, what the job's catch_up says was missed, and runs
that were cut short; so cron needs nothing but "jobs run".

The same interval run again gives the same file: it is answered over the records that its first run covered. With --fresh
it is answered over all there is now.`,
		Example: `  millrace jobs run weekly
  millrace jobs run weekly --at 2001-02-05
  millrace jobs run weekly --at 2001-02-05T06:00 --fresh    # with the records that came late`,
		Args:              cobra.ExactArgs(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return runJobsRun(cmd.Context(), a, o, args[0]) },
		ValidArgsFunction: a.complete(jobNames, 1, false),
	}
	cmd.Flags().StringVar(&o.at, "at", "", "run the interval that was due last at this time; a time without an offset is in the job's time zone")
	cmd.Flags().BoolVar(&o.fresh, "fresh", false, "answer over all there is now, not over what an earlier run of the interval covered")
	return cmd
}

// jobsRun is what `jobs run --json` and `jobs backfill --json` print.
type jobsRun struct {
	Runs    []*jobs.Run `json:"runs"`
	Skipped int         `json:"skipped"` // intervals that were done already
	Error   *errorJSON  `json:"error,omitempty"`
}

func runJobsRun(ctx context.Context, a *app, o *jobsRunOptions, name string) error {
	w, err := a.openJob(ctx, name)
	if err != nil {
		return err
	}
	defer w.close()
	now := time.Now()
	at := now
	if o.at != "" {
		if at, err = parseMoment("--at", o.at, w.job.Location()); err != nil {
			return err
		}
		if at.After(now) {
			return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("--at %s lies ahead", o.at), Hint: "an interval can be run once it is over"}
		}
	}
	due := jobs.LastDue(w.job, at)
	if due.IsZero() {
		return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("job %s was never due before %s", name, at.Format(time.DateOnly)), Hint: "give a later --at"}
	}
	if o.at == "" {
		w.makeUp(ctx, due)
	}
	w.run(ctx, due, jobs.Ask{By: jobs.ByHand, Fresh: o.fresh})
	return w.end()
}

// jobWork runs intervals of one job for a verb, says how each went, and keeps the first error.
type jobWork struct {
	a      *app
	engine *engine
	runner *jobs.Runner
	job    *project.Job
	out    jobsRun
	err    error
	failed int
}

// openJob opens the project and the engine for a job. The caller closes it.
func (a *app) openJob(ctx context.Context, name string) (*jobWork, error) {
	p, found := project.Open(a.dir)
	if p == nil {
		return nil, problems(found)
	}
	j, err := job(p, name)
	if err != nil {
		return nil, err
	}
	e, err := a.engine(ctx)
	if err != nil {
		return nil, err
	}
	return &jobWork{a: a, engine: e, job: j, runner: a.runner(p, jobAnswerer{engine: e, open: e.sameProject}), out: jobsRun{Runs: []*jobs.Run{}}}, nil
}

func (w *jobWork) close() { w.engine.Close() }

// makeUp runs what is pending before a due time.
func (w *jobWork) makeUp(ctx context.Context, before time.Time) {
	for !w.stopped() {
		due, ok, err := w.runner.Pending(w.job)
		if err != nil {
			w.err = err
			return
		}
		if !ok || !due.Before(before) {
			return
		}
		w.run(ctx, due, jobs.Ask{By: jobs.ByHand, Skip: []jobs.State{jobs.Done, jobs.Failed}})
	}
}

// run runs one interval, unless an error before it stops all work.
func (w *jobWork) run(ctx context.Context, due time.Time, ask jobs.Ask) {
	if w.stopped() {
		return
	}
	run, ran, err := w.runner.Run(ctx, w.job, due, ask)
	if err == nil && !ran {
		w.out.Skipped++
		return
	}
	if run != nil {
		w.out.Runs = append(w.out.Runs, run)
	}
	if err != nil {
		if w.failed++; w.err == nil || w.failed == 1 {
			w.err = err
		}
		if run != nil && run.Pinned && ctx.Err() == nil {
			w.a.note("the run was over what an earlier one covered; --fresh takes what is there now")
		}
	}
	if run != nil && !w.a.json && !w.a.quiet {
		fmt.Fprintln(w.a.stdout, w.line(run))
	}
}

// stopped says whether an error is such that every further run would meet it. One run that fails does not stop those of
// other intervals.
func (w *jobWork) stopped() bool {
	return w.err != nil && (schemas.KindOf(w.err) != schemas.Failed || errors.Is(w.err, context.Canceled) || errors.Is(w.err, jobs.ErrBusy))
}

// end prints the --json object and gives the verb's error.
func (w *jobWork) end() error {
	if !w.a.json {
		return w.err
	}
	if w.err != nil {
		object := errorObject(w.err, exitCode(w.err))
		w.out.Error = &object
	}
	if err := w.a.printJSON(w.out); err != nil || w.err == nil {
		return err
	}
	fmt.Fprintln(w.a.stderr, "millrace:", w.err)
	return said{w.err}
}

func (w *jobWork) line(r *jobs.Run) string {
	line := fmt.Sprintf("%s due %s: %s", r.Job, r.Due.In(w.job.Location()).Format(dueLayout), r.State)
	if r.State == jobs.Done {
		line += fmt.Sprintf(", %s in %s", size(r.Bytes), short(w.engine.session.project.Dir, r.Output))
	}
	return line
}

// dueLayout is how people read due times.
const dueLayout = "2006-01-02 15:04 -07:00"

func size(bytes int64) string { return thousands(bytes) + " bytes" }

// short is a path relative to the project if it lies in it.
func short(dir, path string) string {
	if rel, err := filepath.Rel(dir, path); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return path
}
