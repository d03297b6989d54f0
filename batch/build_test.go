package batch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// bed is a broker with one topic, and an Input over it with a store of its own.
type bed struct {
	*Input
	producer *kgo.Client
	addrs    []string
	dir      string // the store's folder
}

func newBed(t testing.TB, topicYAML string, sql map[string]string) *bed {
	t.Helper()
	topic, problems := schemas.ParseTopic("events", "events.yaml", []byte(topicYAML))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic.Name), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "33554432"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	b := &bed{addrs: broker.ListenAddrs(), dir: t.TempDir()}
	log, err := kafkalog.Open(kafkalog.Config{Brokers: b.addrs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	b.Input = &Input{Log: log, Topic: topic, Views: compile(t, topic, sql), Memory: "256MiB", Scratch: t.TempDir()}
	b.open(t, b.dir)
	b.producer, err = kgo.NewClient(kgo.SeedBrokers(b.addrs...), kgo.DefaultProduceTopic(topic.Name), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(20<<20))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.producer.Close)
	return b
}

func (b *bed) open(t testing.TB, dir string) {
	t.Helper()
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	b.Store, b.dir = st, dir
}

func compile(t testing.TB, topic *schemas.Topic, sql map[string]string) []*views.View {
	t.Helper()
	compiler, err := views.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer compiler.Close()
	var out []*views.View
	for _, name := range slices.Sorted(maps.Keys(sql)) {
		v, err := compiler.Compile(name, name+".sql", sql[name], &views.Catalog{Topics: map[string]*schemas.Topic{topic.Name: topic}})
		if err != nil {
			t.Fatal(err)
		}
		if v.Class != views.Merged {
			t.Fatalf("%s is %s: %v", name, v.Class, v.Reasons)
		}
		out = append(out, v)
	}
	return out
}

// send appends the payloads, some with keys and headers, and returns the log's end.
func (b *bed) send(t testing.TB, payloads [][]byte) int64 { return b.sendWith(t, payloads, 3) }

func (b *bed) sendWith(t testing.TB, payloads [][]byte, keyed int) int64 {
	t.Helper()
	var records []*kgo.Record
	for i, p := range payloads {
		r := &kgo.Record{Value: p}
		if i%keyed == 0 {
			r.Key, r.Headers = fmt.Append(nil, "k", i), []kgo.RecordHeader{{Key: "h\xff", Value: []byte{0, 255}}, {Key: "null"}}
		}
		records = append(records, r)
	}
	if err := b.producer.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	_, end, err := b.Log.Offsets(t.Context(), b.Topic.Name)
	if err != nil {
		t.Fatal(err)
	}
	return end[0]
}

// files are all of the store's, by name.
func (b *bed) files(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	if err := filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(b.dir, path)
		if err == nil {
			out[name], err = os.ReadFile(path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func empty(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("%s is not empty: %v, %v", dir, entries, err)
	}
}

const mixedTopic = `event_time: ts
fields:
  ts: TIMESTAMP NOT NULL
  k: VARCHAR
  n: INTEGER
  x: DOUBLE
  h: HUGEINT
`

var mixedViews = map[string]string{
	"sums":  "SELECT k, count(*) AS n, sum(x) AS x, avg(x) AS a, sum(h) AS h, stddev(x) AS d FROM events GROUP BY k",
	"sets":  "SELECT n % 7 AS m, count(DISTINCT k) AS k, count(DISTINCT x) AS x FROM events GROUP BY ALL",
	"last":  "SELECT k, arg_max(n, ts) AS n, min(ts) AS t FROM events GROUP BY k",
	"each":  "SELECT k, n, count(*) AS c FROM events GROUP BY ALL",
	"whole": "SELECT count(*) AS n, max(x) AS x FROM events",
}

// mixed are records of every kind: plain, with unknown fields, rejects of several reasons, and some large.
func mixed(n int) [][]byte {
	r := rand.New(rand.NewPCG(3, 4))
	out := make([][]byte, n)
	for i := range out {
		switch {
		case i%97 == 5:
			out[i] = fmt.Appendf(nil, `{"ts":"2001-01-01","n":"x%d"}`, i)
		case i%101 == 7:
			out[i] = []byte("\xff not JSON")
		case i%5000 == 4999:
			out[i] = fmt.Appendf(nil, `{"ts":"2001-01-01","k":%q}`, strings.Repeat("large", 400_000))
		default:
			out[i] = fmt.Appendf(nil, `{"ts":"2001-%02d-%02d %02d:00:00","k":"k%d","n":%d,"x":%g,"h":%d,"u":[%d, {}]}`,
				1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(500), i, r.NormFloat64(), r.Int64(), i)
		}
	}
	return out
}

// Build is a function of the records: run again into another store, with fetches of another size and another memory limit,
// it gives the same bytes and says the same.
func TestTheSameRangeGivesTheSameBytes(t *testing.T) {
	b := newBed(t, mixedTopic, mixedViews)
	end := b.send(t, mixed(150_000))
	r := schemas.Range{From: 10, To: end}
	var want map[string][]byte
	var said []byte
	for i, fetch := range []int{0, 0, 100_000, 32 << 20} {
		b.open(t, t.TempDir())
		b.fetchBytes, b.Memory = fetch, []string{"256MiB", "256MiB", "80MiB", "1GiB"}[i]
		built, err := b.Build(t.Context(), "root/", r)
		if err != nil {
			t.Fatal(err)
		}
		files, text := b.files(t), mustJSON(t, built)
		if i == 0 {
			want, said = files, text
			if len(files) != 2+len(mixedViews) || built.Data.Records+built.Rejects.Records != end-10 || built.Rejects.Records < 1000 {
				t.Fatalf("%d files, %s", len(files), text)
			}
			continue
		}
		if !bytes.Equal(text, said) {
			t.Errorf("fetches of %d bytes say\n%s, the first said\n%s", fetch, text, said)
		}
		for name, data := range want {
			if !bytes.Equal(files[name], data) {
				t.Errorf("fetches of %d bytes: %s has other bytes", fetch, name)
			}
		}
		if len(files) != len(want) {
			t.Errorf("fetches of %d bytes: %d files, the first had %d", fetch, len(files), len(want))
		}
	}
	empty(t, b.Scratch)
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What Built says of a file is what the file is.
func TestBuiltDescribesItsFiles(t *testing.T) {
	b := newBed(t, mixedTopic, mixedViews)
	end := b.send(t, mixed(3000))
	built, err := b.Build(t.Context(), "root/", schemas.Range{To: end})
	if err != nil {
		t.Fatal(err)
	}
	files := b.files(t)
	same := func(path string, size int64, sum string) {
		if data := files["root/"+path]; int64(len(data)) != size || manifest.Checksum(data) != sum {
			t.Errorf("%s is %d bytes with %s, Built says %d with %s", path, len(data), manifest.Checksum(data), size, sum)
		}
	}
	same(built.Data.Path, built.Data.Bytes, built.Data.CRC32C)
	same(built.Rejects.Path, built.Rejects.Bytes, built.Rejects.CRC32C)
	for _, p := range built.Partials {
		same(p.Path, p.Bytes, p.CRC32C)
	}
	if lo, hi := *built.Data.MinEvent, *built.Data.MaxEvent; lo < 978307200_000000 || hi >= 1009843200_000000 || lo >= hi {
		t.Errorf("event times [%d, %d] are not in 2001", lo, hi)
	}
	if built.Data.MinAppend < 1.7e12 || built.Data.MaxAppend < built.Data.MinAppend {
		t.Errorf("append times [%d, %d]", built.Data.MinAppend, built.Data.MaxAppend)
	}
}

// A range without an accepted record has no data file, one without rejects no file of them, one without either none.
func TestRangesWithoutRecords(t *testing.T) {
	b := newBed(t, "fields: {a: INTEGER NOT NULL}", map[string]string{"v": "SELECT a, count(*) AS n FROM events GROUP BY a"})
	b.send(t, [][]byte{[]byte(`{}`), []byte(`{}`), []byte(`{"a":1}`)})
	for _, c := range []struct {
		r    schemas.Range
		want string
	}{{schemas.Range{To: 2}, "0 records, 2 rejects, 1 file"}, {schemas.Range{From: 2, To: 3}, "1 records, 0 rejects, 2 file"}} {
		b.open(t, t.TempDir())
		built, err := b.Build(t.Context(), "root/", c.r)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%d records, %d rejects, %d file", built.Data.Records, built.Rejects.Records, len(b.files(t))); got != c.want {
			t.Errorf("%v: %s, want %s", c.r, got, c.want)
		}
		if (built.Data.Path == "") != (built.Data.Records == 0) || (built.Rejects.Path == "") != (built.Rejects.Records == 0) || len(built.Partials) != 1 {
			t.Errorf("%v: %s", c.r, mustJSON(t, built))
		}
	}
}

// Offsets that a transaction's markers or a compaction took leave holes: the ranges stay contiguous all the same.
func TestHolesInTheLog(t *testing.T) {
	b := newBed(t, "fields: {a: INTEGER}", map[string]string{"v": "SELECT count(*) AS n FROM events"})
	producer, err := kgo.NewClient(kgo.SeedBrokers(b.addrs...), kgo.DefaultProduceTopic("events"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID("t"))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	for range 3 {
		if err := producer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := producer.ProduceSync(t.Context(), kgo.StringRecord(`{"a":1}`), kgo.StringRecord(`{"a":2}`)).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := producer.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
	report, err := b.Cycle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if report.To[0] != 9 || report.Records != 6 {
		t.Errorf("%+v, want 6 records up to offset 9", report)
	}
	// A range that holds nothing but a marker.
	if built, err := b.Build(t.Context(), "root/", schemas.Range{From: 8, To: 9}); err != nil || built.Data.Records != 0 {
		t.Errorf("the marker alone: %+v, %v", built, err)
	}
	if f, err := b.Fsck(t.Context()); err != nil || len(f.Damage) > 0 {
		t.Errorf("fsck: %+v, %v", f, err)
	}
}

// A build that is stopped in its middle ends with the context's error and leaves nothing, in scratch or in the store.
func TestAStoppedBuildLeavesNothing(t *testing.T) {
	b := newBed(t, mixedTopic, mixedViews)
	end := b.send(t, mixed(80_000))
	ctx, cancel := context.WithCancel(t.Context())
	s, err := newScratch(b.Scratch)
	if err != nil {
		t.Fatal(err)
	}
	d := newDataFile(ctx, b.Input, s)
	k, err := b.kernel(ctx, s, newMade(), nil, d.add)
	if err != nil {
		t.Fatal(err)
	}
	reader := b.Log.Read("events", schemas.Range{To: end}, kafkalog.ReadOptions{Want: kafkalog.Everything})
	for d.writer == nil { // until the file is begun
		chunk, err := reader.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Add(ctx, chunk); err != nil {
			t.Fatal(err)
		}
	}
	reader.Close()
	cancel()
	k.Close()
	d.close() // would hang if the writer did not see the end
	s.close()
	if _, err := b.Build(ctx, "root/", schemas.Range{To: end}); !errors.Is(err, context.Canceled) {
		t.Errorf("Build = %v", err)
	}
	empty(t, b.Scratch)
	if files := b.files(t); len(files) > 0 {
		t.Errorf("%d files in the store", len(files))
	}
}

// A range that is not in the log any more says what is lost.
func TestARangeThatIsLost(t *testing.T) {
	b := newBed(t, "fields: {a: INTEGER}", nil)
	b.send(t, mixed(10))
	gone := kadm.Offsets{}
	gone.AddOffset("events", 0, 7, -1)
	if _, err := kadm.NewClient(b.producer).DeleteRecords(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	var lost *kafkalog.RangeError
	if _, err := b.Build(t.Context(), "root/", schemas.Range{From: 5, To: 9}); !errors.As(err, &lost) || lost.Lost.To != 7 {
		t.Errorf("Build of what is gone = %v", err)
	}
	empty(t, b.Scratch)
}

// Memory is bounded by what the Input allows, not by the range: here the decoded rows, the large records and the state of
// a view with a group a record are each larger than DuckDB's limit.
func TestARangeLargerThanMemory(t *testing.T) {
	b := newBed(t, "fields: {k: VARCHAR, v: VARCHAR}", map[string]string{"each": "SELECT k, v[:50] AS v, count(*) AS n FROM events GROUP BY ALL"})
	b.Memory = "120MiB"
	payloads := make([][]byte, 400_000)
	for i := range payloads {
		payloads[i] = fmt.Appendf(nil, `{"k":"a key that is long enough not to be inlined %d","v":"%0200d"}`, i, i)
	}
	large := strings.Repeat("x", 6<<20)
	for i := range 40 {
		payloads[i*10_000] = fmt.Appendf(nil, `{"k":"large %d","v":%q}`, i, large)
	}
	b.send(t, payloads[:200_000])
	end := b.send(t, payloads[200_000:])
	built, err := b.Build(t.Context(), "root/", schemas.Range{To: end})
	if err != nil {
		t.Fatal(err)
	}
	if built.Data.Records != int64(len(payloads)) || built.Partials[0].Rows != int64(len(payloads)) {
		t.Errorf("%s", mustJSON(t, built))
	}
	empty(t, b.Scratch)
}

// Builds may run side by side, sharing an Input: they give what they give one after another.
func TestBuildsSideBySide(t *testing.T) {
	b := newBed(t, mixedTopic, mixedViews)
	end := b.send(t, mixed(9000))
	ranges := []schemas.Range{{To: 3000}, {From: 3000, To: 6000}, {From: 6000, To: end}}
	for _, r := range ranges {
		if _, err := b.Build(t.Context(), "root/", r); err != nil {
			t.Fatal(err)
		}
	}
	want := b.files(t)
	b.open(t, t.TempDir())
	var group sync.WaitGroup
	for _, r := range ranges {
		group.Go(func() {
			if _, err := b.Build(t.Context(), "root/", r); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	got := b.files(t)
	for name, data := range want {
		if !bytes.Equal(got[name], data) {
			t.Errorf("%s has other bytes", name)
		}
	}
	empty(t, b.Scratch)
}
