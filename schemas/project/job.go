package project

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Job is one file of jobs/: a query that runs on a schedule and writes a file.
type Job struct {
	Name     string // the file's name without .yaml
	File     string // relative to the project, for messages
	Schedule string // a cron expression of five fields, or @daily and the like
	Timezone string // an IANA name; the schedule and the dates in the output's name are in it
	SQL      string
	Output   string // relative to the project or absolute, with {{...}} in it; OutputPath fills them in
	Retries  int
	Timeout  time.Duration // of one attempt; 0: none
	CatchUp  bool          // runs missed while nothing ran are made up, in order, once each

	schedule cron.Schedule
	location *time.Location
	sqlAt    [2]int // line and column of the SQL's first character
}

// placeholders are what an output may hold between {{ and }}; the values are a run's.
var placeholders = map[string]func(name string, at, from, to time.Time) string{
	"name": func(name string, _, _, _ time.Time) string { return name },
	"date": func(_ string, at, _, _ time.Time) string { return at.Format(time.DateOnly) },
	"time": func(_ string, at, _, _ time.Time) string { return at.Format("150405") },
	"from": func(_ string, _, from, _ time.Time) string { return from.Format(time.DateOnly) },
	"to":   func(_ string, _, _, to time.Time) string { return to.Format(time.DateOnly) },
	"utc":  func(_ string, at, _, _ time.Time) string { return at.UTC().Format("20060102T150405Z") },
}

// Outputs are the endings a job's output may have: they decide the format.
var Outputs = []string{".parquet", ".csv", ".ndjson", ".json", ".md"}

var placeholder = regexp.MustCompile(`\{\{\s*([^{}]*?)\s*\}\}`)

// Place is the line and column in the job's file of a place in its SQL.
func (j *Job) Place(line, column int) (int, int) {
	if line == 0 {
		return j.sqlAt[0], j.sqlAt[1]
	}
	return j.sqlAt[0] + line - 1, j.sqlAt[1] + column - 1
}

// OutputPath is the file of the run that is due at a time and covers [from, to), in the project's folder unless the
// output is absolute.
func (j *Job) OutputPath(dir string, at, from, to time.Time) string {
	at, from, to = at.In(j.location), from.In(j.location), to.In(j.location)
	path := placeholder.ReplaceAllStringFunc(j.Output, func(m string) string {
		return placeholders[placeholder.FindStringSubmatch(m)[1]](j.Name, at, from, to)
	})
	return within(dir, path)
}

// parseJob reads a file of jobs/.
func (f *form) parseJob(name string, text []byte) *Job {
	j := &Job{Name: name, File: f.file, Timezone: "UTC"}
	s := f.parse(text, "schedule", "timezone", "sql", "output", "retries", "timeout", "catch_up")
	s.text("schedule", &j.Schedule)
	s.text("timezone", &j.Timezone)
	s.text("sql", &j.SQL)
	j.sqlAt = textPlace(s.values["sql"])
	s.text("output", &j.Output)
	s.whole("retries", &j.Retries)
	s.duration("timeout", &j.Timeout)
	s.boolean("catch_up", &j.CatchUp)
	for _, required := range []string{"schedule", "sql", "output"} {
		if s.values[required] == nil {
			f.report(s.at, "", "%s is missing", required)
		}
	}

	var err error
	if j.location, err = time.LoadLocation(j.Timezone); err != nil || j.Timezone == "" || j.Timezone == "Local" {
		s.report("timezone", "use a name such as Europe/Paris or UTC", "unknown time zone %q", j.Timezone)
		j.location = time.UTC
	}
	if s.values["schedule"] != nil {
		s.schedule(j)
	}
	if s.values["sql"] != nil && strings.TrimSpace(j.SQL) == "" {
		s.report("sql", "", "want a SELECT")
	}
	if s.values["output"] != nil {
		s.output(j)
	}
	return j
}

func (s section) schedule(j *Job) {
	if strings.HasPrefix(j.Schedule, "TZ=") || strings.HasPrefix(j.Schedule, "CRON_TZ=") {
		s.report("schedule", "use the key timezone", "a time zone does not belong in the expression")
		return
	}
	if strings.HasPrefix(j.Schedule, "@every") {
		s.report("schedule", `use an expression such as "*/15 * * * *"`, "@every has no fixed times, so its runs would have no fixed intervals")
		return
	}
	parsed, err := cron.ParseStandard(j.Schedule)
	if err != nil {
		s.report("schedule", `use five fields, minute hour day month weekday: "0 6 * * 1" is Mondays at six`, "%v", err)
		return
	}
	if parsed.Next(time.Unix(0, 0)).IsZero() {
		s.report("schedule", "", "%q is never due", j.Schedule)
	}
	j.schedule = parsed
}

func (s section) output(j *Job) {
	if !slices.Contains(Outputs, filepath.Ext(j.Output)) {
		s.report("output", "end it in one of "+strings.Join(Outputs, ", "), "%q does not say the format", j.Output)
	}
	names := []string{"date", "time", "from", "to", "utc", "name"}
	for _, m := range placeholder.FindAllStringSubmatch(j.Output, -1) {
		if placeholders[m[1]] == nil {
			s.report("output", nearest(m[1], names), "unknown placeholder %q", m[0])
		}
	}
}
