package slicelog

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"
)

// allocator hands out memory outside Go's heap, as whoever gives the rows to DuckDB needs it.
var allocator = mallocator.NewMallocator()

// EncodeRows writes state rows as a slice's payload, compressed: rows of several groupings are NULL in most columns.
func EncodeRows(rows arrow.RecordBatch) ([]byte, error) {
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(rows.Schema()), ipc.WithLZ4(), ipc.WithCompressConcurrency(1))
	err := errors.Join(w.Write(rows), w.Close())
	return b.Bytes(), err
}

// DecodeRows reads a payload whole. Ownership: the caller releases the batches. Errors: one that is not whole, or whose
// rows are not of the schema; DuckDB is handed the columns as they lie in memory, so it must not be given others than it
// was told of.
func DecodeRows(payload []byte, schema *arrow.Schema) (rows []arrow.RecordBatch, err error) {
	defer func() {
		if err != nil {
			ReleaseRows(rows)
			rows = nil
		}
	}()
	r, err := ipc.NewReader(bytes.NewReader(payload), ipc.WithAllocator(allocator))
	if err != nil {
		return nil, err
	}
	defer r.Release()
	if !r.Schema().Equal(schema) {
		return nil, fmt.Errorf("rows of %s, want %s", r.Schema(), schema)
	}
	for r.Next() {
		b := r.RecordBatch()
		b.Retain()
		rows = append(rows, b)
	}
	return rows, r.Err()
}

// CutRows is a copy of the rows [from, to) of a batch. A view of them will not do for DuckDB: what a struct holds would be taken from
// twice as far. Ownership: the caller releases it.
func CutRows(b arrow.RecordBatch, from, to int) (arrow.RecordBatch, error) {
	columns := make([]arrow.Array, 0, b.NumCols())
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	for _, c := range b.Columns() {
		part := array.NewSlice(c, int64(from), int64(to))
		whole, err := array.Concatenate([]arrow.Array{part}, allocator)
		part.Release()
		if err != nil {
			return nil, err
		}
		columns = append(columns, whole)
	}
	return array.NewRecordBatch(b.Schema(), columns, int64(to-from)), nil
}

// ReleaseRows gives batches free.
func ReleaseRows(rows []arrow.RecordBatch) {
	for _, b := range rows {
		b.Release()
	}
}
