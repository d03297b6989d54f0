package jobs

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/millrace/millrace/schemas/project"
)

// mark says up to when a job's schedule has been dealt with. A job that was never seen before, or whose schedule, time
// zone or catch_up has changed, begins anew: nothing before that moment counts as missed.
type mark struct {
	Schedule string    `json:"schedule"`
	Timezone string    `json:"timezone"`
	CatchUp  bool      `json:"catch_up"`
	Through  time.Time `json:"through"` // inclusive
}

func markPath(dir string) string { return filepath.Join(dir, "mark.json") }

// mark reads the job's mark, or begins anew.
func (r *Runner) mark(job *project.Job) (mark, error) {
	want := mark{Schedule: job.Schedule, Timezone: job.Timezone, CatchUp: job.CatchUp, Through: r.Now().UTC()}
	path := markPath(r.folder(job.Name))
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return want, historyProblem(path, err)
	}
	var m mark
	if err == nil && json.Unmarshal(text, &m) == nil && m.Schedule == want.Schedule && m.Timezone == want.Timezone && m.CatchUp == want.CatchUp {
		return m, nil
	}
	return want, r.setMark(job, want)
}

// setMark writes the mark whole or not at all.
func (r *Runner) setMark(job *project.Job, m mark) error {
	dir := r.folder(job.Name)
	text, err := json.Marshal(m)
	if err == nil {
		err = makeFolder(dir)
	}
	if err != nil {
		return historyProblem(dir, err)
	}
	f, err := os.CreateTemp(dir, ".mark-*")
	if err != nil {
		return historyProblem(dir, err)
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), markPath(dir))
	}
	if err == nil {
		err = syncFolder(dir)
	}
	if err != nil {
		return historyProblem(dir, errors.Join(err, removed(f.Name())))
	}
	return nil
}

// removed removes a file that may be gone.
func removed(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// LastDue is the last time the job was due at or before t.
func LastDue(job *project.Job, t time.Time) time.Time { return job.Previous(t.Add(1)) }

// Pending is the earliest due time up to now that the schedule has not been dealt with; ok is false if there is none.
//
// Due times after the mark are dealt with when their run is done or has failed. A run that was lost or interrupted is
// run again. One that nothing has begun is run with catch_up, each in order; without it only if it is the last: what was
// missed before that is left out. Two processes may move the mark at once: it only spares looking at what lies before.
func (r *Runner) Pending(job *project.Job) (due time.Time, ok bool, err error) {
	m, err := r.mark(job)
	if err != nil {
		return due, false, err
	}
	now := r.Now()
	first := job.Next(m.Through)
	if first.IsZero() || first.After(now) {
		return due, false, nil
	}
	through := m.Through // up to when all is dealt with
	if job.CatchUp {
		due, through, ok, err = r.inOrder(job, m.Through, now)
	} else if due, ok, err = r.begun(job, m.Through, now); err == nil && !ok {
		due = LastDue(job, now)
		if ok, err = r.open(job, due); !ok {
			through = due
		}
	}
	if err != nil {
		return due, false, err
	}
	if through.After(m.Through) {
		m.Through = through.UTC()
		err = r.setMark(job, m)
	}
	return due, ok, err
}

// inOrder is the earliest due time in (after, to] that is open, and the last before it up to which all is dealt with.
func (r *Runner) inOrder(job *project.Job, after, to time.Time) (due, through time.Time, ok bool, err error) {
	through = after
	var runs []*Run
	read := ""
	for due = job.Next(after); !due.IsZero() && !due.After(to); due = job.Next(due) {
		if read != day(due) {
			read = day(due)
			if runs, err = readDay(r.folder(job.Name), read); err != nil {
				return due, through, false, err
			}
		}
		if open(last(runs, due)) {
			return due, through, true, nil
		}
		through = due
	}
	return due, through, false, nil
}

// open says whether an interval whose last run this is, nil if it has none, is still to be run.
func open(last *Run) bool { return last == nil || last.State == Lost || last.State == Interrupted }

func (r *Runner) open(job *project.Job, due time.Time) (bool, error) {
	runs, err := readDay(r.folder(job.Name), day(due))
	return open(last(runs, due)), err
}

// begun is the earliest due time in (after, to] whose last run was lost or interrupted.
func (r *Runner) begun(job *project.Job, after, to time.Time) (due time.Time, ok bool, err error) {
	dir := r.folder(job.Name)
	names, err := days(dir)
	if err != nil {
		return due, false, err
	}
	for _, name := range names {
		if name > day(to) || name < day(after) {
			continue
		}
		runs, err := readDay(dir, name)
		if err != nil {
			return due, false, err
		}
		for _, run := range runs {
			if run == last(runs, run.Due) && open(run) && run.Due.After(after) && !run.Due.After(to) && (!ok || run.Due.Before(due)) {
				due, ok = run.Due, true
			}
		}
	}
	return due, ok, nil
}
