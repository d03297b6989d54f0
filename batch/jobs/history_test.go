package jobs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/schemas"
)

// However a write was cut short, what was there before it is read, and the next run is written after it.
func TestATornTailIsPassedOverAndCutOff(t *testing.T) {
	dir := t.TempDir()
	r, job := testRunner(dir, &ledger{}, fixed("2026-01-09 12:00")), testJob(t, dir, daily)
	due := at("2026-01-08 02:30")
	path := filepath.Join(r.folder("daily"), day(due))
	if _, _, err := r.Run(t.Context(), job, due, Ask{By: ByHand}); err != nil {
		t.Fatal(err)
	}
	whole := read(t, path)
	end := strings.LastIndexByte(whole[:len(whole)-1], '\n') + 1
	for cut := end; cut <= len(whole); cut++ {
		for _, tail := range []string{"", "\x00\x00\x00", "0000\n0000 \n"} {
			write(t, path, whole[:cut]+tail)
			want := "01-08T02:30 lost"
			if cut == len(whole) {
				want = "01-08T02:30 done"
			}
			if got := states(t, r); got != want {
				t.Fatalf("cut at %d, tail %q: %s, want %s", cut, tail, got, want)
			}
		}
		if _, _, err := r.Run(t.Context(), job, due, Ask{By: ByHand}); err != nil {
			t.Fatal(err)
		}
		if got := states(t, r); !strings.HasPrefix(got, "01-08T02:30 done, 01-08T02:30 ") {
			t.Fatalf("cut at %d: %s", cut, got)
		}
	}
}

// A bad line before a good one is damage: it is not passed over in silence.
func TestDamageIsAnError(t *testing.T) {
	dir := t.TempDir()
	r, job := testRunner(dir, &ledger{}, fixed("2026-01-09 12:00")), testJob(t, dir, daily)
	due := at("2026-01-08 02:30")
	path := filepath.Join(r.folder("daily"), day(due))
	if _, _, err := r.Run(t.Context(), job, due, Ask{By: ByHand}); err != nil {
		t.Fatal(err)
	}
	text := []byte(read(t, path))
	text[20] ^= 1
	write(t, path, string(text))
	_, err := r.History("daily", 0)
	if schemas.KindOf(err) != schemas.Environment || !strings.Contains(err.Error(), "line 1: checksum") {
		t.Error(err)
	}
	if _, ran, err := r.Run(t.Context(), job, due, Ask{By: ByHand}); err == nil || ran {
		t.Error("ran on a damaged history", err)
	}
}

func TestHistoryLimit(t *testing.T) {
	dir := t.TempDir()
	r, job := testRunner(dir, &ledger{}, fixed("2026-01-09 12:00")), testJob(t, dir, "schedule: 0 */8 * * *\noutput: out/{{utc}}.md")
	for due := at("2026-01-08 00:00"); !due.After(at("2026-01-09 08:00")); due = job.Next(due) {
		if _, _, err := r.Run(t.Context(), job, due, Ask{By: ByBackfill}); err != nil {
			t.Fatal(err)
		}
	}
	runs, err := r.History("daily", 3)
	if err != nil || len(runs) != 3 || runs[0].Due != at("2026-01-09 08:00") || runs[2].Due != at("2026-01-08 16:00") {
		t.Errorf("%v %+v", err, runs)
	}
	if none, err := r.History("nothing", 0); len(none) != 0 || err != nil {
		t.Error(none, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "out", "20260108T160000Z.md")); errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func FuzzHistory(f *testing.F) {
	line, err := event{Event: startEvent}.line()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add([]byte("117f5127 {\"event\":\"end\",\"at\":\"2026-01-05T06:00:02Z\",\"outcome\":\"done\"}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		events, good, err := parse(text)
		if err != nil {
			return
		}
		again, whole, err := parse(text[:good])
		if err != nil || whole != good || len(again) != len(events) {
			t.Errorf("the good part of %q reads otherwise: %v", text, err)
		}
		fold("j", events)
	})
}

// The package comment's example is a line of a history.
func TestExampleLine(t *testing.T) {
	e, err := parseLine([]byte(`117f5127 {"event":"end","at":"2026-01-05T06:00:02Z","outcome":"done"}`))
	if err != nil || e.Outcome != Done {
		t.Error(e, err)
	}
}
