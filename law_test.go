// Package millrace_test holds what no package can hold alone: the law over all layers, and who may import whom.
package millrace_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	_ "github.com/duckdb/duckdb-go/v2"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/schemas/slice"
	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/testdata"
)

// mill is the layers over one broker and one store.
type mill struct {
	log      *kafkalog.Log
	producer *kgo.Client
	server   *serving.Server
	defs     *serving.Definitions
	cycle    *batch.Input
	sent     int64
}

// build makes a mill of a topic and its views, with a broker of its own.
func build(fail func(error), cleanup func(func()), dir string, partitions int32, topic *schemas.Topic, refs map[string]*views.Reference, sql map[string]string) *mill {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic.Name, slice.Topic(topic.Name)))
	fail(err)
	cleanup(broker.Close)
	m := &mill{defs: &serving.Definitions{Catalog: &views.Catalog{Topics: map[string]*schemas.Topic{topic.Name: topic}, References: refs}, Views: map[string]*views.View{}}}
	compiler, err := views.Open()
	fail(err)
	cleanup(func() { compiler.Close() })
	var merged []*views.View
	for name, text := range sql {
		v, err := compiler.Compile(name, name+".sql", text, m.defs.Catalog)
		fail(err)
		m.defs.Views[name] = v
		if v.Class == views.Merged {
			merged = append(merged, v)
		}
	}
	m.log, err = kafkalog.Open(kafkalog.Config{Brokers: broker.ListenAddrs()})
	fail(err)
	cleanup(func() { m.log.Close() })
	m.producer, err = kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.DefaultProduceTopic(topic.Name), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	fail(err)
	cleanup(m.producer.Close)
	st, err := store.Open(filepath.Join(dir, "data"))
	fail(err)
	m.cycle = &batch.Input{Log: m.log, Store: st, Topic: topic, Views: merged, References: refs, Scratch: dir}
	m.server = serving.New(serving.Options{Log: m.log, Store: st, Compiler: compiler, Scratch: dir,
		Definitions: func(context.Context) (*serving.Definitions, error) { return m.defs, nil }})
	return m
}

func (m *mill) send(ctx context.Context, partition int32, payload []byte) error {
	m.sent++
	return m.producer.ProduceSync(ctx, &kgo.Record{Partition: partition, Value: payload}).FirstErr()
}

// slice publishes the range as the speed layer would.
func (m *mill) slice(ctx context.Context, r schemas.Range) error {
	info, err := m.log.Topic(ctx, m.cycle.Topic.Name)
	if err != nil {
		return err
	}
	k, err := kernel.New(ctx, kernel.Spec{Topic: m.cycle.Topic, Views: m.cycle.Views})
	if err != nil {
		return err
	}
	defer k.Close()
	reader := m.log.Read(m.cycle.Topic.Name, r, kafkalog.ReadOptions{})
	defer reader.Close()
	var records, rejects int64
	for at := r.From; at < r.To; {
		c, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		refused, err := k.Add(ctx, c)
		if err != nil {
			return err
		}
		records, rejects, at = records+int64(len(c.Records)-len(refused)), rejects+int64(len(refused)), c.To
		c.Release()
	}
	partials, err := k.Flush(ctx)
	if err != nil {
		return err
	}
	var out []kafkalog.Message
	for _, p := range partials {
		var payload bytes.Buffer
		w := ipc.NewWriter(&payload, ipc.WithSchema(p.Rows.Schema()))
		if err := w.Write(p.Rows); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		p.Rows.Release()
		out = append(out, kafkalog.Message{Partition: r.Partition, Key: []byte(p.View.Name), Value: slice.Encode(&slice.Slice{
			Definition: p.View.Definition, TopicID: info.ID, Partition: r.Partition, From: r.From, To: r.To, Records: records, Rejects: rejects, Payload: payload.Bytes()})})
	}
	return m.log.Publish(ctx, slice.Topic(m.cycle.Topic.Name), out)
}

// check asks every view merged and recomputed, and adds up the certificate.
func (m *mill) check(ctx context.Context, asOf *serving.AsOf) error {
	for name, v := range m.defs.Views {
		verdict, err := m.server.Verify(ctx, m.defs, v, asOf)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if verdict.Differing > 0 {
			return fmt.Errorf("%s: %d of %d rows differ: %+v", name, verdict.Differing, verdict.Rows, verdict.Examples)
		}
		t := verdict.Certificate.Topics[m.cycle.Topic.Name]
		var covered int64
		for _, r := range t.From.Ranges(t.To) {
			covered += r.Len()
		}
		l := t.Layers
		if n := l.Batch.Records + l.Batch.Rejects + l.Speed.Records + l.Speed.Rejects + l.Raw.Records + l.Raw.Rejects; n != covered || asOf == nil && n != m.sent {
			return fmt.Errorf("%s: the certificate adds up to %d, covers %d, sent were %d: %+v", name, n, covered, m.sent, t)
		}
	}
	return nil
}

const lawTopic = `
partitions: 3
fields:
  k: VARCHAR
  n: BIGINT
  h: HUGEINT
  d: DECIMAL(18,3)
  f: DOUBLE
  ts: TIMESTAMP NOT NULL
`

var lawViews = map[string]string{
	"sums":    "SELECT k, count(*) AS c, count(n) AS cn, sum(n) AS s, sum(h) AS sh, sum(d) AS sd, avg(f) AS a FROM t GROUP BY k",
	"ends":    "SELECT k, min(n), max(n), min(k), max(ts), arg_min(n, ts), arg_max(k, n), bool_and(n > 0), bool_or(f > 0) FROM t GROUP BY ALL",
	"spread":  "SELECT time_bucket(INTERVAL '1 hour', ts) AS w, stddev_samp(f), var_pop(n / 1000000), count(DISTINCT k), count(*) FILTER (n > 5) FROM t GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 5",
	"one":     "SELECT count(*), sum(n) / nullif(count(n), 0), max(length(k)) FROM t WHERE f IS NOT NULL",
	"medians": "SELECT k, median(n) FROM t GROUP BY k",
}

func event() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		if rapid.IntRange(0, 9).Draw(t, "kind") == 0 {
			return []byte(rapid.SampledFrom([]string{"", "{", "[]", `{"n":1.5,"ts":"2020-01-01"}`, `{"ts":null}`, `{"k":1,"ts":"2020-01-01"}`, `{"ts":"2020-01-01","ts":"2020-01-01"}`, "\xff"}).Draw(t, "bad"))
		}
		e := map[string]any{"ts": fmt.Sprintf("2020-01-0%dT%02d:00:00.%06d", rapid.IntRange(1, 3).Draw(t, "day"), rapid.IntRange(0, 23).Draw(t, "hour"), rapid.IntRange(0, 3).Draw(t, "µs"))}
		maybe := func(name string, v any) {
			if rapid.IntRange(0, 4).Draw(t, name+" there") > 0 {
				e[name] = v
			}
		}
		maybe("k", rapid.SampledFrom([]any{"a", "b", "ü€😀", "", "a \"quoted\"\n", nil}).Draw(t, "k"))
		maybe("n", rapid.OneOf(rapid.Int64Range(-5, 10), rapid.Int64()).Draw(t, "n"))
		maybe("h", json.RawMessage(rapid.SampledFrom([]string{"1", "-170141183460469231731687303715884", "99999999999999999999999999999999999"}).Draw(t, "h")))
		maybe("d", json.RawMessage(fmt.Sprintf("%d.%03d", rapid.IntRange(-999999, 999999).Draw(t, "d"), rapid.IntRange(0, 999).Draw(t, "thousandths"))))
		maybe("f", rapid.Float64Range(-1e6, 1e6).Draw(t, "f"))
		maybe("unknown", "kept")
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}

// The law: whatever was sent, sliced and committed, in whatever order, every view's merged answer is its recompute over
// every record, now and as of any offsets, and the certificate's counts add up.
func TestTheLaw(t *testing.T) {
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte(lawTopic))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "millrace-law-")
		fail := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		fail(err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		ctx := context.Background()
		some := map[string]string{} // a few at a time: a check costs two answers a view
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(slices.Sorted(maps.Keys(lawViews))), 1, 2, rapid.ID).Draw(t, "views") {
			some[name] = lawViews[name]
		}
		m := build(fail, t.Cleanup, dir, 3, topic, nil, some)
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"send", "send", "slice", "slice", "cycle"}).Draw(t, "step") {
			case "send":
				for range rapid.IntRange(0, 12).Draw(t, "records") {
					fail(m.send(ctx, rapid.Int32Range(0, 2).Draw(t, "partition"), event().Draw(t, "event")))
				}
			case "slice":
				_, end, err := m.log.Offsets(ctx, "t")
				fail(err)
				r := schemas.Range{Partition: rapid.Int32Range(0, 2).Draw(t, "partition")}
				if n := end[r.Partition]; n > 0 {
					r.From = rapid.Int64Range(0, n-1).Draw(t, "from")
					r.To = rapid.Int64Range(r.From+1, n).Draw(t, "to")
					fail(m.slice(ctx, r))
				}
			case "cycle":
				_, err := m.cycle.Cycle(ctx)
				fail(err)
			}
		}
		fail(m.check(ctx, nil))
		_, end, err := m.log.Offsets(ctx, "t")
		fail(err)
		cut := schemas.Frontier{}
		for p, to := range end {
			cut[p] = rapid.Int64Range(0, to).Draw(t, "cut")
		}
		fail(m.check(ctx, &serving.AsOf{Offsets: map[string]schemas.Frontier{"t": cut}}))
	})
}

// The ten views of the example, over a committed part, slices and a raw tail, are what DuckDB says of the file itself.
func TestTheExampleIsWhatDuckDBSays(t *testing.T) {
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	example, err := testdata.Example("flights")
	fail(err)
	dir := t.TempDir()
	fail(os.CopyFS(dir, example))
	p, problems := project.Open(dir)
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	refs, text := map[string]*views.Reference{}, map[string]string{}
	for _, r := range p.References {
		refs[r.Name], err = views.LoadReference(r.Name, r.Path, r.Fields)
		fail(err)
	}
	for _, v := range p.Views {
		text[v.Name] = v.SQL
	}
	m := build(fail, t.Cleanup, dir, 4, p.Topics["flights"], refs, text)
	flights, err := testdata.Flights()
	fail(err)
	for i, payload := range flights {
		m.sent++
		m.producer.Produce(t.Context(), &kgo.Record{Partition: int32(i % 4), Value: payload}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
		if i == len(flights)/2 {
			fail(m.producer.Flush(t.Context()))
			report, err := m.cycle.Cycle(t.Context())
			fail(err)
			if report.Records != int64(i+1) {
				t.Fatalf("the cycle committed %d of %d", report.Records, i+1)
			}
		}
	}
	fail(m.producer.Flush(t.Context()))
	db, err := sql.Open("duckdb", "")
	fail(err)
	defer db.Close()
	file := filepath.Join(dir, "flights.ndjson")
	fail(os.WriteFile(file, append(bytes.Join(flights, []byte("\n")), '\n'), 0o600))
	_, err = db.Exec(fmt.Sprintf("CREATE TABLE flights AS SELECT * FROM read_json('%s', format = 'newline_delimited', columns = {date: 'TIMESTAMP', delay: 'INTEGER', distance: 'INTEGER', origin: 'VARCHAR', destination: 'VARCHAR'})", file))
	fail(err)
	for name, r := range refs {
		_, err = db.Exec(fmt.Sprintf("CREATE TABLE %s AS %s", schemas.QuoteIdent(name), r.SQL))
		fail(err)
	}
	for name, v := range m.defs.Views {
		if v.Class != views.Merged {
			t.Errorf("%s is %s: %v", name, v.Class, v.Reasons)
		}
		a, err := m.server.Query(t.Context(), serving.Request{SQL: "SELECT * FROM " + name})
		fail(err)
		path, err := a.File(t.Context(), serving.Parquet, "")
		fail(err)
		same := fmt.Sprintf("SELECT (SELECT count(*) FROM (%[1]s)), (SELECT count(*) FROM '%[2]s'), ", text[name], path)
		var exact, float []string
		for _, c := range v.Columns {
			if c.Type == "DOUBLE" {
				float = append(float, schemas.QuoteIdent(c.Name))
			} else {
				exact = append(exact, schemas.QuoteIdent(c.Name))
			}
		}
		on := []string{"true"}
		for _, c := range exact {
			on = append(on, fmt.Sprintf("a.%s IS NOT DISTINCT FROM b.%[1]s", c))
		}
		for _, c := range float {
			on = append(on, fmt.Sprintf("(a.%s IS NOT DISTINCT FROM b.%[1]s OR abs(a.%[1]s - b.%[1]s) <= 1e-12 * abs(a.%[1]s))", c))
		}
		same += fmt.Sprintf("(SELECT count(*) FROM (%s) a SEMI JOIN '%s' b ON %s)", text[name], path, strings.Join(on, " AND "))
		var direct, merged, shared int
		if err := db.QueryRow(same).Scan(&direct, &merged, &shared); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if direct == 0 || direct != merged || direct != shared {
			t.Errorf("%s: DuckDB gives %d rows, millrace %d, %d are the same", name, direct, merged, shared)
		}
		a.Close()
	}
	fail(m.check(t.Context(), nil))
}

// Rot in any stored file is found and named.
func TestFsckFindsRot(t *testing.T) {
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte(lawTopic))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	m := build(fail, t.Cleanup, dir, 1, topic, nil, map[string]string{"sums": lawViews["sums"]})
	fail(m.send(t.Context(), 0, []byte(`{"k":"a","n":1,"ts":"2020-01-01"}`)))
	fail(m.send(t.Context(), 0, []byte(`{`)))
	_, err := m.cycle.Cycle(t.Context())
	fail(err)
	if f, err := m.cycle.Fsck(t.Context()); err != nil || f.Files != 3 || len(f.Damage)+len(f.Orphans) > 0 {
		t.Fatalf("fsck of a whole dataset: %+v, %v", f, err)
	}
	files, err := m.cycle.Store.List(t.Context(), "topics/")
	fail(err)
	for _, file := range files {
		path, err := m.cycle.Store.Local(t.Context(), file.Name)
		fail(err)
		data, err := os.ReadFile(path)
		fail(err)
		for what, bad := range map[string][]byte{"cut": data[:len(data)-1], "flipped": append(bytes.Clone(data[:len(data)-9]), append([]byte{data[len(data)-9] ^ 1}, data[len(data)-8:]...)...)} {
			fail(os.WriteFile(path, bad, 0o600))
			if f, err := m.cycle.Fsck(t.Context()); err != nil || len(f.Damage) != 1 || !strings.Contains(f.Damage[0], file.Name) {
				t.Errorf("%s %s: %+v, %v", file.Name, what, f, err)
			}
		}
		fail(os.WriteFile(path, data, 0o600))
	}
}

// Two cycles over the same plan: one commits, the other is told so, and nothing is doubled.
func TestOneOfTwoCyclesWins(t *testing.T) {
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte(lawTopic))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	m := build(fail, t.Cleanup, t.TempDir(), 1, topic, nil, map[string]string{"sums": lawViews["sums"]})
	for range 100 {
		fail(m.send(t.Context(), 0, []byte(`{"k":"a","n":1,"ts":"2020-01-01"}`)))
	}
	errs := make(chan error, 4)
	for range 4 {
		go func() {
			_, err := m.cycle.Cycle(context.WithoutCancel(t.Context()))
			errs <- err
		}()
	}
	won := 0
	for range 4 {
		switch err := <-errs; {
		case err == nil:
			won++
		case !errors.Is(err, store.ErrExist):
			t.Error(err)
		}
	}
	if won == 0 {
		t.Error("nobody won")
	}
	fail(m.check(t.Context(), nil))
}
