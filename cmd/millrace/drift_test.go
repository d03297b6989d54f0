package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// A count that is wrong in a partial, with a checksum that is right, is found by `up`: the log says so, `status` ends with 1, a
// metric stands above 0 and a report lies in the store, until `rebuild` has made the partial anew.
func TestDriftWatch(t *testing.T) {
	dir := t.TempDir()
	writeInto(t, dir, "millrace.yaml", "batch: {every: 24h}\nlisten: 127.0.0.1:0\ndrift: 100%\n")
	writeInto(t, dir, "topics/events.yaml", "partitions: 1\nfields: {k: VARCHAR NOT NULL}\n")
	writeInto(t, dir, "views/v.sql", "SELECT k, count(*) AS n FROM events GROUP BY k\n")
	millrace := func(in string, args ...string) (int, string) {
		var out, errs strings.Builder
		code := run(t.Context(), append([]string{"-C", dir}, args...), strings.NewReader(in), &out, &errs)
		return code, out.String() + errs.String()
	}
	must := func(in string, args ...string) {
		t.Helper()
		if code, text := millrace(in, args...); code != 0 {
			t.Fatalf("%s: exit code %d\n%s", strings.Join(args, " "), code, text)
		}
	}
	must("{\"k\":\"a\"}\n{\"k\":\"b\"}\n{\"k\":\"b\"}\n", "ingest", "events", "-")
	must("", "batch")
	falsified(t, filepath.Join(dir, "data"))
	must("", "fsck")

	said, err := os.Create(filepath.Join(t.TempDir(), "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int)
	go func() { ended <- run(ctx, []string{"-C", dir, "up"}, strings.NewReader(""), said, said) }()
	until := func(f func() bool) {
		t.Helper()
		for !f() {
			select {
			case code := <-ended:
				t.Fatalf("up ended with %d", code)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	var text string
	status := func(want int) func() bool {
		return func() bool {
			var code int
			code, text = millrace("", "status")
			return code == want
		}
	}
	until(status(1))
	for _, want := range []string{"view v over events[0]@[0,3): a partial differs from its records in 1 of 2 rows", `first at {"k":"b"}: it has {"k":"b","n":3}, and should have {"k":"b","n":2} (run `} {
		if !strings.Contains(text, want) {
			t.Errorf("status says\n%s\nwithout %s", text, want)
		}
	}
	if code, text := millrace("", "status", "--json"); code != 1 || !strings.Contains(text, `"drift":[{"topic":"events","view":"v",`) || strings.Count(text, "\n") != 1 {
		t.Errorf("exit code %d:\n%s", code, text)
	}
	var up upFile
	if text, err := os.ReadFile(filepath.Join(dir, ".millrace/up.json")); err != nil || json.Unmarshal(text, &up) != nil {
		t.Fatal(string(text), err)
	}
	metric := func(line string) func() bool {
		return func() bool {
			r, err := http.Get(up.HTTP + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			text, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(strings.Split(string(text), "\n"), func(l string) bool { return strings.HasPrefix(l, line) })
		}
	}
	until(metric(`millrace_drift_ranges{topic="events",view="v"} 1`))
	until(metric(`millrace_drift_samples_total{result="differs",topic="events",view="v"} `))
	reports, err := filepath.Glob(filepath.Join(dir, "data/topics/events/*/drift/v-*/0/*.json"))
	if err != nil || len(reports) != 1 {
		t.Errorf("reports: %v, %v", reports, err)
	}
	if code, text := millrace("", "fsck"); code != 0 || strings.Contains(text, "no manifest names") {
		t.Errorf("fsck takes the report for something else: exit code %d\n%s", code, text)
	}

	must("", "rebuild", "v")
	until(status(0))
	until(metric(`millrace_drift_ranges{topic="events",view="v"} 0`))
	until(metric(`millrace_drift_samples_total{result="agrees",topic="events",view="v"} `))
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("up ended with %d", code)
	}
	words, err := os.ReadFile(said.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"level=ERROR", "view v over events[0]@[0,3)", "millrace rebuild v", "agrees with its records again"} {
		if !strings.Contains(string(words), want) {
			t.Errorf("up said\n%s\nwithout %s", words, want)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, ".millrace/scratch/*"))
	if err != nil || len(left) > 0 {
		t.Errorf("scratch holds %v, %v", left, err)
	}
}

// falsified adds one to the count of b in the only partial of a store, and makes its checksum right.
func falsified(t *testing.T, at string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := store.Open(at)
	must(err)
	files, err := s.List(t.Context(), "topics/events/")
	must(err)
	root, _, _ := strings.Cut(files[0].Name, "data/")
	m, err := dataset.Newest(t.Context(), s, root)
	must(err)
	p := &m.Partials[0]
	path, err := s.Local(t.Context(), root+p.Path)
	must(err)
	session, err := kernel.OpenSession(t.Context(), kernel.Limits{})
	must(err)
	defer session.Close()
	changed := filepath.Join(t.TempDir(), "changed.parquet")
	must(session.Exec(t.Context(), fmt.Sprintf("COPY (SELECT k0, CASE k0 WHEN 'b' THEN s0 + 1 ELSE s0 END AS s0 FROM read_parquet(%s)) TO %s (FORMAT parquet)", schemas.QuoteText(path), schemas.QuoteText(changed))))
	must(s.PutFile(t.Context(), root+p.Path, changed))
	data, err := s.Get(t.Context(), root+p.Path)
	must(err)
	p.Bytes, p.CRC32C = int64(len(data)), manifest.Checksum(data)
	m.Sequence++
	must(dataset.Commit(t.Context(), s, root, m))
}

// The watch waits in proportion to how long it has worked, whatever the share, a second at least; the end ends its wait.
func TestTheWatchKeepsToItsShare(t *testing.T) {
	for _, c := range []struct {
		share  float64
		worked []time.Duration
		waited []time.Duration
	}{
		{0.01, []time.Duration{100 * time.Millisecond, 2 * time.Second, time.Millisecond}, []time.Duration{time.Second, 9900 * time.Millisecond, 198 * time.Second, time.Second}},
		{0.5, []time.Duration{3 * time.Second}, []time.Duration{time.Second, 3 * time.Second}},
		{1, []time.Duration{time.Hour}, []time.Duration{time.Second, time.Second}},
	} {
		ctx, stop := context.WithCancel(t.Context())
		now, did := time.Unix(0, 0), 0
		var waited []time.Duration
		pace(ctx, c.share, func() time.Time { return now }, func(_ context.Context, d time.Duration) {
			if waited = append(waited, d.Round(time.Microsecond)); len(waited) == len(c.waited) {
				stop()
			}
			now = now.Add(d)
		}, func() {
			now = now.Add(c.worked[did])
			did++
		})
		if !slices.Equal(waited, c.waited) || did != len(c.worked) {
			t.Errorf("at %v it worked %v and waited %v, want %v", c.share, c.worked, waited, c.waited)
		}
	}
}
