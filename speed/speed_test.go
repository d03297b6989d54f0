package speed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

const partitions = 3

type rig struct {
	*Input
	producer *kgo.Client
	topicID  string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte("partitions: 3\nfields:\n  k: VARCHAR\n  n: BIGINT NOT NULL\n"))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	compiler, err := views.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer compiler.Close()
	r := &rig{Input: &Input{Topic: topic, Logger: slog.New(slog.DiscardHandler)}}
	catalog := &views.Catalog{Topics: map[string]*schemas.Topic{"t": topic}}
	for name, sql := range map[string]string{"counts": "SELECT k, count(*) AS c, sum(n) AS s FROM t GROUP BY k", "parts": "SELECT _partition, max(_offset) AS last FROM t GROUP BY 1"} {
		v, err := compiler.Compile(name, name+".sql", sql, catalog)
		if err != nil {
			t.Fatal(err)
		}
		r.Views = append(r.Views, v)
	}
	if r.Log, err = kafkalog.Open(kafkalog.Config{Brokers: broker.ListenAddrs()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Log.Close() })
	if r.Store, err = store.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if r.producer, err = kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.producer.Close)
	info, err := r.Log.Topic(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	r.topicID = info.ID
	return r
}

// send appends n records to every partition, each tenth of them malformed.
func (r *rig) send(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		payload := fmt.Sprintf(`{"k":"k%d","n":%d}`, i%7, i)
		if i%10 == 9 {
			payload = `{"k":1}`
		}
		for p := range int32(partitions) {
			r.producer.Produce(t.Context(), &kgo.Record{Partition: p, Value: []byte(payload)}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	if err := r.producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// slices reads what is published of a view.
func (r *rig) slices(t *testing.T, v *views.View) []*slicelog.Entry {
	t.Helper()
	_, end, err := r.Log.Offsets(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := slicelog.Chosen(t.Context(), r.Log, "t", r.topicID, schemas.Frontier{}, end, v.Definition)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// tiled proves that a view's slices of each partition follow on each other from 0 to n, counting every record.
func (r *rig) tiled(t *testing.T, n int64) {
	t.Helper()
	for _, v := range r.Views {
		at, records, rejects := map[int32]int64{}, int64(0), int64(0)
		for _, s := range r.slices(t, v) {
			if s.From != at[s.Partition] {
				t.Fatalf("%s: slice %s does not follow on %d", v.Name, s.Range(), at[s.Partition])
			}
			at[s.Partition] = s.To
			records, rejects = records+s.Records, rejects+s.Rejects
		}
		for p := range int32(partitions) {
			if at[p] != n {
				t.Errorf("%s: slices of partition %d end at %d, want %d", v.Name, p, at[p], n)
			}
		}
		if records != partitions*n*9/10 || rejects != partitions*n/10 {
			t.Errorf("%s: slices hold %d records and %d rejects, sent were %d with a tenth of rejects", v.Name, records, rejects, partitions*n)
		}
	}
}

// What CatchUp has published is where the next one goes on: nothing is published twice, nothing left out.
func TestCatchUpGoesOnFromWhatWasPublished(t *testing.T) {
	r := newRig(t)
	r.send(t, 1000)
	for range 2 { // the second has nothing to do
		if err := r.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.tiled(t, 1000)
	}
	r.send(t, 500)
	if err := r.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.tiled(t, 1500)
}

// A view whose SQL fails on a record has no slice there; the other views have theirs.
func TestAViewThatFailsOnARecordLosesOnlyItself(t *testing.T) {
	r := newRig(t)
	compiler, err := views.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer compiler.Close()
	casts, err := compiler.Compile("casts", "casts.sql", "SELECT sum(k::INTEGER) AS s FROM t", &views.Catalog{Topics: map[string]*schemas.Topic{"t": r.Topic}})
	if err != nil {
		t.Fatal(err)
	}
	whole := r.Views
	r.Views = append([]*views.View{casts}, whole...)
	r.send(t, 1000)
	if err := r.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found := r.slices(t, casts); len(found) != 0 {
		t.Errorf("%d slices of a view that cannot be computed", len(found))
	}
	r.Views = whole
	r.tiled(t, 1000)
}

// Run follows the log, ends when it is told to, and a later Run goes on.
func TestRunFollowsTheLog(t *testing.T) {
	r := newRig(t)
	var total int64
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		for range 2 {
			r.send(t, 100)
			total += 100
			r.await(t, total)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Fatalf("Run ended with %v", err)
		}
	}
	r.tiled(t, total)
}

// await waits until the slices of every view reach the log's end.
func (r *rig) await(t *testing.T, end int64) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for {
		behind := false
		for _, v := range r.Views {
			at := map[int32]int64{}
			for _, s := range r.slices(t, v) {
				at[s.Partition] = max(at[s.Partition], s.To)
			}
			for p := range int32(partitions) {
				behind = behind || at[p] < end
			}
		}
		if !behind {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("no slices up to %d after 30 s", end)
		}
	}
}

// A view that was added has no slices: Plan begins where the first view lacks one.
func TestPlanBeginsAtTheFirstGapOfAnyView(t *testing.T) {
	r := newRig(t)
	r.send(t, 100)
	both := r.Views
	r.Views = both[:1]
	if err := r.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n, from := range map[int]int64{1: 100, 2: 0} {
		r.Views = both[:n]
		plan, err := r.Plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := partitions * (100 - from); plan.Lag != want {
			t.Errorf("with %d views: lag %d, want %d", n, plan.Lag, want)
		}
		for _, p := range plan.Ranges {
			if p.From != from {
				t.Errorf("with %d views: %s, want a beginning at %d", n, p, from)
			}
		}
	}
}

// commit makes a manifest that covers every partition up to an offset.
func (r *rig) commit(t *testing.T, to int64) {
	t.Helper()
	m := &manifest.Manifest{Topic: "t", TopicID: r.topicID, Schema: r.Topic.Hash(), Sequence: 1, Start: schemas.Frontier{}, Frontier: schemas.Frontier{}, Partials: []manifest.Partial{}}
	for p := range int32(partitions) {
		m.Frontier[p] = to
		f := manifest.File{Partition: p, To: to}
		m.Files, m.Rejects = append(m.Files, f), append(m.Rejects, f)
	}
	if err := dataset.Commit(t.Context(), r.Store, manifest.Root("t", r.topicID, r.Topic.Hash()), m); err != nil {
		t.Fatal(err)
	}
}

// Slices below the frontier are dropped, those above it stay, and a later CatchUp goes on as if nothing had been.
func TestTrimDropsWhatACycleCovers(t *testing.T) {
	r := newRig(t)
	for range 3 {
		r.send(t, 100)
		if err := r.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r.commit(t, 200)
	if err := r.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, v := range r.Views {
		left := r.slices(t, v)
		if len(left) != partitions {
			t.Errorf("%s: %d slices are left, want one a partition", v.Name, len(left))
		}
		for _, s := range left {
			if s.From != 200 || s.To != 300 {
				t.Errorf("%s: %s is left", v.Name, s.Range())
			}
		}
	}
}

// Beam does not tear a DoFn down when its worker ends. What a pipeline opened is closed all the same: of Kafka's clients
// those of the rig are left, which are the log's, the producer's and the one that the log lends to its readers in turn.
func TestNothingIsLeftOfAPipeline(t *testing.T) {
	r := newRig(t)
	r.send(t, 100)
	if err := r.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for {
		stacks := make([]byte, 4<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		clients := bytes.Count(stacks, []byte("kgo.(*Client).updateMetadataLoop("))
		if clients == 0 {
			t.Fatal("this test does not see Kafka's clients any more")
		}
		if clients <= 3 && !bytes.Contains(stacks, []byte("kafkaio.(*fetchers).fetch(")) {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%d clients are left after 30 s:\n%s", clients, stacks)
		}
	}
}
