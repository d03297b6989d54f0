package kernel_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// DuckDB takes an Arrow stream's columns for those it asked for, and believes its filters were applied; neither is so.
// A view that reads some columns in another order and filters on one must still be right, beside one that reads others.
func TestAViewOfSomeColumnsAndAFilter(t *testing.T) {
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte("fields:\n  a: BIGINT\n  b: BIGINT\n  c: BIGINT\n  s: VARCHAR\n  h: HUGEINT\n"))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	compiler, err := views.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer compiler.Close()
	catalog := &views.Catalog{Topics: map[string]*schemas.Topic{"t": topic}}
	spec := kernel.Spec{Topic: topic, Together: true}
	for i, sql := range []string{
		"SELECT c, sum(b)::BIGINT AS n FROM t WHERE s = 's3' GROUP BY c",
		"SELECT count(*) AS n FROM t WHERE a >= 10 AND b = 3",
		"SELECT sum(h)::BIGINT AS n FROM t WHERE c = 7",
	} {
		v, err := compiler.Compile(fmt.Sprint("v", i), "", sql, catalog)
		if err != nil {
			t.Fatal(err)
		}
		spec.Views = append(spec.Views, v)
	}
	k, err := kernel.New(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	for round := range 3 {
		chunk := &kafkalog.Chunk{}
		for i := range 1000 {
			chunk.Records = append(chunk.Records, schemas.Record{Offset: int64(i), Value: fmt.Appendf(nil, `{"a":%d,"b":%d,"c":7,"s":"s%d","h":2}`, i, i%10, i%10)})
		}
		chunk.Records = append(chunk.Records, schemas.Record{Offset: 1000, Value: []byte(`{"a":"x"}`)})
		rejects, err := k.Add(t.Context(), chunk)
		if err != nil || len(rejects) != 1 || rejects[0].Offset != 1000 || rejects[0].Field != "a" {
			t.Fatalf("rejects %v, %v", rejects, err)
		}
		partials, err := k.Flush(t.Context())
		if err != nil || len(partials) != 3 {
			t.Fatalf("round %d: %d partials, %v", round, len(partials), err)
		}
		for i, want := range []string{"[\"300\"]", "[99]", "[\"2000\"]"} {
			rows := partials[i].Rows
			if got := rows.Column(int(rows.NumCols()) - 1).String(); rows.NumRows() != 1 || got != want {
				t.Errorf("round %d: %s: %d rows, state %s, want %s", round, spec.Views[i].SQL, rows.NumRows(), got, want)
			}
			rows.Release()
		}
	}
	if partials, err := k.Flush(t.Context()); err != nil || len(partials) != 0 {
		t.Errorf("nothing was added, and %d partials, %v", len(partials), err)
	}
}

// kernelOf is a kernel of one view over a topic t with one field, a BIGINT.
func kernelOf(t *testing.T, view string) *kernel.Kernel {
	t.Helper()
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte("fields:\n  a: BIGINT\n"))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	compiler, err := views.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer compiler.Close()
	v, err := compiler.Compile("v", "", view, &views.Catalog{Topics: map[string]*schemas.Topic{"t": topic}})
	if err != nil {
		t.Fatal(err)
	}
	k, err := kernel.New(t.Context(), kernel.Spec{Topic: topic, Views: []*views.View{v}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

// A kernel that lives long must not keep the memory of what it has handed out.
func TestFlushFreesItsRows(t *testing.T) {
	k := kernelOf(t, "SELECT a, count(*) AS n, min(a) AS x, max(a) AS y FROM t GROUP BY a")
	for round := range 50 {
		for p := range int32(4) {
			chunk := &kafkalog.Chunk{Range: schemas.Range{Partition: p}}
			for i := range 1000 {
				chunk.Records = append(chunk.Records, schemas.Record{Partition: p, Offset: int64(i), Value: fmt.Appendf(nil, `{"a":%d}`, round*1000+i)})
			}
			if _, err := k.Add(t.Context(), chunk); err != nil {
				t.Fatal(err)
			}
		}
		partials, err := k.Flush(t.Context())
		if err != nil || len(partials) != 4 {
			t.Fatalf("%d partials, %v", len(partials), err)
		}
		for _, p := range partials {
			p.Rows.Release()
		}
	}
	rows, err := k.Session().Query(t.Context(), "SELECT coalesce(sum(memory_usage_bytes), 0)::BIGINT FROM duckdb_memory() WHERE tag = 'IN_MEMORY_TABLE'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var left int64
	for rows.Next() {
		if err := rows.Scan(&left); err != nil {
			t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil || left > 1<<20 {
		t.Errorf("DuckDB's tables hold %d bytes after the last flush, %v", left, err)
	}
}

// A partition whose state could not be made whole is made again at the next chunk: no view is left out.
func TestAPartitionThatFailedToBegin(t *testing.T) {
	k := kernelOf(t, "SELECT count(*) AS n FROM t")
	chunk := &kafkalog.Chunk{Records: []schemas.Record{{Value: []byte(`{"a":1}`)}}}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Add(over, chunk); err == nil {
		t.Fatal("a context that is over made a state")
	}
	if _, err := k.Add(t.Context(), chunk); err != nil {
		t.Fatal(err)
	}
	partials, err := k.Flush(t.Context())
	if err != nil || len(partials) != 1 || partials[0].Rows.NumRows() != 1 {
		t.Fatalf("%d partials, %v", len(partials), err)
	}
	partials[0].Rows.Release()
}
