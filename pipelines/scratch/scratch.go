// Package scratch makes folders for temporary files that do not outlive their process for long: beside a folder NAME lies
// NAME.lock, made before it and locked (flock) as long as its process lives. Whoever finds the lock free knows that the
// folder's owner was killed, and removes both. Every New does so for what has its prefix.
package scratch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/millrace/millrace/pipelines/flock"
	"github.com/millrace/millrace/schemas"
)

const lockSuffix = ".lock"

// Folder is a folder for temporary files.
type Folder struct {
	Path string
	lock *os.File
}

// New makes a folder under parent, empty for the system's, whose name begins with prefix, and sweeps out those whose owner
// was killed. Nobody but New makes files that begin with prefix there.
func New(parent, prefix string) (*Folder, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	parent, err := filepath.Abs(parent) // an engine's working folder need not be this one's for ever
	if err == nil {
		err = os.MkdirAll(parent, 0o755)
	}
	if err == nil {
		err = Sweep(parent, prefix)
	}
	f := &Folder{}
	for err == nil && f.lock == nil {
		err = f.take(parent, prefix)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(f.Path, 0o755); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// take makes a lock of a new name. Without an error the lock may still be nil: a sweep came between.
func (s *Folder) take(parent, prefix string) error {
	f, err := os.CreateTemp(parent, prefix+"*"+lockSuffix)
	if err != nil {
		return err
	}
	if err := flock.Try(f); err != nil {
		f.Close()
		if errors.Is(err, flock.ErrHeld) {
			return nil
		}
		return err
	}
	if !named(f) {
		return f.Close()
	}
	s.lock, s.Path = f, strings.TrimSuffix(f.Name(), lockSuffix)
	return nil
}

// Close removes the folder and all in it.
func (s *Folder) Close() {
	os.RemoveAll(s.Path)
	os.Remove(s.lock.Name())
	s.lock.Close()
}

// Sweep removes the folders under parent, empty for the system's, whose owner is dead. What it may not touch, it leaves.
func Sweep(parent, prefix string) error {
	if parent == "" {
		parent = os.TempDir()
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, prefix) || !strings.HasSuffix(name, lockSuffix) {
			continue
		}
		f, err := os.OpenFile(filepath.Join(parent, e.Name()), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if flock.Try(f) == nil && named(f) && os.RemoveAll(strings.TrimSuffix(f.Name(), lockSuffix)) == nil {
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

// Refused is the Problem of a system that gives no room for temporary files.
func Refused(err error) error {
	return &schemas.Problem{Kind: schemas.Environment, Message: "make a file for temporary data", Err: err, Hint: "free some space or set TMPDIR to a folder that can be written"}
}
