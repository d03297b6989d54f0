package batch

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"

	folders "github.com/millrace/millrace/pipelines/scratch"
	"github.com/millrace/millrace/schemas"
)

// scratch is a folder for files on their way into the store.
type scratch struct {
	dir    string
	folder *folders.Folder
	files  int
}

const buildPrefix = "millrace-build-"

// newScratch makes a folder under parent, empty for the system's, and sweeps out those whose owner was killed.
func newScratch(parent string) (*scratch, error) {
	f, err := folders.New(parent, buildPrefix)
	if err != nil {
		return nil, scratchProblem("make a scratch folder in "+parent, err)
	}
	return &scratch{dir: f.Path, folder: f}, nil
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
func (s *scratch) close() { s.folder.Close() }

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
