package kafkaio

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/runner"
	"github.com/millrace/millrace/schemas"
)

func init() {
	register.DoFn1x0[*kafkalog.Chunk](&collectFn{})
	register.Function1x1(endOf)
	register.Function1x0(drop)
}

// collectFn notes every record it sees, in the test's process.
type collectFn struct{}

var seen = struct {
	sync.Mutex
	values map[string]int
	next   map[int32]int64
	broken []string
}{}

func (collectFn) ProcessElement(c *kafkalog.Chunk) {
	seen.Lock()
	defer seen.Unlock()
	if at, known := seen.next[c.Partition]; known && at != c.From {
		seen.broken = append(seen.broken, fmt.Sprintf("chunk %s follows on %d", c.Range, at))
	}
	seen.next[c.Partition] = c.To
	for i := range c.Records {
		seen.values[string(c.Records[i].Value)]++
	}
}

func endOf(c *kafkalog.Chunk) int64 { return c.To }

func drop(int64) {}

// A bounded read gives every record of the ranges once, each partition in order, whether the chunks stay in the source's
// stage or cross to another, with one restriction or one a partition.
func TestReadBounded(t *testing.T) {
	const partitions, records = 3, 5000
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	producer, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	for i := range partitions * records {
		producer.Produce(t.Context(), &kgo.Record{Partition: int32(i % partitions), Value: fmt.Appendf(nil, "%d", i)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	ranges := []schemas.Range{{Partition: 0, From: 0, To: records}, {Partition: 1, From: 10, To: 20}, {Partition: 2, From: 100, To: records}}
	const want = records + 10 + records - 100
	for _, spread := range []bool{false, true} {
		for _, crossing := range []bool{false, true} {
			t.Run(fmt.Sprintf("spread=%t,crossing=%t", spread, crossing), func(t *testing.T) {
				seen.values, seen.next, seen.broken = map[string]int{}, map[int32]int64{}, nil
				p, s := beam.NewPipelineWithRoot()
				chunks := Read(s, Options{Config: kafkalog.Config{Brokers: broker.ListenAddrs()}, Topic: "t", Ranges: ranges, MaxBytes: 4 << 10, Spread: spread})
				if crossing {
					chunks = beam.Reshuffle(s, chunks)
				}
				beam.ParDo0(s, &collectFn{}, chunks)
				beam.ParDo0(s, drop, beam.Reshuffle(s, beam.ParDo(s, endOf, chunks)))
				if err := runner.Run(t.Context(), p, runner.Options{Name: t.Name()}); err != nil {
					t.Fatal(err)
				}
				if len(seen.values) != want {
					t.Errorf("%d different records, want %d", len(seen.values), want)
				}
				for v, n := range seen.values {
					if n != 1 {
						t.Fatalf("record %s came %d times", v, n)
					}
				}
				if !crossing && len(seen.broken) > 0 { // a shuffle keeps no order
					t.Error(seen.broken[0])
				}
			})
		}
	}
}

// A record that crosses to another worker is the record it was, null and empty kept apart.
func TestChunkCrossesUnchanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytes := func(label string) []byte {
			return rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOf(rapid.Byte())).Draw(t, label)
		}
		c := &kafkalog.Chunk{Topic: "t", Range: schemas.Range{Partition: 3, From: 1 << 60, To: 1<<60 + 9}}
		for range rapid.IntRange(0, 3).Draw(t, "records") {
			r := schemas.Record{Partition: 3, Offset: rapid.Int64().Draw(t, "offset"), Timestamp: rapid.Int64().Draw(t, "time"), Key: bytes("key"), Value: bytes("value")}
			for range rapid.IntRange(0, 2).Draw(t, "headers") {
				r.Headers = append(r.Headers, schemas.Header{Key: rapid.String().Draw(t, "header"), Value: bytes("header's value")})
			}
			c.Records = append(c.Records, r)
		}
		wire, err := encodeChunk(c)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeChunk(wire)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(c, back) {
			t.Fatalf("sent %+v\n got %+v", c, back)
		}
	})
}

// Whatever is claimed and checkpointed, primary and residual together are the restriction, and no offset is in both.
func TestTrackerLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Restriction
		for p := range rapid.Int32Range(1, 3).Draw(t, "partitions") {
			from := rapid.Int64Range(0, 10).Draw(t, "from")
			r.Ranges = append(r.Ranges, schemas.Range{Partition: p, From: from, To: from + rapid.Int64Range(0, 20).Draw(t, "length")})
		}
		tr := newTracker(r)
		claimed := map[int32]int64{}
		for _, p := range r.Ranges {
			claimed[p.Partition] = p.From
		}
		for range rapid.IntRange(0, 5).Draw(t, "claims") {
			p := rapid.SampledFrom(r.Ranges).Draw(t, "range")
			to := rapid.Int64Range(claimed[p.Partition], p.To).Draw(t, "to")
			if !tr.TryClaim(position{p.Partition, to}) {
				t.Fatalf("%s refused a claim up to %d: %v", p, to, tr.GetError())
			}
			claimed[p.Partition] = to
		}
		_, residual, err := tr.TrySplit(0)
		if err != nil {
			t.Fatal(err)
		}
		if !tr.IsDone() {
			t.Error("after a checkpoint the primary is not done")
		}
		if residual == nil {
			residual = Restriction{Ranges: tr.GetRestriction().(Restriction).Ranges}
		}
		for i, p := range residual.(Restriction).Ranges {
			if p.From != claimed[p.Partition] && p.From < p.To || p.To != r.Ranges[i].To {
				t.Errorf("residual %s, claimed was %d of %s", p, claimed[p.Partition], r.Ranges[i])
			}
		}
		if tr.stopped && tr.TryClaim(position{0, r.Ranges[0].To}) {
			t.Error("a claim after a checkpoint succeeded")
		}
	})
}

// A pipeline that follows the log ends when its context does.
func TestFollowEndsWithItsContext(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	ctx, cancel := context.WithCancel(t.Context())
	p, s := beam.NewPipelineWithRoot()
	chunks := Read(s, Options{Config: kafkalog.Config{Brokers: broker.ListenAddrs()}, Topic: "t", Ranges: []schemas.Range{{To: Follow}}})
	beam.ParDo0(s, drop, beam.Reshuffle(s, beam.ParDo(s, endOf, chunks)))
	context.AfterFunc(t.Context(), cancel)
	ended := make(chan error, 1)
	go func() { ended <- runner.Run(ctx, p, runner.Options{Name: t.Name()}) }()
	cancel()
	if err := <-ended; err == nil {
		t.Error("it ended without an error")
	}
}

// However many restrictions a runner has given to a worker, their turns and what lies between them come to one bundle; no
// turn is shorter than it were if one worker read them all.
func TestRestrictionsShareABundle(t *testing.T) {
	const bundle, all = 500 * time.Millisecond, 8
	for sharing := 1; sharing <= all; sharing++ {
		for _, between := range []time.Duration{0, 20 * time.Millisecond, 2 * bundle} {
			turn := bundle / all
			for range 50 {
				turn = share(bundle, bundle/all, turn, time.Duration(sharing-1)*turn+between)
			}
			want := min(bundle, max(bundle/all, (bundle-between)/time.Duration(sharing)))
			if off := turn - want; off.Abs() > time.Millisecond {
				t.Errorf("%d restrictions, %s between two bundles: a turn of %s, want %s", sharing, between, turn, want)
			}
		}
	}
}
