//go:build engines

package speed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/cmd/cluster"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/runner"
	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/slice"
)

// stream is a topic of its own in a real Kafka, and its speed layer.
type stream struct {
	*testing.T
	*Input
	brokers []string
	topicID string
	parts   int32

	mu       sync.Mutex
	appended map[int32][]mark // when each offset was acknowledged, in order
	seen     map[int32]int64  // up to which slices of the first view were seen
	waits    []time.Duration  // of the oldest record of each mark until a slice covered it
}

type mark struct {
	to int64
	at time.Time
}

func newStream(t *testing.T, brokers []string, parts int32) *stream {
	t.Helper()
	s := &stream{T: t, brokers: brokers, parts: parts, appended: map[int32][]mark{}, seen: map[int32]int64{}}
	name := fmt.Sprintf("t%d", time.Now().UnixNano())
	topic, problems := schemas.ParseTopic(name, name+".yaml", []byte("fields:\n  k: VARCHAR\n  n: BIGINT NOT NULL\n"))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	compiler, err := views.Open()
	s.must(err)
	defer compiler.Close()
	v, err := compiler.Compile("counts", "counts.sql", "SELECT k, count(*) AS c, sum(n) AS s FROM "+name+" GROUP BY k", &views.Catalog{Topics: map[string]*schemas.Topic{name: topic}})
	s.must(err)
	s.Input = &Input{Topic: topic, Views: []*views.View{v}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	s.Log, err = kafkalog.Open(kafkalog.Config{Brokers: s.brokers})
	s.must(err)
	t.Cleanup(func() { s.Log.Close() })
	s.must(s.Log.CreateTopic(t.Context(), name, int(parts), nil))
	s.Store, err = store.Open(t.TempDir())
	s.must(err)
	info, err := s.Log.Topic(t.Context(), name)
	s.must(err)
	s.topicID = info.ID
	return s
}

func (s *stream) must(err error) {
	if err != nil {
		s.Helper()
		s.Fatal(err)
	}
}

// send appends records to every partition in turn, at a rate, until ctx ends.
func (s *stream) send(ctx context.Context, rate int) {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.DefaultProduceTopic(s.Topic.Name), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	s.must(err)
	defer client.Close()
	const ticks = 50
	tick := time.NewTicker(time.Second / ticks)
	defer tick.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		batch := make([]*kgo.Record, rate/ticks)
		for i := range batch {
			batch[i] = &kgo.Record{Partition: int32(n) % s.parts, Value: fmt.Appendf(nil, `{"k":"k%d","n":%d}`, n%97, n)}
			n++
		}
		// The time is of before the append: a slice that is seen late is never made to look in time.
		at := time.Now()
		for _, r := range client.ProduceSync(context.WithoutCancel(ctx), batch...) {
			s.must(r.Err)
			s.mu.Lock()
			s.appended[r.Record.Partition] = append(s.appended[r.Record.Partition], mark{r.Record.Offset + 1, at})
			s.mu.Unlock()
		}
	}
}

// watch reads the slices as they are published and notes how long records have waited for theirs.
func (s *stream) watch(ctx context.Context) {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics(slice.Topic(s.Topic.Name)), kgo.FetchMaxWait(20*time.Millisecond), kgo.MetadataMinAge(50*time.Millisecond), kgo.UnknownTopicRetries(-1))
	s.must(err)
	defer client.Close()
	for ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			got, err := slice.Decode(r.Value)
			s.must(err)
			s.mu.Lock()
			defer s.mu.Unlock()
			marks, now := s.appended[got.Partition], time.Now()
			for len(marks) > 0 && marks[0].to <= got.To {
				s.waits = append(s.waits, now.Sub(marks[0].at))
				marks = marks[1:]
			}
			s.appended[got.Partition] = marks
			s.seen[got.Partition] = max(s.seen[got.Partition], got.To)
		})
	}
}

// behind is how many offsets no slice covers now.
func (s *stream) behind() (left int64) {
	_, end, err := s.Log.Offsets(s.Context(), s.Topic.Name)
	s.must(err)
	for _, gap := range s.gaps(end) {
		left += gap.Len()
	}
	return left
}

// gaps are the ranges below end without a slice.
func (s *stream) gaps(end schemas.Frontier) (gaps []schemas.Range) {
	_, gaps, err := slicelog.Chosen(s.Context(), s.Log, s.Topic.Name, s.topicID, schemas.Frontier{}, end, s.Views[0].Definition)
	if err != nil {
		s.Fatal(err)
	}
	return gaps
}

// await waits until a condition holds.
func (s *stream) await(what string, for_ time.Duration, holds func() bool) {
	s.Helper()
	for deadline := time.Now().Add(for_); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			_, end, err := s.Log.Offsets(s.Context(), s.Topic.Name)
			s.Fatalf("%s: not within %s; the log ends at %v (%v), without a slice are %v", what, for_, end, err, s.gaps(end))
		}
	}
}

// run starts the speed layer and returns what ends it.
func (s *stream) run() (stop func()) {
	ctx, cancel := context.WithCancel(s.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Input.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			s.Errorf("the speed layer ended with %v", err)
		}
	}
}

// figures are the median, the 99th of a hundred and the most.
func figures(d []time.Duration) string {
	if len(d) == 0 {
		return "nothing"
	}
	slices.Sort(d)
	at := func(q float64) time.Duration { return d[int(q*float64(len(d)-1))].Round(time.Millisecond) }
	return fmt.Sprintf("%d records: median %s, p99 %s, most %s", len(d), at(0.5), at(0.99), at(1))
}

// On Flink every record gets into a slice, at any parallelism. How soon is told, not judged: it is the machine's.
func TestFlinkSlicesEverything(t *testing.T) {
	k, err := cluster.StartKafka(t.Context(), cluster.KafkaOptions{Dir: t.TempDir(), Tied: true, Note: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Stop() })
	f, err := cluster.StartFlink(t.Context(), cluster.FlinkOptions{Dir: t.TempDir(), TaskManagers: 1, Tied: true, Note: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Stop() })
	for _, parallelism := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(parallelism), func(t *testing.T) {
			s := newStream(t, k.Brokers, 4)
			s.Engine = runner.Engine{Runner: runner.Flink, Endpoint: f.Endpoint, Rest: f.REST, Parallelism: parallelism}
			ctx, enough := context.WithCancel(t.Context())
			var busy sync.WaitGroup
			busy.Go(func() { s.watch(ctx) })
			stop := s.run()
			sending, done := context.WithCancel(t.Context())
			var sent sync.WaitGroup
			sent.Go(func() { s.send(sending, 20_000) })
			s.await("the first slices of every partition", 3*time.Minute, func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return len(s.seen) == int(s.parts)
			})
			time.Sleep(5 * time.Second) // what the start has held up is through
			s.mu.Lock()
			s.waits = nil
			s.mu.Unlock()
			time.Sleep(15 * time.Second)
			s.mu.Lock()
			t.Logf("parallelism %d, from before the append until the slice is seen: %s", parallelism, figures(slices.Clone(s.waits)))
			s.mu.Unlock()
			done()
			sent.Wait()
			s.await("slices of everything", time.Minute, func() bool { return s.behind() == 0 })
			stop()
			enough()
			busy.Wait()
		})
	}
}
