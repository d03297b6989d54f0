package bench

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

const (
	distinct     = 200_000 // payloads in memory, gone through until the run's events are reached
	chunkRecords = 16_000  // about what one fetch of 4 MiB brings
	bigBatch     = 122_880 // rows of a DuckDB row group: what suits DuckDB best
)

// kernelView is the view that a topic's kernel rows compute.
var kernelView = map[string]string{ads: "campaigns", flights: "delays"}

// kernelWork is pipelines/kernel over chunks in memory; the partials are flushed after each pass.
func kernelWork(ctx context.Context, j *Job, s *Sample) error {
	c, err := openProject(j.Dir)
	if err != nil {
		return err
	}
	v := c.view(kernelView[j.Topic])
	c.compiler.Close()
	lines, err := payloads(j.Topic, min(distinct, j.Events))
	if err != nil {
		return err
	}
	var chunks []*kafkalog.Chunk
	for at := 0; at < len(lines); at += chunkRecords {
		chunk := &kafkalog.Chunk{Topic: j.Topic, Range: schemas.Range{From: int64(at), To: int64(min(at+chunkRecords, len(lines)))}}
		for i := chunk.From; i < chunk.To; i++ {
			chunk.Records = append(chunk.Records, schemas.Record{Offset: i, Value: lines[i]})
		}
		chunks = append(chunks, chunk)
	}
	k, err := kernel.New(ctx, kernel.Spec{Topic: c.catalog.Topics[j.Topic], Views: []*views.View{v}, References: c.references(v), Limits: kernel.Limits{Memory: c.project.Config.Memory}})
	if err != nil {
		return err
	}
	defer k.Close()
	pass := func() error {
		for _, chunk := range chunks {
			rejects, err := k.Add(ctx, chunk)
			if err != nil {
				return err
			}
			if len(rejects) > 0 {
				return fmt.Errorf("%s: %s", rejects[0].Value, rejects[0].Reason)
			}
		}
		partials, err := k.Flush(ctx)
		for _, p := range partials {
			s.Check += sum(v, p.Rows)
			p.Rows.Release()
		}
		return err
	}
	return passes(j, s, len(lines), pass)
}

// kernelDuckDB is the ceiling: payloads in Arrow batches, from_json of the fields the view wants, the same SELECT.
func kernelDuckDB(ctx context.Context, j *Job, s *Sample) error {
	c, err := openProject(j.Dir)
	if err != nil {
		return err
	}
	v := c.view(kernelView[j.Topic])
	c.compiler.Close()
	lines, err := payloads(j.Topic, min(distinct, j.Events))
	if err != nil {
		return err
	}
	batches := payloadBatches(lines)
	session, err := kernel.OpenSession(ctx, kernel.Limits{Memory: c.project.Config.Memory})
	if err != nil {
		return err
	}
	defer session.Close()
	feed, err := decodeInDuckDB(ctx, session, c, v, "chunk")
	if err != nil {
		return err
	}
	if err := session.Exec(ctx, "CREATE TABLE state AS "+v.PartialSQL("chunk")+" WITH NO DATA"); err != nil {
		return err
	}
	pass := func() error {
		for _, b := range batches {
			feed.Set(b)
			if err := session.Exec(ctx, "INSERT INTO state "+v.PartialSQL("chunk")); err != nil {
				return err
			}
		}
		rows, err := session.Arrow(ctx, v.MergeSQL("state"))
		if err != nil {
			return err
		}
		s.Check += sum(v, rows)
		rows.Release()
		return session.Exec(ctx, "TRUNCATE state")
	}
	return passes(j, s, len(lines), pass)
}

// passes runs one pass to warm up and then as many as make the run's events.
func passes(j *Job, s *Sample, n int, pass func() error) error {
	if err := pass(); err != nil {
		return err
	}
	s.Check = 0
	if err := s.start(); err != nil {
		return err
	}
	for s.Events < int64(j.Events) {
		if err := pass(); err != nil {
			return err
		}
		s.Events += int64(n)
	}
	return s.stop()
}

// payloadBatches puts payloads into Arrow batches of one column.
func payloadBatches(payloads [][]byte) []arrow.RecordBatch {
	b := array.NewRecordBuilder(mallocator.NewMallocator(), payloadSchema)
	defer b.Release()
	var out []arrow.RecordBatch
	column := b.Field(0).(*array.StringBuilder)
	for i, p := range payloads {
		column.Append(string(p))
		if column.Len() == bigBatch || i == len(payloads)-1 {
			out = append(out, b.NewRecordBatch())
		}
	}
	return out
}

var payloadSchema = arrow.NewSchema([]arrow.Field{{Name: "payload", Type: arrow.BinaryTypes.String}}, nil)

// decodeInDuckDB makes a view of that name over a feed of payloads: the fields that v wants, by from_json.
func decodeInDuckDB(ctx context.Context, session *kernel.Session, c *compiled, v *views.View, name string) (*kernel.Feed, error) {
	if err := session.LoadReferences(ctx, c.references(v)); err != nil {
		return nil, err
	}
	feed, err := session.Stream(payloadSchema, name+"_payloads")
	if err != nil {
		return nil, err
	}
	// What breaks ties is one constant for all: less than the kernel has to carry.
	system := ""
	for _, column := range []string{"0 AS _partition", "0::BIGINT AS _offset", "'epoch'::TIMESTAMPTZ AS _timestamp"} {
		if slices.Contains(v.Wanted[v.Topic], column[strings.Index(column, "_"):]) {
			system += ", " + column
		}
	}
	// The LIMIT keeps filters out of the stream, which would not apply them; see package kernel.
	return feed, session.Exec(ctx, fmt.Sprintf(`CREATE VIEW %s AS SELECT unnest(from_json(payload, '{%s}'))%s FROM %s_payloads LIMIT %d`,
		name, structure(c.catalog.Topics[v.Topic], v.Wanted[v.Topic]), system, name, int64(math.MaxInt64)))
}

// structure is the fields of from_json; nil columns: all of the topic's.
func structure(t *schemas.Topic, columns []string) string {
	want := map[string]bool{}
	for _, c := range columns {
		want[c] = true
	}
	var out []string
	for _, f := range t.Fields {
		if columns == nil || want[f.Name] {
			out = append(out, fmt.Sprintf("%q:%q", f.Name, f.Type))
		}
	}
	return strings.Join(out, ",")
}

// sum adds up the first state column that counts: equal on both sides of a row, whatever the order of the rows.
func sum(v *views.View, rows arrow.RecordBatch) int64 {
	var n int64
	for i := v.Keys; i < int(rows.NumCols()); i++ {
		if column, ok := rows.Column(i).(*array.Int64); ok {
			for r := range column.Len() {
				n += column.Value(r)
			}
			break
		}
	}
	return n + rows.NumRows()<<40
}

func (c *compiled) view(name string) *views.View {
	for _, v := range c.views {
		if v.Name == name {
			return v
		}
	}
	return nil
}
