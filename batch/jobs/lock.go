package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/millrace/millrace/pipelines/flock"
	"github.com/millrace/millrace/schemas"
)

// ErrBusy is in the chain of the error of a run whose job another process is running.
var ErrBusy = errors.New("the job is running")

// holder is the process that runs a job at present, and which interval.
type holder struct {
	PID  int       `json:"pid"`
	Host string    `json:"host,omitempty"`
	Due  time.Time `json:"due"`
}

// host is the name of this machine, empty if it has none.
func host() string {
	name, _ := os.Hostname() // only for people, and to tell the processes of two machines apart
	return name
}

func lockPath(dir string) string { return filepath.Join(dir, "lock") }

// lock makes a job's folder and takes its lock; closing the file gives it back.
func lock(ctx context.Context, dir string, due time.Time) (*os.File, error) {
	if err := makeFolder(dir); err != nil {
		return nil, historyProblem(dir, err)
	}
	f, err := flock.Take(ctx, lockPath(dir))
	switch {
	case errors.Is(err, flock.ErrHeld):
		return nil, busy(dir)
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, historyProblem(dir, err)
	}
	if err = f.Truncate(0); err == nil {
		var text []byte
		if text, err = json.Marshal(holder{PID: os.Getpid(), Host: host(), Due: due.UTC()}); err == nil {
			_, err = f.WriteAt(text, 0)
		}
	}
	if err != nil {
		f.Close()
		return nil, historyProblem(dir, err)
	}
	return f, nil
}

func busy(dir string) error {
	who := "another process"
	if h := readHolder(dir); h.PID != 0 {
		who = fmt.Sprintf("process %d on %s, for %s", h.PID, h.Host, h.Due.Format(time.RFC3339))
	}
	return &schemas.Problem{Message: fmt.Sprintf("job %s is being run by %s", filepath.Base(dir), who), Err: ErrBusy,
		Hint: "wait for it; `millrace jobs history` shows how it ends"}
}

// held says whether a run of the job goes on, and whose.
func held(dir string) (holder, bool) {
	if !flock.Held(lockPath(dir)) {
		return holder{}, false
	}
	return readHolder(dir), true
}

func readHolder(dir string) (h holder) {
	text, err := os.ReadFile(lockPath(dir))
	if err != nil || json.Unmarshal(text, &h) != nil {
		return holder{}
	}
	return h
}
