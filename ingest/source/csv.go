package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/millrace/millrace/schemas"
)

// csv reads RFC 4180 rows under a header row. Each row becomes a JSON object: a cell is a JSON string, for the decoder
// takes plain literals; an empty unquoted cell is null; a cell of a nested or JSON field that is JSON is embedded.
// A row with fewer cells than the header lacks the rest; cells beyond it are named column6, column7 and so on.
type csv struct {
	lines *lines
	close closers
	comma byte
	limit int64
	names [][]byte // `"name":`
	embed []bool   // cells that may hold JSON

	row   []byte // the raw row, its end included
	cells []cell
	out   []byte
}

// cell lies in csv.row. Doubled quotes are still doubled.
type cell struct {
	from, to       int
	quoted, double bool
}

func newCSV(path string, l *lines, o Options, c closers) (Source, error) {
	s := &csv{lines: l, close: c, comma: ',', limit: o.Limit}
	if o.Format == TSV {
		s.comma = '\t'
	}
	l.comma = s.comma
	for {
		state, err := s.read()
		if errors.Is(err, io.EOF) {
			return s, nil // an empty file has no rows
		}
		if err == nil && state != rowWhole {
			err = fmt.Errorf("line %d: a quote is not closed", l.n)
		}
		if err != nil {
			return nil, formatProblem(path, string(o.Format), err)
		}
		if !blank(s.row) {
			break
		}
	}
	seen := map[string]int{}
	for i, c := range s.cells {
		name := string(s.text(c))
		if name == "" {
			name = fmt.Sprintf("column%d", i+1)
		}
		if first, ok := seen[name]; ok {
			return nil, &schemas.Problem{Kind: schemas.Usage, File: path, Line: int(l.n), Message: fmt.Sprintf("columns %d and %d are both named %q", first+1, i+1, name), Hint: "give each column its own name in the header row"}
		}
		seen[name] = i
		f, ok := o.Topic.Field(name)
		s.names = append(s.names, append(appendString(nil, []byte(name)), ':'))
		s.embed = append(s.embed, ok && f.Type != nil && (f.Type.Nested() || f.Type.ID == schemas.JSON))
	}
	return s, nil
}

func (s *csv) Next() (int64, []byte, error) {
	for {
		at := s.lines.n + 1
		state, err := s.read()
		if err != nil {
			return at, nil, err
		}
		if blank(s.row) {
			continue
		}
		if state != rowWhole {
			return at, trimEnd(s.row), nil
		}
		s.object()
		if int64(len(s.out)) > s.limit {
			return at, nil, &TooLongError{Size: int64(len(s.out)), Limit: s.limit}
		}
		return at, s.out, nil
	}
}

func (s *csv) Waits() bool  { return s.lines.waits() }
func (s *csv) Close() error { return s.close.Close() }

type rowState int

const (
	rowWhole rowState = iota
	rowOpen           // a quote is open at the end
	rowBad            // text after a closing quote
)

// read reads one row, which may span lines, into s.row and s.cells. A row over the limit is read to its end.
func (s *csv) read() (rowState, error) {
	s.row, s.cells = s.row[:0], s.cells[:0]
	pos, over := 0, int64(0)
	at := cellStart // where the line before ended
	for {
		s.lines.at = at
		line, err := s.lines.next()
		size := int64(len(line))
		tooLong, isLong := err.(*TooLongError) //nolint:errorlint // lines returns it as it is
		switch {
		case errors.Is(err, io.EOF) && over > 0:
			return rowOpen, &TooLongError{Size: over, Limit: s.limit}
		case errors.Is(err, io.EOF) && len(s.row) > 0:
			return rowOpen, nil
		case isLong:
			size, at = tooLong.Size, s.lines.at
			over, s.row, s.cells = over+int64(len(s.row)), s.row[:0], s.cells[:0]
		case err != nil:
			return rowBad, err
		case over > 0:
			at = at.after(line, s.comma)
		}
		if isLong || over > 0 {
			if over += size; at != cellQuoted {
				return rowBad, &TooLongError{Size: over, Limit: s.limit}
			}
			continue
		}
		s.row = append(s.row, line...)
		var state rowState
		if pos, state = s.parse(pos); state != rowOpen {
			return state, nil
		}
		at = cellQuoted
		if int64(len(s.row)) > s.limit {
			over, s.row = int64(len(s.row)), s.row[:0]
		}
	}
}

// cellState is a place in a row that is not kept: where its row ends must be known all the same.
type cellState int

const (
	cellStart cellState = iota
	cellPlain
	cellQuoted
	cellClosing // after a quote in a quoted cell: its end, or the first of two
)

// after is the place after more text of the row.
func (at cellState) after(text []byte, comma byte) cellState {
	for _, c := range text {
		switch {
		case at == cellQuoted && c == '"':
			at = cellClosing
		case at == cellQuoted:
		case c == '"' && at != cellPlain:
			at = cellQuoted
		case c == comma:
			at = cellStart
		default:
			at = cellPlain
		}
	}
	return at
}

// parse goes on at pos, the start of a cell, or inside the quoted cell that is last in s.cells (then to is -1).
func (s *csv) parse(pos int) (int, rowState) {
	end := len(trimEnd(s.row))
	for {
		if n := len(s.cells); n > 0 && s.cells[n-1].to < 0 {
			c := &s.cells[n-1]
			q := bytes.IndexByte(s.row[pos:], '"')
			if q < 0 {
				return len(s.row), rowOpen
			}
			pos += q + 1
			if pos < len(s.row) && s.row[pos] == '"' {
				c.double = true
				pos++
				continue
			}
			c.to = pos - 1
			if pos >= end {
				return pos, rowWhole
			}
			if s.row[pos] != s.comma {
				return pos, rowBad
			}
			pos++
		}
		if pos < end && s.row[pos] == '"' {
			s.cells = append(s.cells, cell{from: pos + 1, to: -1, quoted: true})
			pos++
			continue
		}
		i := bytes.IndexByte(s.row[pos:end], s.comma)
		if i < 0 {
			s.cells = append(s.cells, cell{from: pos, to: end})
			return end, rowWhole
		}
		s.cells = append(s.cells, cell{from: pos, to: pos + i})
		pos += i + 1
	}
}

func (s *csv) text(c cell) []byte {
	text := s.row[c.from:c.to]
	if c.double {
		text = bytes.ReplaceAll(text, []byte(`""`), []byte(`"`))
	}
	return text
}

func (s *csv) object() {
	s.out = append(s.out[:0], '{')
	for i, c := range s.cells {
		if i > 0 {
			s.out = append(s.out, ',')
		}
		if i < len(s.names) {
			s.out = append(s.out, s.names[i]...)
		} else {
			s.out = fmt.Appendf(s.out, `"column%d":`, i+1)
		}
		text := s.text(c)
		switch {
		case len(text) == 0 && !c.quoted:
			s.out = append(s.out, "null"...)
		case i < len(s.embed) && s.embed[i] && json.Valid(text):
			s.out = append(s.out, text...)
		default:
			s.out = appendString(s.out, text)
		}
	}
	s.out = append(s.out, '}')
}

const hexDigits = "0123456789abcdef"

// appendString appends text as a JSON string. Bytes that are not UTF-8 are kept: the decoder refuses them, and the log
// has them as they were.
func appendString(dst, text []byte) []byte {
	dst = append(dst, '"')
	from := 0
	for i, c := range text {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, text[from:]...)
	return append(dst, '"')
}

// printable says whether the bytes can be shown as text.
func printable(b []byte) bool { return utf8.Valid(b) }
