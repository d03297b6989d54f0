package ingest

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/millrace/millrace/ingest/source"
	"github.com/millrace/millrace/schemas"
)

// input is all files of a call as one sequence of lines, numbered through.
type input struct {
	o     *Options
	stdin *bufio.Reader
	next  int // the file to open next
	src   source.Source
	base  int64 // lines of the files before
	line  int64 // the last line of this file
	read  atomic.Int64
	done  atomic.Int64 // bytes of the files before
	total int64
}

func openInput(o *Options) (*input, error) {
	in := &input{o: o}
	stdin := 0
	for _, f := range o.Files {
		size := source.Size(f)
		if size == 0 {
			in.total = -1
		}
		if in.total >= 0 {
			in.total += size
		}
		if f == "-" {
			stdin++
			r := o.Stdin
			if r == nil {
				r = os.Stdin
			}
			in.stdin = bufio.NewReaderSize(r, headBytes)
			continue
		}
		// A file that is not there must be known before the first line is sent.
		fh, err := os.Open(f)
		if err != nil {
			return nil, &schemas.Problem{Kind: schemas.Usage, Message: "the input cannot be opened", Err: err, Hint: "check the file's name and that you may read it"}
		}
		fh.Close()
	}
	if stdin > 1 {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: "standard input is named twice", Hint: "name - once"}
	}
	in.total = max(0, in.total)
	return in, nil
}

// Next goes through the files. Its line counts over all of them.
func (in *input) Next() (int64, []byte, error) {
	for {
		if in.src == nil {
			if in.next == len(in.o.Files) {
				return in.base, nil, io.EOF
			}
			opts := source.Options{Format: in.o.Format, Topic: in.o.Topic, Limit: maxRecord(in.o.Topic), Read: &in.read}
			if in.stdin != nil {
				opts.Stdin = in.stdin
			}
			src, err := source.Open(in.o.Files[in.next], opts)
			if err != nil {
				return in.base, nil, err
			}
			in.src, in.line = src, 0
			in.next++
		}
		line, payload, err := in.src.Next()
		in.line = max(in.line, line)
		if !errors.Is(err, io.EOF) {
			var long *source.TooLongError
			if err != nil && !errors.As(err, &long) {
				err = &schemas.Problem{Kind: schemas.Failed, File: in.o.Files[in.next-1], Line: int(line), Message: "the input cannot be read on", Err: err, Hint: "check that the file is whole; the lines before were sent"}
			}
			return in.base + line, payload, err
		}
		in.base += in.line
		if err := in.close(); err != nil {
			return in.base, nil, err
		}
		in.done.Add(in.read.Swap(0))
	}
}

// Waits says whether Next may have to wait for more input.
func (in *input) Waits() bool {
	w, ok := in.src.(source.Waiter)
	return ok && in.src != nil && w.Waits()
}

func (in *input) close() error {
	if in.src == nil {
		return nil
	}
	err := in.src.Close()
	in.src = nil
	return err
}

func (in *input) bytes() int64 { return in.done.Load() + in.read.Load() }

const headBytes = 64 << 10

// look is what an input looked like when a run of an ID began.
type look struct {
	Size int64  `json:"size"` // Bytes; -1 for standard input
	Head string `json:"head"` // SHA-256 of the first 64 KiB of a file, of the first line of standard input
}

// looks describes the files of a call. Names take no part: the same file may be named from elsewhere.
func (in *input) looks() ([]look, error) {
	var out []look
	for _, name := range in.o.Files {
		var head []byte
		size := int64(-1)
		if name == "-" {
			for n := 1; n <= headBytes; n *= 2 {
				h, err := in.stdin.Peek(n)
				head = h
				if i := indexLine(h); i >= 0 {
					head = h[:i]
					break
				}
				if err != nil {
					break
				}
			}
		} else {
			f, err := os.Open(name)
			if err != nil {
				return nil, err
			}
			size = source.Size(name)
			head, err = io.ReadAll(io.LimitReader(f, headBytes))
			f.Close()
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", name, err)
			}
		}
		sum := sha256.Sum256(head)
		out = append(out, look{Size: size, Head: hex.EncodeToString(sum[:])})
	}
	return out, nil
}

func indexLine(b []byte) int {
	for i, c := range b {
		if c == '\n' {
			return i
		}
	}
	return -1
}
