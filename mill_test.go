package millrace_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/slice"
	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/speed"
)

// TestMain keeps prism from telling of every pipeline: what a test must know comes back as an error.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	code := m.Run()
	for _, f := range slices.Backward(atEnd) {
		f(code)
	}
	if binaryDir != "" {
		os.RemoveAll(binaryDir)
	}
	os.Exit(code)
}

// atEnd is what is done when all tests have run, the last one first; it is told the exit code.
var atEnd []func(code int)

// mill is the layers over one broker and one store. open makes them; what lies in the log and the store stays.
type mill struct {
	broker     *kfake.Cluster
	topic      *schemas.Topic
	refs       map[string]*views.Reference
	partitions int32
	brokers    []string
	memory     string // DuckDB's limit in every layer; empty is its default
	dir        string
	producer   *kgo.Client
	sent       int64

	log      *kafkalog.Log
	store    store.Store
	compiler *views.Compiler
	server   *serving.Server
	alone    *serving.Server // over the same log and an empty store: every row comes from the log
	defs     *serving.Definitions
	cycle    *batch.Input
	used     serving.Layers // what the answers that were checked were made of, added up
	found    int            // rows that were asked for by their key
	at       string         // the store, if it is not a folder of dir
	fetch    int            // bytes of one read from the log; 0 is the log's default
}

// newMill starts a broker with the topic. The reference r is made of the CSV, if there is one.
func newMill(must func(error), cleanup func(func()), dir string, partitions int32, topic *schemas.Topic, reference string, more ...kfake.Opt) *mill {
	broker, err := kfake.NewCluster(append(more, kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic.Name, slice.Topic(topic.Name)))...)
	must(err)
	cleanup(broker.Close)
	m := &mill{broker: broker, topic: topic, refs: map[string]*views.Reference{}, partitions: partitions, brokers: broker.ListenAddrs(), dir: dir}
	cleanup(m.close)
	must(m.connect())
	cleanup(func() { m.producer.Close() })
	if reference != "" {
		must(m.refer(reference))
	}
	return m
}

// refer is the content of the reference r.
func (m *mill) refer(csv string) error {
	path := filepath.Join(m.dir, "r.csv")
	err := os.WriteFile(path, []byte(csv), 0o600)
	if err == nil {
		m.refs["r"], err = views.LoadReference("r", path, nil)
	}
	return err
}

func (m *mill) close() {
	if m.compiler != nil {
		m.compiler.Close()
	}
	if m.log != nil {
		m.log.Close()
	}
}

// open starts every layer anew with these views.
func (m *mill) open(sql map[string]string, fetch int) (err error) {
	m.close()
	m.fetch = fetch
	m.defs = &serving.Definitions{Catalog: &views.Catalog{Topics: map[string]*schemas.Topic{m.topic.Name: m.topic}, References: m.refs}, Views: map[string]*views.View{}}
	if m.compiler, err = views.Open(); err != nil {
		return err
	}
	var merged []*views.View
	for name, text := range sql {
		v, err := m.compiler.Compile(name, name+".sql", text, m.defs.Catalog)
		if err != nil {
			return err
		}
		if m.defs.Views[name] = v; v.Class.FromPartials() {
			merged = append(merged, v)
		}
	}
	if m.log, err = kafkalog.Open(kafkalog.Config{Brokers: m.brokers}); err != nil {
		return err
	}
	if m.store, err = store.Open(cmp.Or(m.at, filepath.Join(m.dir, "data"))); err != nil {
		return err
	}
	empty, err := store.Open(filepath.Join(m.dir, "empty"))
	if err != nil {
		return err
	}
	m.cycle = &batch.Input{Log: m.log, Store: m.store, Topic: m.topic, Views: merged, References: m.refs, Memory: m.memory, Scratch: m.dir}
	options := serving.Options{Log: m.log, Store: m.store, Compiler: m.compiler, Scratch: m.dir, FetchBytes: fetch, Limits: kernel.Limits{Memory: m.memory},
		Definitions: func(context.Context) (*serving.Definitions, error) { return m.defs, nil }}
	m.server = serving.New(options)
	options.Store = empty
	m.alone = serving.New(options)
	return nil
}

func (m *mill) send(ctx context.Context, r *kgo.Record) error {
	m.sent++
	return m.producer.ProduceSync(ctx, r).FirstErr()
}

// grow adds partitions to the topic, and to that of its slices if they are to get their own.
func (m *mill) grow(ctx context.Context, partitions int32, slicesToo bool) error {
	if err := m.log.Grow(ctx, m.topic.Name, partitions); err != nil {
		return err
	}
	m.partitions = partitions
	if slicesToo {
		if err := m.growSlices(ctx); err != nil {
			return err
		}
	}
	return m.connect()
}

// growSlices gives the slices' topic a partition for each of the topic's.
func (m *mill) growSlices(ctx context.Context) error {
	return m.log.Grow(ctx, slice.Topic(m.topic.Name), m.partitions)
}

// remake deletes the topic and makes it anew.
func (m *mill) remake(ctx context.Context, partitions int32) error {
	if _, err := kadm.NewClient(m.producer).DeleteTopic(ctx, m.topic.Name); err != nil {
		return err
	}
	m.partitions, m.sent = partitions, 0
	if err := m.log.CreateTopic(ctx, m.topic.Name, int(partitions), nil); err != nil {
		return err
	}
	if _, err := m.log.Topic(ctx, m.topic.Name); err != nil { // the log has it now
		return err
	}
	return m.connect()
}

// connect makes a producer that knows the topic as it is.
func (m *mill) connect() (err error) {
	if m.producer != nil {
		m.producer.Close()
	}
	m.producer, err = kgo.NewClient(kgo.SeedBrokers(m.brokers...), kgo.DefaultProduceTopic(m.topic.Name), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	return err
}

// forget drops the log's records of a partition below an offset.
func (m *mill) forget(ctx context.Context, partition int32, below int64) error {
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: m.topic.Name, Partition: partition, At: below})
	done, err := kadm.NewClient(m.producer).DeleteRecords(ctx, offsets)
	if err != nil {
		return err
	}
	return done.Error()
}

// slice runs a range through the kernel as the speed layer would.
func (m *mill) slice(ctx context.Context, r schemas.Range) ([]kafkalog.Message, error) {
	info, err := m.log.Topic(ctx, m.topic.Name)
	if err != nil {
		return nil, err
	}
	var refs []*views.Reference
	for _, ref := range m.refs {
		refs = append(refs, ref)
	}
	k, err := kernel.New(ctx, kernel.Spec{Topic: m.topic, Views: m.cycle.Views, References: refs})
	if err != nil {
		return nil, err
	}
	defer k.Close()
	reader := m.log.Read(m.topic.Name, r, kafkalog.ReadOptions{Want: kafkalog.Everything, MaxBytes: m.fetch})
	defer reader.Close()
	var records, rejects int64
	for at := r.From; at < r.To; {
		c, err := reader.Next(ctx)
		if err != nil {
			return nil, err
		}
		refused, err := k.Add(ctx, c)
		if err != nil {
			return nil, err
		}
		records, rejects, at = records+int64(len(c.Records)-len(refused)), rejects+int64(len(refused)), c.To
		c.Release()
	}
	partials, err := k.Flush(ctx)
	if err != nil {
		return nil, err
	}
	var out []kafkalog.Message
	for _, p := range partials {
		var payload bytes.Buffer
		w := ipc.NewWriter(&payload, ipc.WithSchema(p.Rows.Schema()))
		if err := w.Write(p.Rows); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		p.Rows.Release()
		out = append(out, kafkalog.Message{Partition: r.Partition, Key: []byte(p.View.Name), Value: slice.Encode(&slice.Slice{
			Definition: p.View.Definition, TopicID: info.ID, Partition: r.Partition, From: r.From, To: r.To, Records: records, Rejects: rejects, Payload: payload.Bytes()})})
	}
	return out, nil
}

func (m *mill) publish(ctx context.Context, messages []kafkalog.Message) error {
	return m.log.Publish(ctx, slice.Topic(m.topic.Name), messages)
}

// tidy folds the slices as the speed layer does beside its pipeline.
func (m *mill) tidy(ctx context.Context) error {
	in := speed.Input{Log: m.log, Store: m.store, Topic: m.topic, Views: m.cycle.Views, References: m.refs, Memory: m.memory}
	return in.Tidy(ctx)
}

func (m *mill) publishBytes(ctx context.Context, partition int32, value []byte) error {
	return m.publish(ctx, []kafkalog.Message{{Partition: partition, Value: value}})
}

// noises are what may lie on the slices' topic beside good slices, made of one. None may be used; if it were, the rows of
// a longer range would be missing. pick gives a number below its argument.
var noises = map[string]func(s slice.Slice, good []byte, pick func(int) int) []byte{
	"another definition": func(s slice.Slice, _ []byte, _ func(int) int) []byte {
		s.From, s.Definition, s.Payload = 0, strings.Repeat("0", 64), hollow(s.Payload)
		return slice.Encode(&s)
	},
	"another topic": func(s slice.Slice, _ []byte, _ func(int) int) []byte {
		s.From, s.TopicID, s.Payload = 0, strings.Repeat("0", 32), hollow(s.Payload)
		return slice.Encode(&s)
	},
	"another partition": func(s slice.Slice, _ []byte, _ func(int) int) []byte {
		s.From, s.Partition, s.Payload = 0, s.Partition+7, hollow(s.Payload)
		return slice.Encode(&s)
	},
	"beyond the end": func(s slice.Slice, _ []byte, _ func(int) int) []byte {
		s.From, s.To, s.Payload = 0, s.To+1000, hollow(s.Payload)
		return slice.Encode(&s)
	},
	"no Arrow": func(s slice.Slice, _ []byte, _ func(int) int) []byte {
		s.From, s.Payload = 0, []byte("no Arrow")
		return slice.Encode(&s)
	},
	"no payload": func(s slice.Slice, _ []byte, _ func(int) int) []byte {
		s.From, s.Payload = 0, nil
		return slice.Encode(&s)
	},
	"half a payload": func(s slice.Slice, _ []byte, _ func(int) int) []byte {
		s.From, s.Payload = 0, s.Payload[:len(s.Payload)/2]
		return slice.Encode(&s)
	},
	"other columns": func(s slice.Slice, _ []byte, _ func(int) int) []byte {
		var out bytes.Buffer
		w := ipc.NewWriter(&out, ipc.WithSchema(arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Int8}}, nil)))
		if err := w.Close(); err != nil {
			panic(err) // a buffer takes all
		}
		s.From, s.Payload = 0, out.Bytes()
		return slice.Encode(&s)
	},
	"a bit flipped": func(_ slice.Slice, good []byte, pick func(int) int) []byte {
		out := bytes.Clone(good)
		out[pick(len(out))] ^= 1
		return out
	},
	"cut short": func(_ slice.Slice, good []byte, pick func(int) int) []byte { return good[:pick(len(good))] },
	"nothing":   func(slice.Slice, []byte, func(int) int) []byte { return nil },
}

// hollow is an Arrow stream of the same columns without a row.
func hollow(payload []byte) []byte {
	r, err := ipc.NewReader(bytes.NewReader(payload))
	if err != nil {
		return nil
	}
	defer r.Release()
	var out bytes.Buffer
	if ipc.NewWriter(&out, ipc.WithSchema(r.Schema())).Close() != nil {
		return nil
	}
	return out.Bytes()
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
		if err := m.checkKeys(ctx, v, asOf); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		t := verdict.Certificate.Topics[m.topic.Name]
		var covered int64
		for _, r := range t.From.Ranges(t.To) {
			covered += r.Len()
		}
		for _, r := range t.Lost {
			covered -= r.Len()
		}
		l := t.Layers
		m.used.Batch.Records += l.Batch.Records
		m.used.Speed.Slices += l.Speed.Slices
		m.used.Raw.Records += l.Raw.Records
		if n := l.Batch.Records + l.Batch.Rejects + l.Speed.Records + l.Speed.Rejects + l.Raw.Records + l.Raw.Rejects; n != covered || asOf == nil && n != m.sent {
			return fmt.Errorf("%s: the certificate adds up to %d, covers %d, sent were %d: %+v", name, n, covered, m.sent, t)
		}
	}
	return nil
}

// checkKeys asks a view for some values of its keys: a question of the view's SELECT alone, whose demands are put on state
// rows, and one about the view's whole answer.
func (m *mill) checkKeys(ctx context.Context, v *views.View, asOf *serving.AsOf) error {
	values := map[string][]string{"VARCHAR": {"'a'", "''", "'ü€😀'", "'a \"quoted\"\n'", "'Anna'", "'big'", "'none, it''s'"}, "INTEGER": {"0", "1", "-3"}, "BIGINT": {"2", "'2'"}}
	for _, c := range v.Columns {
		all := values[c.Type]
		if v.KeyColumns[c.Name] == "" || len(all) == 0 {
			continue
		}
		where := fmt.Sprintf("WHERE %s = %s", schemas.QuoteIdent(c.Name), all[int(m.sent)%len(all)])
		got, err := rows(ctx, m.server, serving.Request{SQL: fmt.Sprintf("SELECT * FROM %s %s", v.Name, where), AsOf: asOf, Sorted: true})
		if err != nil {
			return err
		}
		want, err := rows(ctx, m.server, serving.Request{SQL: fmt.Sprintf("SELECT * FROM (SELECT * FROM %s) %s", v.Name, where), AsOf: asOf, Sorted: true})
		if err != nil {
			return err
		}
		if m.found += len(got); !slices.Equal(got, want) {
			return fmt.Errorf("%s: %v, the whole view has %v", where, got, want)
		}
	}
	return nil
}

// sameRows compares the topic's rows and rejects with those that the log alone gives.
func (m *mill) sameRows(ctx context.Context) error {
	for _, table := range []string{m.topic.Name, "rejects." + m.topic.Name} {
		request := serving.Request{SQL: "SELECT * FROM " + table + " ORDER BY _partition, _offset"}
		all, err := rows(ctx, m.server, request)
		if err != nil {
			return fmt.Errorf("%s: %w", table, err)
		}
		alone, err := rows(ctx, m.alone, request)
		if err != nil {
			return fmt.Errorf("%s from the log: %w", table, err)
		}
		if len(all) != len(alone) {
			return fmt.Errorf("%s has %d rows, the log gives %d", table, len(all), len(alone))
		}
		for i := range all {
			if all[i] != alone[i] {
				return fmt.Errorf("%s: %s, the log gives %s", table, all[i], alone[i])
			}
		}
	}
	return nil
}

// count is how many records an answer covers: accepted, refused and lost.
func (m *mill) count(ctx context.Context, asOf *serving.AsOf) (n int64, err error) {
	a, err := m.server.Query(ctx, serving.Request{SQL: "SELECT count(*) FROM " + m.topic.Name, AsOf: asOf})
	if err != nil {
		return 0, err
	}
	defer a.Close()
	c := a.Certificate.Topics[m.topic.Name]
	for _, r := range c.Lost {
		n += r.Len()
	}
	l := c.Layers
	return n + l.Batch.Records + l.Batch.Rejects + l.Speed.Records + l.Speed.Rejects + l.Raw.Records + l.Raw.Rejects, nil
}

// rows are an answer's, as JSON.
func rows(ctx context.Context, s *serving.Server, r serving.Request) ([]string, error) {
	a, err := s.Query(ctx, r)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	return rowsOf(ctx, a)
}

// rowsOf are the rows of an answer as JSON.
func rowsOf(ctx context.Context, a *serving.Answer) (out []string, err error) {
	err = a.Rows(ctx, func(row json.RawMessage) error {
		out = append(out, string(row))
		return nil
	})
	return out, err
}
