package source

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// lines reads lines of bounded length.
type lines struct {
	r     *bufio.Reader
	limit int64
	n     int64  // of the line last read
	long  []byte // a line longer than the reader's buffer
	begun bool

	comma byte      // of CSV; 0: the lines are of another format
	at    cellState // of CSV: where a line begins, and where it ended if it was over the limit
}

const readBuffer = 1 << 20

var bom = []byte("\xef\xbb\xbf")

func newLines(r io.Reader, limit int64) *lines {
	return &lines{r: bufio.NewReaderSize(r, readBuffer), limit: limit}
}

// next returns the next line with its end ("\n", or nothing at the end of the file). A line over the limit is read to
// its end and answered by a *TooLongError. Ownership: the line is valid until the next call.
func (l *lines) next() ([]byte, error) {
	if !l.begun {
		l.begun = true
		if head, _ := l.r.Peek(len(bom)); bytes.Equal(head, bom) {
			_, _ = l.r.Discard(len(bom)) // it has been peeked at
		}
	}
	line, err := l.r.ReadSlice('\n')
	l.n++
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = l.rest(line)
	}
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	if size := int64(len(trimEnd(line))); size > l.limit {
		l.pass(line)
		return nil, &TooLongError{Size: size, Limit: l.limit}
	}
	return line, nil
}

// rest reads on a line that is longer than the buffer: it is kept up to the limit and only counted beyond.
func (l *lines) rest(line []byte) ([]byte, error) {
	l.long = append(l.long[:0], line...)
	size := int64(len(line))
	begin := l.at
	l.pass(line)
	for {
		more, err := l.r.ReadSlice('\n')
		size += int64(len(more))
		l.pass(more)
		if size <= l.limit+2 { // the end of the line does not count
			l.long = append(l.long, more...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil && err != io.EOF:
			return nil, err
		case size > l.limit+2:
			return nil, &TooLongError{Size: size - int64(len(more)-len(trimEnd(more))), Limit: l.limit}
		default:
			l.at = begin // next may find it too long yet
			return l.long, nil
		}
	}
}

// pass moves at over text that is not kept.
func (l *lines) pass(text []byte) {
	if l.comma != 0 {
		l.at = l.at.after(text, l.comma)
	}
}

// waits says whether the next line may not be in memory yet.
func (l *lines) waits() bool {
	n := l.r.Buffered()
	if n == 0 {
		return true
	}
	head, _ := l.r.Peek(n)
	return bytes.IndexByte(head, '\n') < 0
}

func trimEnd(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r"))
}

func blank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

// ndjson is one payload a line; blank lines are skipped.
type ndjson struct {
	lines *lines
	close closers
}

func (s *ndjson) Next() (int64, []byte, error) {
	for {
		line, err := s.lines.next()
		if err != nil {
			return s.lines.n, nil, err
		}
		if !blank(line) {
			return s.lines.n, trimEnd(line), nil
		}
	}
}

func (s *ndjson) Waits() bool  { return s.lines.waits() }
func (s *ndjson) Close() error { return s.close.Close() }
