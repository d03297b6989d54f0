package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/batch/jobs"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

func newJobsList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "The jobs, when each is due next, and how its last run ended",
		Long: `list shows every job of the project. The last run is that of the newest interval that was run. "lost" is a run whose
process ended without a word: it is run again.`,
		Example: `  millrace jobs list
  millrace jobs list --json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runJobsList(a) },
	}
}

// listedJob is one job as `jobs list --json` prints it.
type listedJob struct {
	Name     string    `json:"name"`
	Schedule string    `json:"schedule"`
	Timezone string    `json:"timezone"`
	CatchUp  bool      `json:"catch_up"`
	Output   string    `json:"output"`
	Next     time.Time `json:"next"`
	Last     *jobs.Run `json:"last"` // null: it has not run yet
}

func runJobsList(a *app) error {
	p, found := project.Open(a.dir)
	if len(found) > 0 {
		return problems(found)
	}
	r := a.runner(p, nil)
	out := []listedJob{}
	now := time.Now()
	for _, j := range p.Jobs {
		l := listedJob{Name: j.Name, Schedule: j.Schedule, Timezone: j.Timezone, CatchUp: j.CatchUp, Output: j.Output, Next: j.Next(now)}
		runs, err := r.History(j.Name, 1)
		if err != nil {
			return err
		}
		if len(runs) > 0 {
			l.Last = runs[0]
		}
		out = append(out, l)
	}
	if a.json {
		return a.printJSON(map[string]any{"jobs": out})
	}
	if len(out) == 0 {
		a.note("there are no jobs; a file of jobs/ makes one")
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "job\tschedule\ttimezone\tnext due\tlast run due\toutcome\t")
	for i, l := range out {
		due, outcome := "-", "not run yet"
		if l.Last != nil {
			due, outcome = l.Last.Due.In(p.Jobs[i].Location()).Format(dueLayout), string(l.Last.State)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t\n", l.Name, l.Schedule, l.Timezone, l.Next.Format(dueLayout), due, outcome)
	}
	return w.Flush()
}

type jobsHistoryOptions struct {
	limit int
}

func newJobsHistory(a *app) *cobra.Command {
	o := &jobsHistoryOptions{}
	cmd := &cobra.Command{
		Use:   "history [NAME]",
		Short: "The runs of a job, or of all jobs: what each covered and how it ended",
		Long: `history shows runs, those of the newest interval first, also of jobs whose files are gone. With --json each has its
certificate, with which "millrace query --as-of" reads what the run read.`,
		Example: `  millrace jobs history
  millrace jobs history weekly --limit 0 --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return runJobsHistory(a, o, args) },
		// a job whose file is gone still has a history
		ValidArgsFunction: a.complete(func(p *project.Project) []string { return a.knownJobs(p) }, 1, false),
	}
	cmd.Flags().IntVar(&o.limit, "limit", 20, "at most so many runs a job; 0 is all")
	return cmd
}

// knownJobs are the project's jobs and those that only have a history.
func (a *app) knownJobs(p *project.Project) []string {
	names := jobNames(p)
	old, err := a.runner(p, nil).Names()
	if err != nil {
		return names
	}
	names = append(names, old...)
	slices.Sort(names)
	return slices.Compact(names)
}

func runJobsHistory(a *app, o *jobsHistoryOptions, args []string) error {
	if o.limit < 0 {
		return &schemas.Problem{Kind: schemas.Usage, Message: "--limit must not be negative", Hint: "0 shows all runs"}
	}
	p, found := project.Open(a.dir)
	if p == nil {
		return problems(found)
	}
	names := a.knownJobs(p)
	if len(args) == 1 {
		if !slices.Contains(names, args[0]) {
			return noSuch("job", args[0], names, "jobs/"+args[0]+".yaml would declare it")
		}
		names = args
	}
	r := a.runner(p, nil)
	runs := []*jobs.Run{}
	for _, name := range names {
		some, err := r.History(name, o.limit)
		if err != nil {
			return err
		}
		runs = append(runs, some...)
	}
	if a.json {
		return a.printJSON(map[string]any{"runs": runs})
	}
	return a.printHistory(p, runs)
}

func (a *app) printHistory(p *project.Project, runs []*jobs.Run) error {
	if len(runs) == 0 {
		a.note("nothing has run yet")
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "job\tdue\toutcome\tby\tattempts\tstarted (UTC)\ttook\toutput or error\t")
	for _, r := range runs {
		zone := time.UTC
		if j := p.Job(r.Job); j != nil {
			zone = j.Location()
		}
		took := "-"
		what, _, _ := strings.Cut(r.Error, "\n") // --json has the rest
		if !r.Ended.IsZero() {
			took = r.Ended.Sub(r.Started).Round(time.Millisecond).String()
		}
		if r.State == jobs.Done {
			what = short(p.Dir, r.Output)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t\n", r.Job, r.Due.In(zone).Format(dueLayout), r.State, r.By, r.Attempts,
			r.Started.Format("2006-01-02 15:04:05"), took, what)
	}
	return w.Flush()
}
