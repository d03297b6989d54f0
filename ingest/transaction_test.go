package ingest

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipelines/kafkalog"
)

// A run with an id goes on over a topic that ends in the marker of another's transaction, and over one that is not ended.
func TestResumeOverTransactions(t *testing.T) {
	b := start(t)
	in := inputFile(t, 20)
	o := Options{Topic: flights(), Kafka: kafkalog.Config{Brokers: []string{b.Addr()}}, Files: []string{in}, ID: "again", Settle: 10 * time.Millisecond, Timeout: 20 * time.Second}
	ingest := func(resumed int64) {
		t.Helper()
		res, err := Run(t.Context(), o)
		if err != nil || res.Records+res.Rejects != 20 || res.Resumed != resumed {
			t.Fatalf("%+v, %v", res, err)
		}
	}
	ingest(0)
	other, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.DefaultProduceTopic(o.Topic.Name), kgo.TransactionalID("other"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for range 2 {
		if err := other.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for part := range int32(o.Topic.Partitions) {
			if err := other.ProduceSync(t.Context(), &kgo.Record{Partition: part, Value: []byte(line(0))}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		ingest(20)
		if err := other.EndTransaction(context.Background(), kgo.TryAbort); err != nil {
			t.Fatal(err)
		}
		ingest(20)
	}
}
