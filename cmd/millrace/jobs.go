package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/batch/jobs"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

func newJobs(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "Scheduled queries: list and run them, see their history, hand them to cron",
		Long: `A job is a file of jobs/: a SELECT that runs on a schedule and writes a file. "millrace up" runs the jobs at their times;
"jobs run" runs one now, "jobs backfill" runs it for the past, and "jobs crontab" hands them to the system's cron.`,
		Example: `  millrace jobs list
  millrace jobs run weekly
  millrace jobs history weekly`,
	}
	return group(cmd, newJobsList(a), newJobsRun(a), newJobsHistory(a), newJobsBackfill(a), newJobsCrontab(a))
}

// jobNames lists the jobs of a project.
func jobNames(p *project.Project) []string {
	names := make([]string, len(p.Jobs))
	for i, j := range p.Jobs {
		names[i] = j.Name
	}
	return names
}

// job is the project's job of that name. Errors: a Problem that names the nearest one.
func job(p *project.Project, name string) (*project.Job, error) {
	if j := p.Job(name); j != nil {
		return j, nil
	}
	return nil, noSuch("job", name, jobNames(p), "jobs/"+name+".yaml would declare it")
}

// runner runs jobs of the engine's project, or only tells their history if there is no engine.
func (a *app) runner(p *project.Project, answerer jobs.Answerer) *jobs.Runner {
	return &jobs.Runner{Dir: jobsFolder(p), Project: p.Dir, Answerer: answerer, Now: time.Now, Log: a.logger()}
}

// jobsFolder is where the history of jobs lies: beside what all processes of a cluster share, so that a job that several
// are to run is run by one of them. An object store has no locks: there it lies on this machine.
func jobsFolder(p *project.Project) string {
	if p.Config.Embedded() || store.IsBucket(p.Config.Store) {
		return p.Private("jobs")
	}
	return filepath.Join(strings.TrimPrefix(p.Config.Store, "file://"), "jobs")
}

// moments are how a time may be written in a flag; without an offset it is in the job's time zone.
var moments = []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly}

// parseMoment reads a flag's time.
func parseMoment(flag, text string, zone *time.Location) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	for _, layout := range moments {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return t, nil
		}
	}
	return time.Time{}, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("%s %q is not a time", flag, text),
		Hint: "write 2026-01-31, 2026-01-31T06:00 in the job's time zone, or 2026-01-31T06:00:00Z"}
}

func newJobsCrontab(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "crontab",
		Short: "Print the lines that let the system's cron run the jobs",
		Long: `crontab prints one line a job for the system's cron, for machines on which no "millrace up" runs.
Each line runs "millrace jobs run NAME". A job's time zone becomes a CRON_TZ line, which cronie and most newer crons know.`,
		Example: `  millrace jobs crontab
  (crontab -l; millrace -C /srv/flights jobs crontab) | crontab -`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runJobsCrontab(a) },
	}
}

// cronLine is one job as `jobs crontab --json` prints it.
type cronLine struct {
	Job      string `json:"job"`
	Timezone string `json:"timezone"`
	Line     string `json:"line"`
}

func runJobsCrontab(a *app) error {
	p, found := project.Open(a.dir)
	if len(found) > 0 {
		return problems(found)
	}
	program, err := os.Executable()
	if err != nil {
		return &schemas.Problem{Kind: schemas.Environment, Message: "find the program's own path", Err: err}
	}
	lines := crontab(p, program)
	if a.json {
		return a.printJSON(map[string]any{"lines": lines})
	}
	timezone := ""
	for _, l := range lines {
		if l.Timezone != timezone {
			fmt.Fprintf(a.stdout, "CRON_TZ=%s\n", l.Timezone)
			timezone = l.Timezone
		}
		fmt.Fprintln(a.stdout, l.Line)
	}
	return nil
}

func crontab(p *project.Project, program string) []cronLine {
	lines := []cronLine{}
	for _, j := range p.Jobs {
		command := fmt.Sprintf("%s -C %s -q jobs run %s", cronWord(program), cronWord(p.Dir), j.Name)
		lines = append(lines, cronLine{Job: j.Name, Timezone: j.Timezone, Line: j.Schedule + " " + command})
	}
	return lines
}

// cronWord quotes a path for the shell that cron starts; cron itself takes an unescaped % for the end of the command.
func cronWord(path string) string {
	path = filepath.Clean(path)
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./") != "" || strconv.Quote(path) != `"`+path+`"` {
		path = "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return strings.ReplaceAll(path, "%", `\%`)
}
