package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

func newJobs(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "jobs",
		Short:   "Scheduled queries: list and run them, see their history, hand them to cron",
		Example: `  millrace jobs crontab | crontab -`,
	}
	return group(cmd, newJobsCrontab(a))
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
