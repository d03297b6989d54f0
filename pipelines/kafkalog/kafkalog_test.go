package kafkalog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// start runs a broker with a topic "flights" of two partitions and returns a log and a producer on it.
func start(t *testing.T, codec kgo.CompressionCodec) (*kafkalog.Log, *kgo.Client) {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "flights"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	log, err := kafkalog.Open(kafkalog.Config{Brokers: append([]string{"127.0.0.1:1"}, broker.ListenAddrs()...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	producer, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(16<<20))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(producer.Close)
	return log, producer
}

func value(i int64) string { return fmt.Sprintf(`{"n":%d}`, i) }

func produce(t *testing.T, p *kgo.Client, n int64) {
	t.Helper()
	for i := range n {
		r := &kgo.Record{Topic: "flights", Partition: 1, Key: []byte{byte(i)}, Value: []byte(value(i)), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte(value(i))}}}
		p.Produce(t.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
		if i%100 == 99 { // several record batches
			if err := p.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// chain reads a range chunk by chunk, having checked that each follows on the one before and that all reach its end.
func chain(t *testing.T, l *kafkalog.Log, topic string, r schemas.Range, o kafkalog.ReadOptions, each func(*kafkalog.Chunk)) {
	t.Helper()
	reader := l.Read(topic, r, o)
	defer reader.Close()
	at := r.From
	for {
		c, err := reader.Next(t.Context())
		if errors.Is(err, kafkalog.ErrEnd) {
			if at != r.To {
				t.Fatalf("the range %s ended at %d", r, at)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if c.From != at {
			t.Fatalf("chunk %s follows on %d", c.Range, at)
		}
		at = c.To
		each(c)
		c.Release()
	}
}

// read returns the values of a range, having checked that chunks chain and offsets lie inside.
func read(t *testing.T, l *kafkalog.Log, r schemas.Range, o kafkalog.ReadOptions) (out []string) {
	t.Helper()
	chain(t, l, "flights", r, o, func(c *kafkalog.Chunk) {
		for _, rec := range c.Records {
			if rec.Offset < c.From || rec.Offset >= c.To || rec.Partition != r.Partition {
				t.Fatalf("record %d of partition %d in chunk %s", rec.Offset, rec.Partition, c.Range)
			}
			if o.Want == kafkalog.Everything && (rec.Timestamp == 0 || string(rec.Key) != string([]byte{byte(rec.Offset)}) || len(rec.Headers) != 1 || string(rec.Headers[0].Value) != value(rec.Offset)) {
				t.Fatalf("record %d: %+v", rec.Offset, rec)
			}
			out = append(out, string(rec.Value))
		}
	})
	return out
}

func TestEveryRangeIsReadExactly(t *testing.T) {
	for name, codec := range map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()} {
		t.Run(name, func(t *testing.T) {
			log, producer := start(t, codec)
			produce(t, producer, 1000)
			for _, want := range []kafkalog.Want{0, kafkalog.Everything} {
				for _, r := range []schemas.Range{{From: 0, To: 1000}, {From: 150, To: 151}, {From: 99, To: 501}, {From: 7, To: 7}} {
					r.Partition = 1
					var expect []string
					for i := r.From; i < r.To; i++ {
						expect = append(expect, value(i))
					}
					for _, bytes := range []int{0, 2000} {
						if got := read(t, log, r, kafkalog.ReadOptions{Want: want, MaxBytes: bytes}); !slices.Equal(got, expect) {
							t.Errorf("want %b, range %s: %d values, first %.1q", want, r, len(got), got)
						}
					}
				}
			}
		})
	}
}

func TestALargeRecordComesThrough(t *testing.T) {
	log, producer := start(t, kgo.NoCompression())
	large := make([]byte, 900<<10)
	for i := range large {
		large[i] = 'a' + byte(i%26)
	}
	for _, v := range [][]byte{[]byte("small"), large, []byte("after")} {
		if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: "flights", Partition: 0, Value: v}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	got := read(t, log, schemas.Range{From: 0, To: 3}, kafkalog.ReadOptions{MaxBytes: 100 << 10})
	if len(got) != 3 || got[0] != "small" || got[1] != string(large) || got[2] != "after" {
		t.Errorf("%d records", len(got))
	}
}

func TestOffsets(t *testing.T) {
	log, producer := start(t, kgo.NoCompression())
	before := time.Now().Add(-time.Second)
	produce(t, producer, 10)
	from, to, err := log.Offsets(t.Context(), "flights")
	if err != nil || from[1] != 0 || to[0] != 0 || to[1] != 10 {
		t.Errorf("Offsets = %v, %v, %v", from, to, err)
	}
	if at, err := log.OffsetsAt(t.Context(), "flights", before); err != nil || at[1] != 0 {
		t.Errorf("OffsetsAt(before) = %v, %v", at, err)
	}
	if at, err := log.OffsetsAt(t.Context(), "flights", time.Now().Add(time.Hour)); err != nil || at[1] != 10 {
		t.Errorf("OffsetsAt(later) = %v, %v", at, err)
	}
	topic, err := log.Topic(t.Context(), "flights")
	if err != nil || topic.Partitions != 2 || len(topic.ID) != 32 {
		t.Errorf("Topic = %+v, %v", topic, err)
	}
}

func TestWhatIsNotThere(t *testing.T) {
	log, _ := start(t, kgo.NoCompression())
	if _, err := log.Topic(t.Context(), "nothing"); !errors.Is(err, kafkalog.ErrNoTopic) {
		t.Errorf("Topic = %v", err)
	}
	if _, _, err := log.Offsets(t.Context(), "nothing"); !errors.Is(err, kafkalog.ErrNoTopic) {
		t.Errorf("Offsets = %v", err)
	}
	reader := log.Read("flights", schemas.Range{Partition: 0, From: 5, To: 9}, kafkalog.ReadOptions{})
	defer reader.Close()
	if c, err := reader.Next(t.Context()); err == nil {
		t.Errorf("reading beyond the end gave %v", c.Range)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	follow := log.Read("flights", schemas.Range{Partition: 1, From: 0, To: 1 << 40}, kafkalog.ReadOptions{})
	defer follow.Close()
	if _, err := follow.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("following an empty log: %v", err)
	}
}

// A reader does not go on in another topic of the same name.
func TestATopicMadeAgainIsAnother(t *testing.T) {
	log, producer := start(t, kgo.NoCompression())
	produce(t, producer, 10)
	reader := log.Read("flights", schemas.Range{Partition: 1, From: 0, To: 1 << 40}, kafkalog.ReadOptions{})
	defer reader.Close()
	c, err := reader.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Release()
	admin := kadm.NewClient(producer)
	if _, err := admin.DeleteTopic(t.Context(), "flights"); err != nil {
		t.Fatal(err)
	}
	if err := log.CreateTopic(t.Context(), "flights", 2, nil); err != nil {
		t.Fatal(err)
	}
	var messages []kafkalog.Message
	for range 20 {
		messages = append(messages, kafkalog.Message{Partition: 1, Value: []byte("new")})
	}
	if err := log.Publish(t.Context(), "flights", messages); err != nil {
		t.Fatal(err)
	}
	var problem *schemas.Problem
	if c, err := reader.Next(t.Context()); !errors.As(err, &problem) {
		t.Errorf("it went on with %v, %v", c, err)
	}
}

func TestPublish(t *testing.T) {
	log, _ := start(t, kgo.NoCompression())
	if err := log.CreateTopic(t.Context(), "slices", 2, nil); err != nil {
		t.Fatal(err)
	}
	if err := log.CreateTopic(t.Context(), "slices", 2, nil); err != nil {
		t.Fatalf("a topic that is there: %v", err)
	}
	if err := log.Publish(t.Context(), "slices", []kafkalog.Message{{Partition: 0, Value: []byte("a")}, {Partition: 1, Value: []byte("b")}}); err != nil {
		t.Fatal(err)
	}
	if err := log.Publish(t.Context(), "slices", []kafkalog.Message{{Value: make([]byte, 3<<20)}}); err != nil && !errors.Is(err, kafkalog.ErrTooLarge) {
		t.Error(err)
	}
	if _, end, err := log.Offsets(t.Context(), "slices"); err != nil || end[0] < 1 || end[1] != 1 {
		t.Errorf("Offsets = %v, %v", end, err)
	}
}
