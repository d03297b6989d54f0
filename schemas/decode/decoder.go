package decode

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/millrace/millrace/schemas"
)

// Decoder gathers accepted records as rows of Arrow columns.
//
// Concurrency: not safe for concurrent use. Ownership: it copies what it needs from records; its buffers come from
// the allocator given to New and are freed by Close, those of a Batch when the batch is released.
type Decoder struct {
	fields []field
	byName map[string]int
	// next predicts which field follows field i-1 (0: the record's first), -1 where nothing is known.
	next    []int
	gen     uint32 // the record in hand, for field.seen
	found   int    // declared fields found in it
	rows    int
	columns []*column // the wanted ones, in order
	keys    []*column // of maps that are checked only
	system  system
	schema  *arrow.Schema
	work    scratch

	unknown  [][]byte // names the topic does not declare, in the record in hand
	extra    []byte   // their text for _extra, without the last brace
	unquoted []byte
	judgeOf  *jsontext.Decoder
	source   bytes.Buffer
}

type field struct {
	name    string
	quoted  string // the name and colon as most writers put them; empty if the name needs escapes
	node    *node
	notNull bool
	seen    uint32
}

// New makes a decoder for the topic's records that builds the wanted columns, declared or system, in this order. All
// declared fields are checked whatever is wanted. Errors: a wanted column the topic does not have, or comes twice.
func New(t *schemas.Topic, want []string, alloc memory.Allocator) (*Decoder, error) {
	d := &Decoder{byName: map[string]int{}, next: make([]int, len(t.Fields)+1), judgeOf: new(jsontext.Decoder)}
	for i := range d.next {
		d.next[i] = i
	}
	d.next[len(t.Fields)] = -1
	for i, f := range t.Fields {
		n := newNode(f.Type, f.Unit, &d.work)
		quoted, err := jsontext.AppendQuote(nil, f.Name)
		if err != nil {
			return nil, fmt.Errorf("decode %s: field %q: %w", t.Name, f.Name, err)
		}
		if string(quoted) != `"`+f.Name+`"` {
			quoted = nil
		} else {
			quoted = append(quoted, ':')
		}
		d.fields = append(d.fields, field{name: f.Name, quoted: string(quoted), node: n, notNull: f.NotNull})
		d.byName[f.Name] = i
	}
	var arrowFields []arrow.Field
	systemFields := schemas.SystemFields()
	for i, name := range want {
		if slices.Contains(want[:i], name) {
			return nil, fmt.Errorf("decode %s: the column %s is wanted twice", t.Name, name)
		}
		f, declared := t.Field(name)
		if !declared {
			at := slices.IndexFunc(systemFields, func(s schemas.Field) bool { return s.Name == name })
			if at < 0 {
				return nil, fmt.Errorf("decode %s: there is no column %s", t.Name, name)
			}
			f = systemFields[at]
		}
		c := newColumn(f.Type.Arrow(), alloc)
		d.columns = append(d.columns, c)
		arrowFields = append(arrowFields, arrow.Field{Name: name, Type: c.dtype, Nullable: true})
		if declared {
			d.fields[d.byName[name]].node.build(c)
		} else {
			d.system.build(name, c)
		}
	}
	for i := range d.fields {
		if n := d.fields[i].node; n.col == nil {
			d.keys = append(d.keys, n.checkOnly(alloc)...)
		}
	}
	d.schema = arrow.NewSchema(arrowFields, nil)
	return d, nil
}

// Append decodes one record. It returns nil if the record was accepted, which adds one row, and the reject otherwise,
// which leaves no trace in the columns. The reject owns copies of the record's bytes.
func (d *Decoder) Append(r *schemas.Record) *schemas.Reject {
	if r.Value == nil {
		return reject(r, "", "the record has no value")
	}
	if !d.fast(r.Value) {
		d.truncate()
		if field, reason := d.judge(r.Value); reason != "" {
			d.truncate()
			return reject(r, field, reason)
		}
	}
	d.system.append(r, d.extra)
	d.rows++
	return nil
}

func reject(r *schemas.Record, field, reason string) *schemas.Reject {
	out := &schemas.Reject{Record: *r, Field: field, Reason: reason}
	out.Key, out.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
	out.Headers = slices.Clone(r.Headers)
	for i, h := range out.Headers {
		out.Headers[i] = schemas.Header{Key: strings.Clone(h.Key), Value: bytes.Clone(h.Value)}
	}
	return out
}

// begin starts a record: no field found, nothing unknown.
func (d *Decoder) begin() {
	d.gen++
	if d.gen == 0 {
		for i := range d.fields {
			d.fields[i].seen = 0
		}
		d.gen = 1
	}
	d.found = 0
	d.unknown = d.unknown[:0]
	d.extra = d.extra[:0]
}

// finish makes the fields that were not found NULL and returns the first that may not be, -1 if all may.
func (d *Decoder) finish() int {
	if d.found < len(d.fields) {
		for i := range d.fields {
			if f := &d.fields[i]; f.seen != d.gen {
				if f.notNull {
					return i
				}
				f.node.null()
			}
		}
	}
	if len(d.extra) > 0 {
		d.extra = append(d.extra, '}')
	}
	return -1
}

// keep notes a member the topic does not declare, for _extra; name is its text in quotes.
func (d *Decoder) keep(name, value []byte) {
	if d.system.extra == nil {
		return
	}
	sep := byte(',')
	if len(d.extra) == 0 {
		sep = '{'
	}
	d.extra = append(append(append(d.extra, sep), name...), ':')
	d.extra = compact(d.extra, value)
}

// truncate takes back what the record in hand left in the columns.
func (d *Decoder) truncate() {
	for _, c := range d.columns {
		c.truncate(d.rows)
	}
}

// Len is the number of rows since the last Batch.
func (d *Decoder) Len() int { return d.rows }

// Bytes is the size of those rows in Arrow buffers. A text column holds at most 2 GiB: take a Batch long before.
func (d *Decoder) Bytes() int {
	size := 0
	for _, c := range d.columns {
		size += c.bytes()
	}
	return size
}

// Schema is the wanted columns with the Arrow types of their carriers.
func (d *Decoder) Schema() *arrow.Schema { return d.schema }

// Batch hands over the rows since the last Batch, possibly none; the caller releases it.
func (d *Decoder) Batch() arrow.RecordBatch {
	cols := make([]arrow.Array, len(d.columns))
	for i, c := range d.columns {
		data := c.take()
		cols[i] = array.MakeFromData(data)
		data.Release()
	}
	batch := array.NewRecordBatch(d.schema, cols, int64(d.rows))
	for _, c := range cols {
		c.Release()
	}
	d.rows = 0
	return batch
}

// Close frees the rows no Batch took. The decoder is not used afterwards.
func (d *Decoder) Close() {
	for _, c := range slices.Concat(d.columns, d.keys) {
		c.free()
	}
	d.rows = 0
}
