// Package source reads what people have (NDJSON, CSV and Parquet, plain, gzipped or as zstd, files or standard input)
// as a sequence of JSON payloads, each with the number of the line or row it came from.
//
// Nothing is judged here: what cannot become JSON (a CSV row whose quotes do not match) comes out as its raw bytes, for
// the decoder to refuse and the log to keep.
package source

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/millrace/millrace/schemas"
)

// Source is a sequence of payloads. Next returns io.EOF after the last, and a *TooLongError for a payload over the
// limit, after which it goes on with the next one.
//
// Shape: line counts from 1: the line of the file on which the payload starts, or the row of a Parquet file.
// Ownership: the payload is valid until the next call. Concurrency: one caller at a time.
type Source interface {
	Next() (line int64, payload []byte, err error)
	Close() error
}

// Waiter is a Source that can say whether Next may have to wait for more input.
type Waiter interface {
	Waits() bool
}

// Format is how a file holds its records.
type Format string

// The formats; Auto tells by the file's name, and takes NDJSON for standard input and names that tell nothing.
const (
	Auto    Format = ""
	NDJSON  Format = "ndjson"
	CSV     Format = "csv"
	TSV     Format = "tsv"
	Parquet Format = "parquet"
)

// Options say how to open a source.
type Options struct {
	Format Format
	Topic  *schemas.Topic
	Limit  int64         // Bytes of a payload; 0: the topic's max_record
	Stdin  io.Reader     // what "-" reads; nil: os.Stdin
	Read   *atomic.Int64 // if not nil, grows by the bytes consumed of the file, compressed ones as they are
}

// TooLongError is a payload over the limit. Size is what is known of its length; it may be longer.
type TooLongError struct {
	Size, Limit int64
}

func (e *TooLongError) Error() string {
	return fmt.Sprintf("longer than max_record (%d bytes; the limit is %d)", e.Size, e.Limit)
}

// Open opens a file, or standard input for "-".
//
// Errors: a *schemas.Problem of kind Usage for a file that is not there, cannot be read, or is not of its format.
func Open(path string, o Options) (Source, error) {
	if o.Limit == 0 {
		o.Limit = o.Topic.MaxRecord
	}
	if o.Limit <= 0 {
		o.Limit = schemas.DefaultMaxRecord
	}
	if o.Read == nil {
		o.Read = new(atomic.Int64)
	}
	name, packed := unpacked(path)
	if o.Format == Auto {
		o.Format = formatOf(name)
	}
	var f *os.File
	in := o.Stdin
	switch {
	case path == "-" && in == nil:
		in = os.Stdin
	case path != "-":
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, &schemas.Problem{Kind: schemas.Usage, Message: "the input cannot be opened", Err: err, Hint: "check the file's name and that you may read it"}
		}
		if info, err := f.Stat(); err == nil && info.IsDir() {
			f.Close()
			return nil, &schemas.Problem{Kind: schemas.Usage, File: path, Message: "the input is a folder", Hint: "name the files in it"}
		}
		in = f
	}
	s, err := open(path, in, f, packed, o)
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, err
	}
	return s, nil
}

func open(path string, in io.Reader, f *os.File, packed packing, o Options) (Source, error) {
	plain, done, err := unpack(&counter{r: in, n: o.Read}, packed)
	if err != nil {
		return nil, formatProblem(path, string(packed), err)
	}
	closers := closers{done}
	if f != nil {
		closers = append(closers, f.Close)
	}
	switch o.Format {
	case NDJSON:
		return &ndjson{lines: newLines(plain, o.Limit), close: closers}, nil
	case CSV, TSV:
		return newCSV(path, newLines(plain, o.Limit), o, closers)
	case Parquet:
		if packed == none && f != nil {
			return newParquet(path, f, o, closers)
		}
		tmp, err := spool(plain)
		if err != nil {
			return nil, formatProblem(path, "parquet", err)
		}
		return newParquet(path, tmp, o, append(closers, tmp.Close))
	}
	return nil, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("unknown format %q", o.Format), Hint: "use ndjson, csv, tsv or parquet"}
}

// Size is the number of bytes that reading the path will consume, 0 if that cannot be known.
func Size(path string) int64 {
	if info, err := os.Stat(path); path != "-" && err == nil && info.Mode().IsRegular() {
		return info.Size()
	}
	return 0
}

// Spool copies a stream to a temporary file that is gone when it is closed.
func Spool(r io.Reader) (*os.File, error) { return spool(r) }

func spool(r io.Reader) (*os.File, error) {
	f, err := os.CreateTemp("", "millrace-input-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

type packing string

const (
	none    packing = ""
	gzipped packing = "gzip"
	zstded  packing = "zstd"
)

// unpacked splits a path into the name without its packing's extension and the packing.
func unpacked(path string) (string, packing) {
	low := strings.ToLower(path)
	switch filepath.Ext(low) {
	case ".gz", ".gzip":
		return strings.TrimSuffix(strings.TrimSuffix(low, ".gzip"), ".gz"), gzipped
	case ".zst", ".zstd":
		return strings.TrimSuffix(strings.TrimSuffix(low, ".zstd"), ".zst"), zstded
	}
	return low, none
}

func formatOf(name string) Format {
	switch filepath.Ext(name) {
	case ".csv":
		return CSV
	case ".tsv":
		return TSV
	case ".parquet", ".pq", ".parq":
		return Parquet
	}
	return NDJSON
}

func unpack(r io.Reader, p packing) (io.Reader, func() error, error) {
	nothing := func() error { return nil }
	switch p {
	case gzipped:
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	case zstded:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, err
		}
		return z, func() error { z.Close(); return nil }, nil
	}
	return r, nothing, nil
}

func formatProblem(path, format string, err error) error {
	return &schemas.Problem{Kind: schemas.Usage, File: path, Message: "the input is not " + format, Err: err, Hint: "name its format, or check that the file is whole"}
}

type counter struct {
	r io.Reader
	n *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

type closers []func() error

func (c closers) Close() error {
	var errs []error
	for _, f := range c {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}
