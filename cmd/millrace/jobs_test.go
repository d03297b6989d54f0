package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/batch/jobs"
	"github.com/millrace/millrace/schemas/project"
)

// `up` makes up what was missed before it started: each run once and in order, one that fails said on stderr and in the
// history.
func TestUpMakesUpMissedRuns(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("millrace.yaml", "listen: 127.0.0.1:0\n")
	put("topics/events.yaml", "partitions: 1\nfields: {k: VARCHAR}\n")
	put("events.ndjson", "{\"k\":\"a\"}\n{\"k\":\"b\"}\n")
	put("jobs/yearly.yaml", "schedule: 0 0 1 1 *\nsql: SELECT count(*) AS n, $to AS until FROM events\noutput: out/{{date}}.csv\ncatch_up: true\n")
	// It is due after the other, and its output's name is a folder's.
	put("jobs/zfails.yaml", "schedule: 0 1 1 1 *\nsql: SELECT 1\noutput: folder.csv\ncatch_up: true\n")
	put("folder.csv/file", "")
	missed := 3
	through := time.Date(time.Now().UTC().Year()-missed, 6, 1, 0, 0, 0, 0, time.UTC)
	for name, schedule := range map[string]string{"yearly": "0 0 1 1 *", "zfails": "0 1 1 1 *"} {
		mark, err := json.Marshal(map[string]any{"schedule": schedule, "timezone": "UTC", "catch_up": true, "through": through})
		if err != nil {
			t.Fatal(err)
		}
		put(".millrace/jobs/"+name+"/mark.json", string(mark))
	}
	var sink strings.Builder
	if code := run(t.Context(), []string{"-C", dir, "-q", "ingest", "events", filepath.Join(dir, "events.ndjson")}, nil, &sink, &sink); code != 0 {
		t.Fatal(sink.String())
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines, stderr := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"-C", dir, "up"}, nil, io.Discard, stderr)
		stderr.Close()
	}()
	failures := 0
	for s := bufio.NewScanner(lines); s.Scan(); {
		if strings.Contains(s.Text(), "a job failed") && strings.Contains(s.Text(), "job=zfails") {
			if failures++; failures == missed {
				cancel()
			}
		}
	}
	if code := <-ended; code != 0 || failures != missed {
		t.Fatalf("exit code %d after %d failures", code, failures)
	}

	p, found := project.Open(dir)
	if len(found) > 0 {
		t.Fatal(found)
	}
	r := (&app{stderr: io.Discard}).runner(p, nil)
	for name, want := range map[string]jobs.State{"yearly": jobs.Done, "zfails": jobs.Failed} {
		runs, err := r.History(name, 0)
		if err != nil || len(runs) != missed {
			t.Fatalf("%s: %v, %d runs", name, err, len(runs))
		}
		for i, run := range runs {
			if run.State != want || run.By != jobs.BySchedule || run.Due.Year() != through.Year()+missed-i || i > 0 && run.Started.After(runs[i-1].Started) {
				t.Errorf("%s, run %d: %+v", name, i, run)
			}
		}
	}
	for year := through.Year() + 1; year <= through.Year()+missed; year++ {
		text, err := os.ReadFile(filepath.Join(dir, "out", fmt.Sprintf("%d-01-01.csv", year)))
		if want := fmt.Sprintf("n,until\n2,%d-01-01 00:00:00+00\n", year); err != nil || string(text) != want {
			t.Errorf("%v %q, want %q", err, text, want)
		}
	}
}
