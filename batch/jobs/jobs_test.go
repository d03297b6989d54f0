package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

// ledger is an Answerer over a log of which only the length matters: its answers are the interval and the length, and a
// certificate pins the length.
type ledger struct {
	mu     sync.Mutex
	length int
	asked  []string // the intervals' ends, in the order they were asked for
	before func(ctx context.Context, n int) error
}

func (l *ledger) Answer(ctx context.Context, q Question, w io.Writer) (json.RawMessage, error) {
	l.mu.Lock()
	length := l.length
	l.asked = append(l.asked, strings.TrimSuffix(strings.TrimPrefix(q.Params["to"], "TIMESTAMPTZ '"), ":00+00'"))
	n := len(l.asked)
	l.mu.Unlock()
	if q.AsOf != nil {
		if err := json.Unmarshal(q.AsOf, &length); err != nil {
			return nil, err
		}
	}
	if _, err := fmt.Fprintf(w, "%s %s %s ", q.Format, q.Params["from"], q.Params["to"]); err != nil {
		return nil, err
	}
	if l.before != nil {
		if err := l.before(ctx, n); err != nil {
			return nil, err
		}
	}
	_, err := fmt.Fprintf(w, "%d\n", length)
	return json.RawMessage(fmt.Sprint(length)), err
}

// testJob is a job of a project's folder, as its file says it.
func testJob(t testing.TB, dir, text string) *project.Job {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "jobs"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "millrace.yaml"), "")
	write(t, filepath.Join(dir, "jobs", "daily.yaml"), text+"\nsql: SELECT 1\n")
	p, problems := project.Open(dir)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return p.Job("daily")
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const daily = "schedule: 30 2 * * *\noutput: out/{{date}}.csv"

func testRunner(dir string, a Answerer, now func() time.Time) *Runner {
	return &Runner{Dir: filepath.Join(dir, ".millrace", "jobs"), Project: dir, Answerer: a, Now: now, Log: slog.New(slog.DiscardHandler)}
}

func at(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		panic(err)
	}
	return t
}

func fixed(text string) func() time.Time { return func() time.Time { return at(text) } }

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// files are the names in a folder.
func files(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// states are a job's runs, the newest first.
func states(t testing.TB, r *Runner) string {
	t.Helper()
	runs, err := r.History("daily", 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, run := range runs {
		out = append(out, run.Due.Format("01-02T15:04")+" "+string(run.State))
	}
	return strings.Join(out, ", ")
}

func TestTheSameIntervalTwiceGivesTheSameFile(t *testing.T) {
	dir, log := t.TempDir(), &ledger{length: 5}
	r, job := testRunner(dir, log, fixed("2026-01-09 12:00")), testJob(t, dir, daily)
	due := at("2026-01-08 02:30")
	const interval = "csv TIMESTAMPTZ '2026-01-07 02:30:00+00' TIMESTAMPTZ '2026-01-08 02:30:00+00' "
	for i, c := range []struct {
		length int
		ask    Ask
		ran    bool
		want   string
	}{
		{5, Ask{By: ByHand}, true, interval + "5\n"},
		{9, Ask{By: ByHand}, true, interval + "5\n"},
		{9, Ask{By: ByHand, Skip: []State{Done}}, false, interval + "5\n"},
		{9, Ask{By: ByHand, Fresh: true}, true, interval + "9\n"},
		{12, Ask{By: ByHand}, true, interval + "9\n"},
	} {
		log.length = c.length
		run, ran, err := r.Run(t.Context(), job, due, c.ask)
		if err != nil || ran != c.ran || run.State != Done || run.Bytes != int64(len(c.want)) {
			t.Fatalf("run %d: %v %v %+v", i, err, ran, run)
		}
		if got := read(t, filepath.Join(dir, "out", "2026-01-08.csv")); got != c.want {
			t.Errorf("run %d wrote %q, want %q", i, got, c.want)
		}
	}
	if got := states(t, r); got != strings.TrimSuffix(strings.Repeat("01-08T02:30 done, ", 4), ", ") {
		t.Error(got)
	}
}

func TestAnIntervalOfOneJobIsRunByOneProcessAtATime(t *testing.T) {
	dir, log := t.TempDir(), &ledger{}
	job, due := testJob(t, dir, daily), at("2026-01-08 02:30")
	other := testRunner(dir, &ledger{}, fixed("2026-01-09 12:00"))
	log.before = func(context.Context, int) error {
		if _, _, err := other.Run(t.Context(), job, due, Ask{By: ByHand}); !errors.Is(err, ErrBusy) || schemas.KindOf(err) != schemas.Failed || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
			t.Errorf("a second run: %v", err)
		}
		if got := states(t, other); got != "01-08T02:30 running" {
			t.Error(got)
		}
		return nil
	}
	r := testRunner(dir, log, fixed("2026-01-09 12:00"))
	if _, _, err := r.Run(t.Context(), job, due, Ask{By: ByHand}); err != nil {
		t.Fatal(err)
	}
	if got := states(t, other); got != "01-08T02:30 done" {
		t.Error(got)
	}
}

func TestAnOutputThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	r, job := testRunner(dir, &ledger{}, fixed("2026-01-09 12:00")), testJob(t, dir, daily)
	if err := os.MkdirAll(filepath.Join(dir, "out", "2026-01-08.csv"), 0o755); err != nil { // a folder has its name
		t.Fatal(err)
	}
	run, ran, err := r.Run(t.Context(), job, at("2026-01-08 02:30"), Ask{By: ByHand})
	if schemas.KindOf(err) != schemas.Environment || !ran || run.State != Failed || run.Error == "" {
		t.Errorf("%v %v %+v", err, ran, run)
	}
	if got := files(t, filepath.Join(dir, "out")); got != "2026-01-08.csv" {
		t.Error(got)
	}
}

func TestAnInterruptedRunIsRecordedAndRunAgain(t *testing.T) {
	dir, log := t.TempDir(), &ledger{}
	r, job := testRunner(dir, log, fixed("2026-01-07 12:00")), testJob(t, dir, daily+"\nretries: 5")
	if _, ok, err := r.Pending(job); ok || err != nil {
		t.Fatal("a new job has nothing to make up", err)
	}
	r.Now = fixed("2026-01-08 12:00")
	ctx, cancel := context.WithCancel(t.Context())
	log.before = func(ctx context.Context, _ int) error { cancel(); return ctx.Err() }
	due := at("2026-01-08 02:30")
	run, _, err := r.Run(ctx, job, due, Ask{By: BySchedule})
	if !errors.Is(err, context.Canceled) || run.State != Interrupted || files(t, filepath.Join(dir, "out")) != "" {
		t.Fatalf("%v %+v %s", err, run, files(t, filepath.Join(dir, "out")))
	}
	if got, ok, err := r.Pending(job); !ok || !got.Equal(due) || err != nil {
		t.Fatal(got, ok, err)
	}
	log.before = nil
	if _, _, err := r.Run(t.Context(), job, due, Ask{By: BySchedule, Skip: []State{Done, Failed}}); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := r.Pending(job); ok || err != nil {
		t.Error(ok, err)
	}
	if got := states(t, r); got != "01-08T02:30 done, 01-08T02:30 interrupted" {
		t.Error(got)
	}
}
