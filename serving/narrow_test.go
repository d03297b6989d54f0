package serving

import (
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/slicelog"
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
				got = append(got, strings.Clone(rows.Column(0).ValueStr(i))) // it lies in the rows
			}
			rows.Release()
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%v where it is %s: %v, want %s", c.keys, c.constant, got, c.want)
		}
	}
}

// What narrowed rows hold beside their key is theirs, however it is nested.
func TestNarrowedRowsKeepWhatTheyHold(t *testing.T) {
	session, err := kernel.OpenSession(t.Context(), kernel.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	rows, err := session.Arrow(t.Context(), "SELECT 'k' || (i // 2) AS k, CASE WHEN i % 5 < 4 THEN {'n': i, 'of': {'text': 'n' || i}} END AS s, [i, i] AS l, MAP {i: 'n' || i} AS m FROM range(12) AS r(i) ORDER BY i")
	if err != nil {
		t.Fatal(err)
	}
	w := wanted{first: &views.Equal{Column: "k", Value: "'k3'"}}
	cut := w.narrow([]arrow.RecordBatch{rows})
	defer slicelog.ReleaseRows(cut)
	if err := session.Import(t.Context(), "t", cut...); err != nil {
		t.Fatal(err)
	}
	var got string
	all, err := session.Query(t.Context(), "SELECT list(t ORDER BY k, l)::VARCHAR FROM t")
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	for all.Next() {
		if err := all.Scan(&got); err != nil {
			t.Fatal(err)
		}
	}
	if want := "[{'k': k3, 's': {'n': 6, 'of': {'text': n6}}, 'l': [6, 6], 'm': {6=n6}}, {'k': k3, 's': {'n': 7, 'of': {'text': n7}}, 'l': [7, 7], 'm': {7=n7}}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
