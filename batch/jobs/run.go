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
	"slices"
	"time"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

// Question is what a run asks.
type Question struct {
	SQL    string
	Params map[string]string // $scheduled_at, $from and $to as constants of SQL
	Format string            // the output's ending: parquet, csv, ndjson, json or md
	AsOf   json.RawMessage   // the certificate whose snapshot is to be answered over; nil: all there is now
}

// Answerer answers over one snapshot.
type Answerer interface {
	// Answer writes the answer and returns the certificate of what it covers, a JSON object. The same snapshot gives the
	// same bytes.
	Answer(ctx context.Context, q Question, w io.Writer) (certificate json.RawMessage, err error)
}

// Runner runs intervals of jobs. Safe for concurrent use, also by several processes: of the runs of one job at once, one
// runs and the others get ErrBusy.
type Runner struct {
	Dir      string // the history's folder, which all who run the same jobs share
	Project  string // the project's folder, which relative outputs are in
	Answerer Answerer
	Now      func() time.Time
	Log      *slog.Logger // attempts that fail

	crash func(step string) // tests end the process here
}

// Ask says how an interval is to be run.
type Ask struct {
	By    string
	Fresh bool    // over all there is now, also if a run before has covered the interval
	Skip  []State // leave the interval alone if its last run stands so
}

// Interval is what a run of the job that is due then covers: [from, due).
func Interval(job *project.Job, due time.Time) (from, to time.Time) {
	return job.Previous(due).UTC(), due.UTC()
}

// Run runs the interval of a job that ends at a due time, or finds it run already and says so: ran is false. Errors: what
// the last attempt failed with, ctx's error if it ended the run, ErrBusy; the run then says how far it came, if it began.
func (r *Runner) Run(ctx context.Context, job *project.Job, due time.Time, ask Ask) (run *Run, ran bool, err error) {
	dir := r.folder(job.Name)
	lock, err := lock(ctx, dir, due)
	if err != nil {
		return nil, false, err
	}
	defer lock.Close()
	history, err := openJournal(dir, due)
	if err != nil {
		return nil, false, err
	}
	defer history.close()

	before := last(history.runs, due)
	if before != nil && slices.Contains(ask.Skip, before.State) {
		return before, false, nil
	}
	if before != nil && before.State == Lost {
		left := &output{path: before.Output, temporary: temporary(before.Output, job.Name, due)}
		if err := left.drop(); err != nil {
			return nil, false, left.problem(err)
		}
	}
	a := attempts{r: r, job: job, history: history, due: due}
	if !ask.Fresh {
		a.question.AsOf = covered(history.runs, due)
	}
	from, to := Interval(job, due)
	a.path = job.OutputPath(r.Project, due, from, to)
	a.question.SQL, a.question.Params, a.question.Format = job.SQL, parameters(from, to), format(a.path)
	if err := history.add(event{Event: startEvent, At: r.Now(), Due: to, From: from, To: to, By: ask.By, PID: os.Getpid(), Host: host(),
		Output: a.path, Pinned: a.question.AsOf != nil}); err != nil {
		return nil, false, err
	}
	r.at("start")

	end := event{Event: endEvent, Outcome: Done}
	err = a.run(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		end.Outcome, err = Interrupted, ctx.Err()
	case err != nil:
		end.Outcome, end.Error = Failed, err.Error()
	}
	end.At = r.Now()
	err = errors.Join(err, history.add(end))
	return last(history.runs, due), true, err
}

func (r *Runner) folder(job string) string { return filepath.Join(r.Dir, job) }

func (r *Runner) at(step string) {
	if r.crash != nil {
		r.crash(step)
	}
}

// parameters are the interval as constants of SQL.
func parameters(from, to time.Time) map[string]string {
	constant := func(t time.Time) string { return "TIMESTAMPTZ '" + t.UTC().Format("2006-01-02 15:04:05") + "+00'" }
	return map[string]string{"scheduled_at": constant(to), "from": constant(from), "to": constant(to)}
}

// attempts is one run's attempts.
type attempts struct {
	r        *Runner
	job      *project.Job
	history  *journal
	due      time.Time
	path     string
	question Question
}

// Between attempts lies firstWait, and each time twice as long, at most longestWait.
const (
	firstWait   = time.Second
	longestWait = 5 * time.Minute
)

// run tries until an attempt succeeds, none is left, or what is wrong would be wrong again: a question that cannot be
// asked.
func (a *attempts) run(ctx context.Context) error {
	wait := firstWait
	for n := 0; ; n++ {
		err := a.once(ctx)
		if err == nil || ctx.Err() != nil || n >= a.job.Retries || schemas.KindOf(err) == schemas.Usage {
			return err
		}
		a.r.Log.Warn("a job's attempt failed", "job", a.job.Name, "due", a.due, "attempt", n+1, "again in", wait, "error", err)
		if herr := a.history.add(event{Event: retryEvent, At: a.r.Now(), Error: err.Error()}); herr != nil {
			return errors.Join(err, herr)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
		wait = min(2*wait, longestWait)
	}
}

// once is one attempt: the answer under a temporary name, then its cover in the history, then its name.
func (a *attempts) once(ctx context.Context) (err error) {
	attempt, cancel := ctx, context.CancelFunc(func() {})
	if a.job.Timeout > 0 {
		attempt, cancel = context.WithTimeout(ctx, a.job.Timeout)
	}
	defer cancel()
	out, err := createOutput(a.path, a.job.Name, a.due)
	if err != nil {
		return err
	}
	placed := false
	defer func() {
		if !placed {
			err = errors.Join(err, out.drop())
		}
	}()
	certificate, err := a.r.Answerer.Answer(attempt, a.question, out)
	if err == nil {
		err = attempt.Err() // an answer that came too late is none: it may be cut short
	}
	if err != nil {
		if ctx.Err() == nil && errors.Is(attempt.Err(), context.DeadlineExceeded) {
			return &schemas.Problem{Message: fmt.Sprintf("no answer within %s", a.job.Timeout), Err: ErrTimeout,
				Hint: "lengthen timeout: in " + a.job.File + ", or let the SQL read less"}
		}
		return err
	}
	if err := out.finish(); err != nil {
		return err
	}
	a.r.at("answer")
	if err := a.history.add(event{Event: coverEvent, At: a.r.Now(), Bytes: out.bytes, SHA256: out.digest(), Certificate: certificate}); err != nil {
		return err
	}
	a.question.AsOf = certificate
	a.r.at("cover")
	if err := out.place(); err != nil {
		return err
	}
	placed = true
	a.r.at("place")
	return nil
}

// ErrTimeout is in the chain of the error of an attempt that took longer than the job's timeout.
var ErrTimeout = errors.New("timeout")
