package kafkalog_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// A broker that hangs up on whatever it is asked, as one that stops does, is not a range's end.
func TestABrokerThatHangsUp(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "flights"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	producer, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(producer.Close)
	produce(t, producer, 300)
	var left atomic.Int32 // requests that it hangs up on
	broker.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		hangsUp := left.Add(-1) >= 0
		return nil, errors.New("hung up"), hangsUp
	})
	log, err := kafkalog.Open(kafkalog.Config{Brokers: broker.ListenAddrs()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	var got, want []string
	chain(t, log, "flights", schemas.Range{Partition: 1, To: 300}, kafkalog.ReadOptions{MaxBytes: 2000}, func(c *kafkalog.Chunk) {
		for i := range c.Records {
			got = append(got, string(c.Records[i].Value))
		}
		left.Store(6)
	})
	for i := range int64(300) {
		want = append(want, value(i))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d of %d records were read", len(got), len(want))
	}
}
