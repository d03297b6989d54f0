package serving

import (
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/millrace/millrace/pipelines/views"
)

// Rows are narrowed to a value of their first key wherever it lies, and left whole where the value cannot be compared.
func TestNarrow(t *testing.T) {
	for _, c := range []struct {
		keys     []string // the last one may be NULL
		constant string
		want     string
	}{
		{[]string{"a", "b", "b", "c"}, "'b'", "[b b]"},
		{[]string{"a", "b", "b", "c"}, "'a'", "[a]"},
		{[]string{"a", "b", "b", "c", "NULL"}, "'c'", "[c]"},
		{[]string{"a", "b", "it's"}, "'it''s'", "[it's]"},
		{[]string{"a", "b"}, "'aa'", "[]"},
		{[]string{"a", "b", "NULL"}, "'z'", "[]"},
		{[]string{"NULL"}, "'z'", "[]"},
		{nil, "'z'", "[]"},
		{[]string{"a", "b"}, "'a' || 'b'", "[a b]"},
		{[]string{"a", "b"}, "7", "[a b]"},
	} {
		b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "k0", Type: arrow.BinaryTypes.String, Nullable: true}}, nil))
		for _, k := range c.keys {
			if k == "NULL" {
				b.Field(0).AppendNull()
			} else {
				b.Field(0).(*array.StringBuilder).Append(k)
			}
		}
		w := wanted{first: &views.Equal{Column: "k", Value: c.constant}}
		got := []string{}
		for _, rows := range w.narrow([]arrow.RecordBatch{b.NewRecordBatch()}) {
			for i := range int(rows.NumRows()) {
				got = append(got, rows.Column(0).ValueStr(i))
			}
			rows.Release()
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%v where it is %s: %v, want %s", c.keys, c.constant, got, c.want)
		}
	}
}
