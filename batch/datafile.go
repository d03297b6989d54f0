package batch

import (
	"context"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/millrace/millrace/schemas/manifest"
)

// output is a Parquet file in scratch that is begun when its first batch comes.
type output struct {
	ctx     context.Context
	in      *Input
	scratch *scratch
	list    string // the select list over the batches
	local   string
	writer  *writer
}

func (o *output) write(b arrow.RecordBatch) (err error) {
	if o.writer == nil {
		o.local = o.scratch.path()
		if o.writer, err = newWriter(o.ctx, o.in.limits(o.scratch), b.Schema(), o.list, o.local); err != nil {
			return err
		}
	}
	if err := o.writer.write(b); err != nil {
		return scratchProblem("write to "+o.scratch.dir, err)
	}
	return nil
}

// note ends the file, if there is one, and notes it under the folder.
func (o *output) note(m *made, f *manifest.File, folder string) (err error) {
	if o.writer == nil {
		return nil
	}
	if err := o.writer.finish(); err != nil {
		return scratchProblem("write to "+o.scratch.dir, err)
	}
	f.Path, f.Records, f.Bytes, f.CRC32C, err = m.file(folder+rangeName(f.Range()), o.local)
	return err
}

func (o *output) close() {
	if o.writer != nil {
		o.writer.close()
	}
}

// dataFile writes accepted records as the kernel decodes them, and notes their times.
type dataFile struct {
	*output
	event, append        int // columns of the event and the append time, -1 for none
	minEvent, maxEvent   int64
	minAppend, maxAppend int64
}

func newDataFile(ctx context.Context, in *Input, s *scratch) *dataFile {
	d := &dataFile{output: &output{ctx: ctx, in: in, scratch: s, list: stored(in.Topic)}, event: -1, append: -1,
		minEvent: math.MaxInt64, maxEvent: math.MinInt64, minAppend: math.MaxInt64, maxAppend: math.MinInt64}
	for i, f := range fieldsOf(in.Topic) {
		if e := in.Topic.EventTime; e != nil && e.Unit == "" && f.Name == e.Field {
			d.event = i
		}
		if f.Name == "_timestamp" {
			d.append = i
		}
	}
	return d
}

// add sees each batch that the kernel decodes. The last offset of one is below the first of the next, which the file's
// readers count on.
func (d *dataFile) add(_ int32, b arrow.RecordBatch) error {
	if d.event >= 0 {
		widen(b.Column(d.event), &d.minEvent, &d.maxEvent)
	}
	widen(b.Column(d.append), &d.minAppend, &d.maxAppend)
	return d.write(b)
}

func (d *dataFile) finish(m *made) error {
	if err := d.note(m, &m.Data, "data/"); err != nil {
		return err
	}
	if d.minEvent <= d.maxEvent {
		m.Data.MinEvent, m.Data.MaxEvent = &d.minEvent, &d.maxEvent
	}
	if d.minAppend <= d.maxAppend {
		m.Data.MinAppend, m.Data.MaxAppend = d.minAppend/1000, d.maxAppend/1000
	}
	return nil
}

// widen moves bounds in microseconds out to a column's values.
func widen(column arrow.Array, low, high *int64) {
	scale, fraction := int64(1), int64(1)
	at := func(i int) int64 { return int64(column.(*array.Timestamp).Value(i)) }
	switch t := column.DataType().(type) {
	case *arrow.TimestampType:
		switch t.Unit {
		case arrow.Second:
			scale = 1_000_000
		case arrow.Millisecond:
			scale = 1000
		case arrow.Nanosecond:
			fraction = 1000
		}
	case *arrow.Date32Type:
		scale = 86_400_000_000
		at = func(i int) int64 { return int64(column.(*array.Date32).Value(i)) }
	}
	lowest, highest := int64(math.MaxInt64), int64(math.MinInt64)
	for i := range column.Len() {
		if column.IsValid(i) {
			v := at(i)
			lowest, highest = min(lowest, v), max(highest, v)
		}
	}
	if lowest > highest {
		return
	}
	*low = min(*low, times(floor(lowest, fraction), scale))
	*high = max(*high, times(-floor(-highest, fraction), scale))
}

// times is a product that stops at the ends of int64: a DATE reaches farther than microseconds do.
func times(v, by int64) int64 {
	return min(max(v, math.MinInt64/by), math.MaxInt64/by) * by
}

func floor(v, by int64) int64 {
	q := v / by
	if v%by < 0 {
		q--
	}
	return q
}
