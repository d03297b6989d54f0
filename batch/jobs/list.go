package jobs

import (
	"errors"
	"io/fs"
	"os"
	"slices"
)

// Names are the jobs that have a history, also those whose files are gone.
func (r *Runner) Names() ([]string, error) {
	entries, err := os.ReadDir(r.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, historyProblem(r.Dir, err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// History is the last runs of a job, the newest interval first and of one interval the last run first; limit 0 is all.
func (r *Runner) History(job string, limit int) ([]*Run, error) {
	dir := r.folder(job)
	names, err := days(dir)
	if err != nil {
		return nil, err
	}
	owner, running := held(dir)
	var out []*Run
	for _, name := range names {
		if limit > 0 && len(out) >= limit {
			break
		}
		runs, err := readDay(dir, name)
		if err != nil {
			return nil, err
		}
		slices.Reverse(runs)
		slices.SortStableFunc(runs, func(a, b *Run) int { return b.Due.Compare(a.Due) })
		for _, run := range runs {
			if run.State == Lost && running && run.PID == owner.PID && run.Host == owner.Host && run.Due.Equal(owner.Due) && run == newest(runs, owner) {
				run.State = Running
			}
		}
		out = append(out, runs...)
	}
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out, nil
}

// newest is the run that the holder of the lock began last; runs are newest first.
func newest(runs []*Run, h holder) *Run {
	for _, r := range runs {
		if r.Due.Equal(h.Due) {
			return r
		}
	}
	return nil
}
