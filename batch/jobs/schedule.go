package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/millrace/millrace/schemas/project"
)

// Schedule runs jobs at their times.
type Schedule struct {
	Runner *Runner
	// Load reads the jobs; it is called before every look at what is due. If it fails, the jobs read before stay.
	Load func(context.Context) ([]*project.Job, error)
	// Poll is how often files, and jobs that another process was running, are looked at again.
	Poll time.Duration

	jobs []*project.Job
	told map[string]string // what was said of a job last, "" for the files
}

// Run runs what is due, one at a time and the earliest first, until ctx ends. A run that is cut short is recorded as
// interrupted. It waits on no clock longer than Poll, so a clock that is set, or a machine that slept, is noticed.
func (s *Schedule) Run(ctx context.Context) error {
	s.told = map[string]string{}
	busy := map[string]bool{} // not to be tried before the next poll
	for ctx.Err() == nil {
		s.load(ctx)
		job, due := s.earliest(busy)
		if job != nil {
			s.run(ctx, job, due, busy)
			continue
		}
		timer := time.NewTimer(s.pause())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		clear(busy)
	}
	return ctx.Err()
}

func (s *Schedule) load(ctx context.Context) {
	jobs, err := s.Load(ctx)
	if err == nil {
		s.jobs = jobs
	}
	if ctx.Err() == nil {
		s.tell("", err)
	}
}

// earliest is the job that has waited longest, nil if none is due.
func (s *Schedule) earliest(busy map[string]bool) (job *project.Job, due time.Time) {
	for _, j := range s.jobs {
		if busy[j.Name] {
			continue
		}
		d, ok, err := s.Runner.Pending(j)
		if err != nil {
			s.tell(j.Name, err)
			busy[j.Name] = true
		} else if ok && (job == nil || d.Before(due)) {
			job, due = j, d
		}
	}
	return job, due
}

func (s *Schedule) run(ctx context.Context, job *project.Job, due time.Time, busy map[string]bool) {
	run, ran, err := s.Runner.Run(ctx, job, due, Ask{By: BySchedule, Skip: []State{Done, Failed}})
	switch {
	case errors.Is(err, ErrBusy):
		busy[job.Name] = true
	case ctx.Err() != nil:
	case err != nil && ran:
		s.Runner.Log.Error("a job failed", "job", job.Name, "due", due, "error", err)
	case err != nil:
		s.tell(job.Name, err)
		busy[job.Name] = true
	case ran:
		s.tell(job.Name, nil)
		s.Runner.Log.Info("a job is done", "job", job.Name, "due", due, "output", run.Output, "bytes", run.Bytes)
	}
	if err != nil && ran && run.State == Lost {
		busy[job.Name] = true // its end could not be written: not at once again
	}
}

// tell logs an error once for as long as it stays the same.
func (s *Schedule) tell(job string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != s.told[job] {
		s.Runner.Log.Error("jobs", "job", job, "error", err)
	}
	s.told[job] = text
}

// pause is how long nothing is due, at most Poll.
func (s *Schedule) pause() time.Duration {
	now, pause := s.Runner.Now(), s.Poll
	for _, j := range s.jobs {
		if next := j.Next(now); !next.IsZero() {
			pause = min(pause, next.Sub(now))
		}
	}
	return max(pause, time.Millisecond)
}
