package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/pipelines/flock"
	"github.com/millrace/millrace/schemas/project"
)

// rebuilding is a process's work on the partials of one view over history, as `status` shows it.
type rebuilding struct {
	PID int `json:"pid"`
	batch.Progress
	SecondsLeft *float64 `json:"seconds_left,omitempty"` // at the rate since it began with the view; absent: it has only begun
}

// rebuildsFolder holds a file for each process that works on history: a rebuilding as JSON, which counts as long as the
// process has the file's lock.
const rebuildsFolder = "rebuilds"

// Notes of work on history come first after firstNote and then each nextNote.
const (
	firstNote = 10 * time.Second
	nextNote  = 30 * time.Second
)

// tracker follows work on history: for `status`, for a terminal, and for a log now and then.
type tracker struct {
	app  *app
	bar  *bar     // nil: it says it in notes
	file *os.File // nil: it could not be made, and `status` does not see this process

	view  string
	began time.Time
	next  time.Time // the next note
}

// track begins to follow; the caller closes it.
func (a *app) track(ctx context.Context, p *project.Project, b *bar) *tracker {
	t := &tracker{app: a, bar: b}
	dir := p.Private(rebuildsFolder)
	if os.MkdirAll(dir, 0o755) != nil {
		return t
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.json")); err == nil {
		for _, path := range left {
			if !flock.Held(path) { // of a process that was killed
				_ = os.Remove(path)
			}
		}
	}
	t.file, _ = flock.Take(ctx, filepath.Join(dir, fmt.Sprint(os.Getpid(), ".json")))
	return t
}

func (t *tracker) close() {
	t.bar.clear()
	if t.file != nil {
		_ = os.Remove(t.file.Name())
		t.file.Close()
	}
}

// watch hears how far a view is.
func (t *tracker) watch(p batch.Progress) {
	now := time.Now()
	if key := p.Topic + "\x00" + p.View; key != t.view || p.Partials == 0 {
		t.view, t.began, t.next = key, now, now.Add(firstNote)
	}
	r := rebuilding{PID: os.Getpid(), Progress: p}
	var rate float64
	if elapsed := now.Sub(t.began).Seconds(); p.Records > 0 && elapsed > 0 {
		rate = float64(p.Records) / elapsed
		left := float64(p.OfRecords-p.Records) / rate
		r.SecondsLeft = &left
	}
	t.write(r)
	t.bar.draw(p.Records, p.Records, p.OfRecords, rate, r.left())
	if t.bar == nil && now.After(t.next) && p.Partials < p.Of {
		t.next = now.Add(nextNote)
		t.app.note("rebuilding %s", r)
	}
}

// write puts it into the file; without it `status` only says less.
func (t *tracker) write(r rebuilding) {
	if t.file == nil {
		return
	}
	if text, err := json.Marshal(r); err == nil && t.file.Truncate(0) == nil {
		_, _ = t.file.WriteAt(text, 0)
	}
}

func (r rebuilding) left() time.Duration {
	if r.SecondsLeft == nil {
		return 0
	}
	return time.Duration(*r.SecondsLeft * float64(time.Second))
}

func (r rebuilding) String() string {
	text := fmt.Sprintf("%s: %d of %s, %s of %s records, %s", r.View, r.Partials, count(r.Of, "partial"), thousands(r.Records), thousands(r.OfRecords), rowCount(r.Rows))
	if left := r.left().Round(time.Second); left > 0 {
		text += fmt.Sprintf(", %s left", left)
	}
	return text
}

func rowCount(n int64) string {
	if n == 1 {
		return "1 row"
	}
	return thousands(n) + " rows"
}

// readRebuilds is what processes on this machine do with the project's history now.
func readRebuilds(p *project.Project) []rebuilding {
	paths, err := filepath.Glob(p.Private(rebuildsFolder, "*.json"))
	if err != nil {
		return nil
	}
	var out []rebuilding
	for _, path := range paths {
		text, err := os.ReadFile(path)
		var r rebuilding
		if err == nil && flock.Held(path) && json.Unmarshal(text, &r) == nil {
			out = append(out, r)
		}
	}
	return out
}

// catchUp makes what the views of a cycle's topic lack over history.
func (a *app) catchUp(ctx context.Context, p *project.Project, in *batch.Input, gentle bool) ([]*batch.Rebuilt, error) {
	var t *tracker // only if there is something to do
	defer func() {
		if t != nil {
			t.close()
		}
	}()
	return in.CatchUp(ctx, batch.Pace{Gentle: gentle, Watch: func(at batch.Progress) {
		if t == nil {
			var b *bar
			if !gentle {
				b = a.bar()
			}
			t = a.track(ctx, p, b)
		}
		t.watch(at)
	}})
}

// failuresOf are the views whose SQL fails over history.
func failuresOf(made []*batch.Rebuilt) []error {
	var out []error
	for _, r := range made {
		if r.Failed != "" {
			out = append(out, batch.Failure{View: r.View, Reason: r.Failed})
		}
	}
	return out
}
