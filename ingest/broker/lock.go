//go:build unix

package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/millrace/millrace/pipelines/flock"
	"github.com/millrace/millrace/schemas"
)

const lockFile = "lock"

// Process is the process that owns a directory, and its broker's address; both may be unknown for a moment while it
// starts (0 and empty).
type Process struct {
	PID  int    `json:"pid"`
	Addr string `json:"addr"`
}

// Owner says whether a process owns the directory at present, and which.
func Owner(dir string) (Process, bool) {
	if !flock.Held(filepath.Join(dir, lockFile)) {
		return Process{}, false
	}
	return readOwner(dir), true
}

// ErrOwned is in the chain of the error that Open returns for a directory that another process owns.
var ErrOwned = errors.New("owned by another process")

// lockDir takes the lock.
func lockDir(ctx context.Context, dir string) (*os.File, error) {
	f, err := flock.Take(ctx, filepath.Join(dir, lockFile))
	switch {
	case err == nil:
		return f, f.Truncate(0)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case !errors.Is(err, flock.ErrHeld):
		return nil, dirProblem(dir, err)
	}
	who := "another process"
	if p := readOwner(dir); p.PID != 0 {
		who = fmt.Sprintf("process %d", p.PID)
	}
	return nil, &schemas.Problem{Kind: schemas.Environment, File: dir, Message: "the broker's folder belongs to " + who, Err: ErrOwned,
		Hint: "use that one, or stop it first"}
}

func writeOwner(f *os.File, addr string) error {
	data, err := json.Marshal(Process{PID: os.Getpid(), Addr: addr})
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	return err
}

func readOwner(dir string) (p Process) {
	data, err := os.ReadFile(filepath.Join(dir, lockFile))
	if err != nil || json.Unmarshal(data, &p) != nil {
		return Process{}
	}
	return p
}

// free is the number of bytes that can still be written to the directory's disk.
func free(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // its type is another on other systems
}
