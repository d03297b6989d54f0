package batch

import (
	"context"
	"math"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"

	"github.com/millrace/millrace/schemas"
)

var rejectSchema = arrow.NewSchema([]arrow.Field{
	{Name: "_partition", Type: arrow.PrimitiveTypes.Int32},
	{Name: "_offset", Type: arrow.PrimitiveTypes.Int64},
	{Name: "_timestamp", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}},
	{Name: "_key", Type: arrow.BinaryTypes.Binary, Nullable: true},
	{Name: "_headers", Type: arrow.ListOf(arrow.StructOf(
		arrow.Field{Name: "key", Type: arrow.BinaryTypes.String}, arrow.Field{Name: "value", Type: arrow.BinaryTypes.Binary, Nullable: true}))},
	{Name: "value", Type: arrow.BinaryTypes.Binary, Nullable: true},
	{Name: "field", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "reason", Type: arrow.BinaryTypes.String},
}, nil)

// Rows and bytes of rejects that are gathered before they go to the file.
const (
	rejectRows  = 4096
	rejectBytes = 8 << 20
)

// rejects writes refused records to a Parquet file, some at a time. The file is begun at the first.
type rejects struct {
	*output
	rows  *array.RecordBuilder
	n     int
	bytes int
}

func newRejects(ctx context.Context, in *Input, s *scratch) *rejects {
	return &rejects{output: &output{ctx: ctx, in: in, scratch: s, list: "*"}, rows: array.NewRecordBuilder(mallocator.NewMallocator(), rejectSchema)}
}

func (j *rejects) close() {
	j.rows.Release()
	j.output.close()
}

func (j *rejects) flush() error {
	batch := j.rows.NewRecordBatch()
	defer batch.Release()
	j.n, j.bytes = 0, 0
	return j.write(batch)
}

// finish ends the file and notes it.
func (j *rejects) finish(m *made) (err error) {
	if j.n > 0 {
		if err := j.flush(); err != nil {
			return err
		}
	}
	return j.note(m, &m.Rejects, "rejects/")
}

// add takes a reject as a row.
func (j *rejects) add(r *schemas.Reject) error {
	j.rows.Field(0).(*array.Int32Builder).Append(r.Partition)
	j.rows.Field(1).(*array.Int64Builder).Append(r.Offset)
	j.rows.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(min(max(r.Timestamp, minMicros/1000), maxMicros/1000) * 1000))
	blob(j.rows.Field(3), r.Key)
	headers := j.rows.Field(4).(*array.ListBuilder)
	headers.Append(true)
	pair := headers.ValueBuilder().(*array.StructBuilder)
	for _, h := range r.Headers {
		pair.Append(true)
		pair.FieldBuilder(0).(*array.StringBuilder).Append(text(h.Key))
		blob(pair.FieldBuilder(1), h.Value)
	}
	blob(j.rows.Field(5), r.Value)
	if field := j.rows.Field(6).(*array.StringBuilder); r.Field == "" {
		field.AppendNull()
	} else {
		field.Append(text(r.Field))
	}
	j.rows.Field(7).(*array.StringBuilder).Append(text(r.Reason))
	j.n++
	j.bytes += len(r.Value) + len(r.Key)
	if j.n < rejectRows && j.bytes < rejectBytes {
		return nil
	}
	return j.flush()
}

// The moments that DuckDB's timestamps reach, as in package decode: a producer's clock can be any int64.
const minMicros, maxMicros = -9223372022400000000, math.MaxInt64 - 1

// text is what DuckDB takes for one: Kafka's protocol says UTF-8, but brokers do not check.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func blob(b array.Builder, v []byte) {
	if v == nil {
		b.AppendNull()
		return
	}
	b.(*array.BinaryBuilder).Append(v)
}
