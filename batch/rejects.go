package batch

import (
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

// rejects gathers refused records as rows.
type rejects struct{ rows *array.RecordBuilder }

func newRejects() *rejects {
	return &rejects{array.NewRecordBuilder(mallocator.NewMallocator(), rejectSchema)}
}

func (j *rejects) release() { j.rows.Release() }

func (j *rejects) batch() arrow.RecordBatch { return j.rows.NewRecordBatch() }

func (j *rejects) add(r *schemas.Reject) {
	j.rows.Field(0).(*array.Int32Builder).Append(r.Partition)
	j.rows.Field(1).(*array.Int64Builder).Append(r.Offset)
	j.rows.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(r.Timestamp * 1000))
	blob(j.rows.Field(3), r.Key)
	headers := j.rows.Field(4).(*array.ListBuilder)
	headers.Append(true)
	pair := headers.ValueBuilder().(*array.StructBuilder)
	for _, h := range r.Headers {
		pair.Append(true)
		pair.FieldBuilder(0).(*array.StringBuilder).Append(h.Key)
		blob(pair.FieldBuilder(1), h.Value)
	}
	blob(j.rows.Field(5), r.Value)
	if field := j.rows.Field(6).(*array.StringBuilder); r.Field == "" {
		field.AppendNull()
	} else {
		field.Append(r.Field)
	}
	j.rows.Field(7).(*array.StringBuilder).Append(r.Reason)
}

func blob(b array.Builder, v []byte) {
	if v == nil {
		b.AppendNull()
		return
	}
	b.(*array.BinaryBuilder).Append(v)
}
