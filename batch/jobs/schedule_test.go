package jobs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

// clock is the bubble's clock, set so that it shows start when the bubble begins.
func clock(start string) func() time.Time {
	shift := time.Until(at(start))
	return func() time.Time { return time.Now().Add(shift).UTC() }
}

// live lets a schedule live for a time.
func live(t *testing.T, r *Runner, load func(context.Context) ([]*project.Job, error), span time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), span)
	defer cancel()
	s := &Schedule{Runner: r, Load: load, Poll: 10 * time.Minute}
	if err := s.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

func always(jobs ...*project.Job) func(context.Context) ([]*project.Job, error) {
	return func(context.Context) ([]*project.Job, error) { return jobs, nil }
}

func TestScheduleRunsAtItsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, log := t.TempDir(), &ledger{}
		var when []string
		r := testRunner(dir, log, clock("2026-01-01 12:00"))
		log.before = func(context.Context, int) error {
			when = append(when, r.Now().Format("02T15:04:05"))
			return nil
		}
		live(t, r, always(testJob(t, dir, daily)), 72*time.Hour)
		if got := strings.Join(when, " "); got != "02T02:30:00 03T02:30:00 04T02:30:00" {
			t.Error(got)
		}
		if got := states(t, r); got != "01-04T02:30 done, 01-03T02:30 done, 01-02T02:30 done" {
			t.Error(got)
		}
	})
}

// Two machines with a project's files each and one history: every run is made by one of them, and what one was cut short
// in the other makes up.
func TestTwoMachinesWithOneHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, log := t.TempDir(), &ledger{}
		log.before = func(ctx context.Context, _ int) error {
			select {
			case <-time.After(20 * time.Minute): // the other one looks twice meanwhile
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		now := clock("2026-01-01 12:00")
		one, other := testRunner(dir, log, now), testRunner(dir, log, now)
		other.Project = t.TempDir()
		job := testJob(t, dir, daily)
		var machines sync.WaitGroup
		machines.Go(func() { live(t, one, always(job), 38*time.Hour+35*time.Minute) }) // five minutes into the second run
		machines.Go(func() { live(t, other, always(job), 96*time.Hour) })
		machines.Wait()
		counts := map[string]int{}
		for _, due := range log.asked {
			counts[due]++
		}
		if counts["2026-01-02 02:30"] != 1 || counts["2026-01-04 02:30"] != 1 || counts["2026-01-05 02:30"] != 1 || len(counts) != 4 {
			t.Error(log.asked)
		}
		if got := states(t, other); !strings.HasPrefix(got, "01-05T02:30 done, 01-04T02:30 done, 01-03T02:30 done") || strings.Contains(got, "lost") {
			t.Error(got)
		}
	})
}

// With catch_up what was missed is made up in order, once each; without it, only what was missed last.
func TestWhatWasMissedWhileNothingRan(t *testing.T) {
	for text, want := range map[string]string{
		daily + "\ncatch_up: true": "2026-01-02 02:30, 2026-01-03 02:30, 2026-01-04 02:30, 2026-01-05 02:30, 2026-01-06 02:30",
		daily:                      "2026-01-02 02:30, 2026-01-05 02:30, 2026-01-06 02:30",
	} {
		synctest.Test(t, func(t *testing.T) {
			dir, log := t.TempDir(), &ledger{}
			r, job := testRunner(dir, log, clock("2026-01-01 12:00")), testJob(t, dir, text)
			live(t, r, always(job), 24*time.Hour)
			time.Sleep(72 * time.Hour)
			for range 3 { // a restart makes nothing up twice
				live(t, r, always(job), 8*time.Hour)
			}
			if got := strings.Join(log.asked, ", "); got != want {
				t.Errorf("ran %s, want %s", got, want)
			}
		})
	}
}

// What fails with all its attempts was run: it is not missed, and the next is run at its time.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, log := t.TempDir(), &ledger{}
		r, job := testRunner(dir, log, clock("2026-01-08 12:00")), testJob(t, dir, daily+"\nretries: 3\ntimeout: 1m")
		due := at("2026-01-08 02:30")
		run := func(before func(ctx context.Context, n int) error) (*Run, time.Duration, error) {
			log.asked, log.before = nil, before
			began := time.Now()
			run, _, err := r.Run(t.Context(), job, due, Ask{By: ByHand})
			return run, time.Since(began), err
		}
		broken := errors.New("broker away")
		got, took, err := run(func(_ context.Context, n int) error {
			if n < 3 {
				return broken
			}
			return nil
		})
		if err != nil || took != 3*time.Second || got.Attempts != 3 || got.State != Done || got.Error != "" {
			t.Errorf("third time lucky: %v %s %+v", err, took, got)
		}
		got, took, err = run(func(context.Context, int) error { return broken })
		if !errors.Is(err, broken) || took != 7*time.Second || got.Attempts != 4 || got.State != Failed || got.Error != "broker away" {
			t.Errorf("four failures: %v %s %+v", err, took, got)
		}
		got, took, err = run(func(context.Context, int) error {
			return &schemas.Problem{Kind: schemas.Usage, Message: "no such column"}
		})
		if schemas.KindOf(err) != schemas.Usage || took != 0 || got.Attempts != 1 {
			t.Errorf("a wrong question is not asked again: %v %s %+v", err, took, got)
		}
		got, took, err = run(func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() })
		if !errors.Is(err, ErrTimeout) || took != 4*time.Minute+7*time.Second || got.State != Failed {
			t.Errorf("four timeouts: %v %s %+v", err, took, got)
		}
		if got := files(t, filepath.Join(dir, "out")); got != "2026-01-08.csv" {
			t.Errorf("failures leave the file that was there and nothing beside it: %s", got)
		}
	})
}

// A job in Paris runs once a day also on the days the clocks are turned, and its intervals tile time.
func TestDaysOnWhichClocksTurn(t *testing.T) {
	for start, want := range map[string]string{
		"2026-10-23 12:00": "10-24T00:30, 10-25T00:30, 10-26T01:30, 10-27T01:30",
		"2026-03-27 12:00": "03-28T01:30, 03-29T01:30, 03-30T00:30, 03-31T00:30",
	} {
		synctest.Test(t, func(t *testing.T) {
			dir, log := t.TempDir(), &ledger{}
			r, job := testRunner(dir, log, clock(start)), testJob(t, dir, daily+"\ntimezone: Europe/Paris")
			live(t, r, always(job), 4*24*time.Hour)
			runs, err := r.History("daily", 0)
			if err != nil {
				t.Fatal(err)
			}
			var due []string
			for i := len(runs) - 1; i >= 0; i-- {
				due = append(due, runs[i].Due.Format("01-02T15:04"))
				if i < len(runs)-1 && !runs[i].From.Equal(runs[i+1].To) {
					t.Errorf("a gap between %s and %s", runs[i+1].To, runs[i].From)
				}
			}
			if got := strings.Join(due, ", "); got != want {
				t.Errorf("due %s, want %s", got, want)
			}
		})
	}
}

// A changed file is taken up; a schedule that has changed has missed nothing; a file that is broken leaves the job as it was.
func TestFilesChangeWhileTheScheduleRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, log := t.TempDir(), &ledger{}
		r := testRunner(dir, log, clock("2026-01-01 12:00"))
		first := testJob(t, dir, daily+"\ncatch_up: true")
		second := testJob(t, dir, "schedule: 0 * * * *\noutput: out/{{utc}}.csv\ncatch_up: true")
		load := func(context.Context) ([]*project.Job, error) {
			switch now := r.Now(); {
			case now.Before(at("2026-01-03 12:05")):
				return []*project.Job{first}, nil
			case now.Before(at("2026-01-03 14:05")):
				return []*project.Job{second}, nil
			case now.Before(at("2026-01-03 15:05")):
				return nil, os.ErrPermission
			}
			return nil, nil
		}
		live(t, r, load, 60*time.Hour)
		if got := strings.Join(log.asked, ", "); got != "2026-01-02 02:30, 2026-01-03 02:30, 2026-01-03 13:00, 2026-01-03 14:00, 2026-01-03 15:00" {
			t.Error(got)
		}
	})
}

// While another process runs the job the schedule waits; it does not run the interval a second time.
func TestTheScheduleWaitsForAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, log := t.TempDir(), &ledger{}
		now := clock("2026-01-01 12:00")
		job := testJob(t, dir, daily)
		scheduled, byHand := testRunner(dir, log, now), testRunner(dir, &ledger{before: func(context.Context, int) error {
			time.Sleep(time.Hour)
			return nil
		}}, now)
		go func() {
			time.Sleep(14 * time.Hour) // 02:00, before it is due
			if _, _, err := byHand.Run(t.Context(), job, at("2026-01-02 02:30"), Ask{By: ByHand}); err != nil {
				t.Error(err)
			}
		}()
		live(t, scheduled, always(job), 20*time.Hour)
		if len(log.asked) != 0 {
			t.Errorf("ran beside the other: %v", log.asked)
		}
		if got := states(t, scheduled); got != "01-02T02:30 done" {
			t.Error(got)
		}
	})
}

// catch_up counts from when it was written: what was left out before stays left out.
func TestCatchUpTurnedOn(t *testing.T) {
	dir, log := t.TempDir(), &ledger{}
	r := testRunner(dir, log, fixed("2026-01-01 12:00"))
	for _, c := range []struct {
		now, text, want string
	}{
		{"2026-01-01 12:00", daily, ""},
		{"2026-01-04 12:00", daily + "\ncatch_up: true", ""},
		{"2026-01-06 12:00", daily + "\ncatch_up: true", "01-05T02:30"},
	} {
		r.Now = fixed(c.now)
		due, ok, err := r.Pending(testJob(t, dir, c.text))
		got := ""
		if ok {
			got = due.Format("01-02T15:04")
		}
		if err != nil || got != c.want {
			t.Errorf("at %s: %s %v, want %s", c.now, got, err, c.want)
		}
	}
}
