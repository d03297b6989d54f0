package jobs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/millrace/millrace/schemas"
)

// output is a file that is being written under a temporary name beside its place.
type output struct {
	path, temporary string
	file            *os.File
	sum             hash.Hash
	bytes           int64
}

// temporary is the name under which a run's output is written: a function of the run, so that the next run of the
// interval finds what a crash has left.
func temporary(path, job string, due time.Time) string {
	return filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s-%s.writing", job, due.UTC().Format("20060102T150405Z")))
}

func createOutput(path, job string, due time.Time) (*output, error) {
	o := &output{path: path, temporary: temporary(path, job, due), sum: sha256.New()}
	err := makeFolder(filepath.Dir(path))
	if err == nil {
		o.file, err = os.OpenFile(o.temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	}
	if err != nil {
		return nil, o.problem(err)
	}
	return o, nil
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	n, err := o.file.Write(p)
	o.sum.Write(p[:n])
	o.bytes += int64(n)
	if err != nil {
		err = o.problem(err)
	}
	return n, err
}

var _ io.Writer = (*output)(nil)

// finish makes what was written durable, under the temporary name still.
func (o *output) finish() error {
	err := errors.Join(o.file.Sync(), o.file.Close())
	o.file = nil
	if err != nil {
		return o.problem(err)
	}
	return nil
}

// place gives the file its name, in place of one that has it.
func (o *output) place() error {
	err := os.Rename(o.temporary, o.path)
	if err == nil {
		err = syncFolder(filepath.Dir(o.path))
	}
	if err != nil {
		return o.problem(err)
	}
	return nil
}

// drop removes the temporary file if it is still there.
func (o *output) drop() error {
	var err error
	if o.file != nil {
		err = o.file.Close()
	}
	if rerr := os.Remove(o.temporary); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

func (o *output) digest() string { return hex.EncodeToString(o.sum.Sum(nil)) }

func (o *output) problem(err error) error {
	return &schemas.Problem{Kind: schemas.Environment, Message: "write " + o.path, Err: err, Hint: "name an output in a folder that can be written and has room"}
}

// makeFolder makes a folder and what is missing above it, durably.
func makeFolder(path string) error {
	var missing []string
	for at := path; ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); err == nil || !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			break
		}
		missing = append(missing, filepath.Dir(at))
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	for _, parent := range missing {
		if err := syncFolder(parent); err != nil {
			return err
		}
	}
	return nil
}

// format is what an output's name says: its ending without the dot.
func format(path string) string { return strings.TrimPrefix(filepath.Ext(path), ".") }
