package source

import (
	"errors"
	"io"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/millrace/millrace/schemas"
)

// pq reads a Parquet file row by row; each row becomes a JSON object.
type pq struct {
	close  closers
	groups []parquet.RowGroup
	rows   parquet.Rows
	buf    []parquet.Row
	have   []parquet.Row
	eof    bool
	root   *node
	cols   [][]parquet.Value // what is left of the row, by leaf column
	line   int64
	limit  int64
	out    []byte

	size, total int64 // bytes of the file, rows in it
	read        *atomic.Int64
}

const rowsAtOnce = 256

func newParquet(path string, f *os.File, o Options, c closers) (Source, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, formatProblem(path, "parquet", err)
	}
	file, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, formatProblem(path, "parquet", err)
	}
	s := &pq{close: c, groups: file.RowGroups(), buf: make([]parquet.Row, rowsAtOnce), limit: o.Limit, size: info.Size(), total: file.NumRows(), read: o.Read}
	leaves := 0
	s.root = newNode(file.Root(), &leaves)
	for _, k := range s.root.kids {
		if fd, ok := o.Topic.Field(k.name); ok && fd.Type != nil && fd.Type.ID == schemas.Blob && k.leaf() && !k.text {
			k.write = writeBlob
		}
	}
	s.cols = make([][]parquet.Value, leaves)
	return s, nil
}

func (s *pq) Next() (int64, []byte, error) {
	row, err := s.row()
	if err != nil {
		return s.line + 1, nil, err
	}
	s.line++
	if s.total > 0 {
		s.read.Store(int64(float64(s.size) * float64(s.line) / float64(s.total)))
	}
	row.Range(func(i int, values []parquet.Value) bool {
		s.cols[i] = values
		return true
	})
	s.out = s.root.body(s.out[:0], s.cols)
	if int64(len(s.out)) > s.limit {
		return s.line, nil, &TooLongError{Size: int64(len(s.out)), Limit: s.limit}
	}
	return s.line, s.out, nil
}

func (s *pq) row() (parquet.Row, error) {
	for len(s.have) == 0 {
		if s.rows == nil {
			if len(s.groups) == 0 {
				return nil, io.EOF
			}
			s.rows, s.groups, s.eof = s.groups[0].Rows(), s.groups[1:], false
		}
		if s.eof {
			err := s.rows.Close()
			s.rows = nil
			if err != nil {
				return nil, err
			}
			continue
		}
		n, err := s.rows.ReadRows(s.buf)
		if s.eof = errors.Is(err, io.EOF); err != nil && !s.eof {
			return nil, err
		}
		s.have = s.buf[:n]
	}
	r := s.have[0]
	s.have = s.have[1:]
	return r, nil
}

func (s *pq) Close() error {
	if s.rows != nil {
		s.close = append(closers{s.rows.Close}, s.close...)
	}
	return s.close.Close()
}

// node is a column of the file's schema and how its values become JSON. Nulls and empty lists are told by the
// definition level of the first value of its first leaf, further elements by the repetition level.
type node struct {
	name        string
	label       []byte // `"name":`
	first, last int    // its leaf columns, [first, last)
	optional    bool
	repeated    bool
	def, rep    int
	kids        []*node
	list, dict  bool // a LIST or a MAP: kids[0] is the repeated one
	text        bool // a leaf that is declared to be text
	write       func(dst []byte, v parquet.Value) []byte
}

func newNode(c *parquet.Column, leaves *int) *node {
	n := &node{name: c.Name(), first: *leaves, optional: c.Optional(), repeated: c.Repeated(), def: c.MaxDefinitionLevel(), rep: c.MaxRepetitionLevel()}
	n.label = append(appendString(nil, []byte(n.name)), ':')
	if c.Leaf() {
		*leaves++
		n.last = *leaves
		n.write, n.text = writer(c.Type())
		return n
	}
	for _, k := range c.Columns() {
		n.kids = append(n.kids, newNode(k, leaves))
	}
	n.last = *leaves
	if len(n.kids) != 1 || !n.kids[0].repeated {
		return n
	}
	if lt := c.Type().LogicalType(); lt != nil {
		switch lt.Value.(type) {
		case *format.ListType:
			n.list = true
		case *format.MapType:
			n.dict = len(n.kids[0].kids) == 2
		}
	}
	return n
}

func (n *node) leaf() bool { return n.write != nil }

// value appends the node's value and consumes it from cols.
func (n *node) value(dst []byte, cols [][]parquet.Value) []byte {
	switch {
	case n.repeated:
		return n.elements(dst, cols, '[', ']', n.body)
	case n.optional && n.absent(cols):
		n.skip(cols)
		return append(dst, "null"...)
	}
	return n.body(dst, cols)
}

// body appends the value of a node that is there.
func (n *node) body(dst []byte, cols [][]parquet.Value) []byte {
	switch {
	case n.leaf():
		v := cols[n.first][0]
		cols[n.first] = cols[n.first][1:]
		return n.write(dst, v)
	case n.list:
		k := n.kids[0]
		element := k.body
		if !k.leaf() && len(k.kids) == 1 && k.name != "array" && k.name != n.name+"_tuple" { // else the two-level form
			element = k.kids[0].value
		}
		return k.elements(dst, cols, '[', ']', element)
	case n.dict:
		return n.kids[0].elements(dst, cols, '{', '}', n.kids[0].entry)
	}
	dst = append(dst, '{')
	for i, k := range n.kids {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, k.label...)
		dst = k.value(dst, cols)
	}
	return append(dst, '}')
}

// entry appends a map's entry; JSON's names are strings.
func (n *node) entry(dst []byte, cols [][]parquet.Value) []byte {
	from := len(dst)
	dst = n.kids[0].value(dst, cols)
	if key := dst[from:]; len(key) == 0 || key[0] != '"' {
		dst = appendString(dst[:from], append([]byte(nil), key...))
	}
	return n.kids[1].value(append(dst, ':'), cols)
}

// elements appends what a repeated node holds.
func (n *node) elements(dst []byte, cols [][]parquet.Value, open, end byte, element func([]byte, [][]parquet.Value) []byte) []byte {
	dst = append(dst, open)
	if n.absent(cols) {
		n.skip(cols)
		return append(dst, end)
	}
	for {
		dst = element(dst, cols)
		if rest := cols[n.first]; len(rest) == 0 || rest[0].RepetitionLevel() != n.rep {
			return append(dst, end)
		}
		dst = append(dst, ',')
	}
}

func (n *node) absent(cols [][]parquet.Value) bool {
	v := cols[n.first]
	return len(v) == 0 || v[0].DefinitionLevel() < n.def
}

func (n *node) skip(cols [][]parquet.Value) {
	for i := n.first; i < n.last; i++ {
		if len(cols[i]) > 0 {
			cols[i] = cols[i][1:]
		}
	}
}

func quoted(dst []byte, s string) []byte { return append(append(append(dst, '"'), s...), '"') }

func appendInt(dst []byte, v int64) []byte { return strconv.AppendInt(dst, v, 10) }
