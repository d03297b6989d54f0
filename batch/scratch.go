package batch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/millrace/millrace/schemas"
)

// scratchPrefix begins the names of what scratch makes: a folder NAME and its lock NAME.lock.
const scratchPrefix = "millrace-build-"

const lockSuffix = ".lock"

// scratch is a folder for files on their way into the store. Its lock is made before it and is held as long as its
// process lives, so whoever finds the lock free knows that the folder's owner was killed, and removes both.
type scratch struct {
	dir   string
	lock  *os.File
	files int
}

// newScratch makes a folder under parent, empty for the system's, and sweeps out those whose owner was killed.
func newScratch(parent string) (*scratch, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	parent, err := filepath.Abs(parent) // DuckDB's working folder need not be this one's for ever
	if err == nil {
		err = os.MkdirAll(parent, 0o755)
	}
	if err == nil {
		err = sweep(parent)
	}
	s := &scratch{}
	for err == nil && s.lock == nil {
		err = s.take(parent)
	}
	if err == nil {
		if err = os.Mkdir(s.dir, 0o755); err != nil {
			s.close()
		}
	}
	if err != nil {
		return nil, scratchProblem("make a scratch folder in "+parent, err)
	}
	return s, nil
}

// take makes a lock of a new name. Without an error the lock may still be nil: a sweep came between.
func (s *scratch) take(parent string) error {
	f, err := os.CreateTemp(parent, scratchPrefix+"*"+lockSuffix)
	if err != nil {
		return err
	}
	if err := flock(f); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil
		}
		return err
	}
	if !named(f) {
		return f.Close()
	}
	s.lock, s.dir = f, strings.TrimSuffix(f.Name(), lockSuffix)
	return nil
}

// path is that of a new file in the folder.
func (s *scratch) path() string {
	s.files++
	return filepath.Join(s.dir, fmt.Sprintf("%d.parquet", s.files))
}

// spill is a folder of its own for an engine that runs out of memory; the engine makes it when it needs it.
func (s *scratch) spill() string {
	s.files++
	return filepath.Join(s.dir, fmt.Sprintf("%d.spill", s.files))
}

// close removes the folder and all in it.
func (s *scratch) close() {
	os.RemoveAll(s.dir)
	os.Remove(s.lock.Name())
	s.lock.Close()
}

// sweep removes the scratch folders under parent whose owner is dead. What it may not touch, it leaves.
func sweep(parent string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, scratchPrefix) || !strings.HasSuffix(name, lockSuffix) {
			continue
		}
		f, err := os.OpenFile(filepath.Join(parent, e.Name()), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if flock(f) == nil && named(f) && os.RemoveAll(strings.TrimSuffix(f.Name(), lockSuffix)) == nil {
			os.Remove(f.Name())
		}
		f.Close()
	}
	return nil
}

// named says whether the open file still has its name: a lock on one that was swept away protects nothing.
func named(f *os.File) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(f.Name())
	return err == nil && os.SameFile(a, b)
}

func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EINTR {
			return err
		}
	}
}

// scratchProblem turns what the system or DuckDB says of a scratch file into what a person can act on. DuckDB's errors
// are texts with their class in front.
func scratchProblem(what string, err error) error {
	if p := shortage(what, err); p != nil {
		return p
	}
	var system syscall.Errno
	if errors.As(err, &system) || strings.Contains(err.Error(), "IO Error") {
		return &schemas.Problem{Kind: schemas.Environment, Message: what, Err: err, Hint: "make that folder writable for this user and run the cycle again; nothing is lost"}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// shortage is the problem of an error that says the disk or the memory was not enough, nil for another.
func shortage(what string, err error) error {
	text := err.Error()
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), strings.Contains(text, "No space left"), strings.Contains(text, "quota exceeded"):
		return &schemas.Problem{Kind: schemas.Environment, Message: what, Err: err, Hint: "free some space there and run the cycle again; nothing is lost"}
	case strings.Contains(text, "Out of Memory Error"):
		return &schemas.Problem{Kind: schemas.Environment, Message: what, Err: err, Hint: "raise memory: in millrace.yaml and run the cycle again; nothing is lost"}
	}
	return nil
}
