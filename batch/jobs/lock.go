//go:build unix

package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

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

// lock makes a job's folder and takes its lock; closing the file gives it back. A reader's look at the lock holds it for
// an instant, so it is tried a few times.
func lock(ctx context.Context, dir string, due time.Time) (*os.File, error) {
	if err := makeFolder(dir); err != nil {
		return nil, historyProblem(dir, err)
	}
	f, err := os.OpenFile(lockPath(dir), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, historyProblem(dir, err)
	}
	for try := 0; ; try++ {
		err = flock(f, unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || try == 5 {
			break
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		f.Close()
		return nil, busy(dir)
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
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
	f, err := os.Open(lockPath(dir))
	if err != nil {
		return holder{}, false
	}
	defer f.Close()
	if flock(f, unix.LOCK_SH|unix.LOCK_NB) == nil {
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

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}
