package jobs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/millrace/millrace/schemas/project"
)

// TestMain is also the process that kills itself: with JOBS_CRASH set to a step it runs what is pending of the job in
// JOBS_DIR until it comes to that step for the JOBS_NTH time.
func TestMain(m *testing.M) {
	step := os.Getenv("JOBS_CRASH")
	if step == "" {
		os.Exit(m.Run())
	}
	dir := os.Getenv("JOBS_DIR")
	p, problems := project.Open(dir)
	if len(problems) > 0 {
		panic(problems[0])
	}
	left := len(os.Getenv("JOBS_NTH"))
	die := func(at string) {
		if at == step {
			if left--; left == 0 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
	}
	r := testRunner(dir, &ledger{length: 5, before: func(context.Context, int) error { die("half"); return nil }}, fixed(os.Getenv("JOBS_NOW")))
	r.crash = die
	for {
		due, ok, err := r.Pending(p.Job("daily"))
		if err != nil || !ok {
			panic("nothing to run, or an error")
		}
		if _, _, err := r.Run(context.Background(), p.Job("daily"), due, Ask{By: BySchedule, Skip: []State{Done, Failed}}); err != nil {
			panic(err)
		}
	}
}

// crash runs what is pending in a process that is killed at the nth time it comes to a step.
func crash(t *testing.T, dir, step string, nth int, now string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "JOBS_CRASH="+step, "JOBS_DIR="+dir, "JOBS_NTH="+strings.Repeat("I", nth), "JOBS_NOW="+now)
	out, err := cmd.CombinedOutput()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("not killed: %v\n%s", err, out)
	}
}

// Killed at any step, the output is whole or not there, the run is lost or done, and what the next process makes is what
// an undisturbed run would have made; from the cover on it is what the killed run made, whatever has arrived since.
func TestKilledAtEveryStep(t *testing.T) {
	const interval = "csv TIMESTAMPTZ '2026-01-07 02:30:00+00' TIMESTAMPTZ '2026-01-08 02:30:00+00' "
	for _, c := range []struct{ step, left, want string }{
		{"start", "", "9\n"},
		{"half", ".daily-20260108T023000Z.writing", "9\n"},
		{"answer", ".daily-20260108T023000Z.writing", "9\n"},
		{"cover", ".daily-20260108T023000Z.writing", "5\n"},
		{"place", "2026-01-08.csv", "5\n"},
	} {
		t.Run(c.step, func(t *testing.T) {
			dir := t.TempDir()
			job := testJob(t, dir, daily)
			r := testRunner(dir, &ledger{length: 9}, fixed("2026-01-07 12:00"))
			if _, ok, err := r.Pending(job); ok || err != nil {
				t.Fatal(ok, err)
			}
			crash(t, dir, c.step, 1, "2026-01-08 12:00")
			if got := files(t, filepath.Join(dir, "out")); got != c.left {
				t.Errorf("left %q, want %q", got, c.left)
			}
			if got := states(t, r); got != "01-08T02:30 lost" {
				t.Error(got)
			}
			r.Now = fixed("2026-01-08 12:01")
			due, ok, err := r.Pending(job)
			if !ok || err != nil || !due.Equal(at("2026-01-08 02:30")) {
				t.Fatal(due, ok, err)
			}
			if _, _, err := r.Run(t.Context(), job, due, Ask{By: BySchedule, Skip: []State{Done, Failed}}); err != nil {
				t.Fatal(err)
			}
			if got := files(t, filepath.Join(dir, "out")); got != "2026-01-08.csv" {
				t.Errorf("the output's folder holds %s", got)
			}
			if got := read(t, filepath.Join(dir, "out", "2026-01-08.csv")); got != interval+c.want {
				t.Errorf("wrote %q, want %q", got, interval+c.want)
			}
			if got := states(t, r); got != "01-08T02:30 done, 01-08T02:30 lost" {
				t.Error(got)
			}
			if _, ok, err := r.Pending(job); ok || err != nil {
				t.Error(ok, err)
			}
		})
	}
}

// Killed in the middle of making up, the next process goes on with the interval that was lost: each is done once, in order.
func TestKilledWhileCatchingUp(t *testing.T) {
	dir := t.TempDir()
	job := testJob(t, dir, daily+"\ncatch_up: true")
	log := &ledger{length: 5}
	r := testRunner(dir, log, fixed("2026-01-01 12:00"))
	if _, ok, err := r.Pending(job); ok || err != nil {
		t.Fatal(ok, err)
	}
	crash(t, dir, "half", 3, "2026-01-08 12:00")  // 2, 3 done, 4 lost
	crash(t, dir, "place", 2, "2026-01-08 12:00") // 4 done, 5 lost after its file was there
	r.Now = fixed("2026-01-08 12:00")
	for {
		due, ok, err := r.Pending(job)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if _, _, err := r.Run(t.Context(), job, due, Ask{By: BySchedule, Skip: []State{Done, Failed}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(log.asked, ", "); got != "2026-01-05 02:30, 2026-01-06 02:30, 2026-01-07 02:30, 2026-01-08 02:30" {
		t.Error(got)
	}
	want := "01-08T02:30 done, 01-07T02:30 done, 01-06T02:30 done, 01-05T02:30 done, 01-05T02:30 lost, " +
		"01-04T02:30 done, 01-04T02:30 lost, 01-03T02:30 done, 01-02T02:30 done"
	if got := states(t, r); got != want {
		t.Error(got)
	}
}

// A lost run's temporary file goes also if the job's output has another folder by now.
func TestALostRunsFileIsRemovedWhereItWas(t *testing.T) {
	dir := t.TempDir()
	r := testRunner(dir, &ledger{}, fixed("2026-01-07 12:00"))
	if _, ok, err := r.Pending(testJob(t, dir, daily)); ok || err != nil {
		t.Fatal(ok, err)
	}
	crash(t, dir, "answer", 1, "2026-01-08 12:00")
	job := testJob(t, dir, "schedule: 30 2 * * *\noutput: elsewhere/{{date}}.csv")
	if _, _, err := r.Run(t.Context(), job, at("2026-01-08 02:30"), Ask{By: ByHand}); err != nil {
		t.Fatal(err)
	}
	if old, now := files(t, filepath.Join(dir, "out")), files(t, filepath.Join(dir, "elsewhere")); old != "" || now != "2026-01-08.csv" {
		t.Errorf("out holds %q, elsewhere %q", old, now)
	}
}
