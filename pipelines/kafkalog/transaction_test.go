package kafkalog_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// values are the records of a range read in fetches of some bytes.
func values(t *testing.T, l *kafkalog.Log, topic string, r schemas.Range, o kafkalog.ReadOptions) (out []string) {
	t.Helper()
	chain(t, l, topic, r, o, func(c *kafkalog.Chunk) {
		for _, rec := range c.Records {
			out = append(out, fmt.Sprintf("%d=%s", rec.Offset, rec.Value))
		}
	})
	return out
}

// readsTransactions holds that of a partition on which producers commit and abort by turns only the committed records are
// read, from every offset and by any size of a fetch, and none of a transaction that has not ended.
func readsTransactions(t *testing.T, c kafkalog.Config, topic string, codec kgo.CompressionCodec) {
	t.Helper()
	options, err := c.Options()
	if err != nil {
		t.Fatal(err)
	}
	log, err := kafkalog.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := log.CreateTopic(t.Context(), topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	producer := func(more ...kgo.Opt) *kgo.Client {
		cl, err := kgo.NewClient(append(append(options, kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codec)), more...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		return cl
	}
	var committed []string
	send := func(cl *kgo.Client, counts bool, name string) []string {
		var sent []string
		for i := range 3 { // a batch each
			r := kgo.StringRecord(fmt.Sprintf("%s%d", name, i))
			if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if counts {
				sent = append(sent, fmt.Sprintf("%d=%s", r.Offset, r.Value))
			}
		}
		return sent
	}
	plain, one, two := producer(), producer(kgo.TransactionalID(topic+"1")), producer(kgo.TransactionalID(topic+"2"))
	begin := func(cl *kgo.Client) {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
	}
	end := func(cl *kgo.Client, how kgo.TransactionEndTry) {
		if err := cl.EndTransaction(t.Context(), how); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 8 { // every mixture of two transactions one in the other, and plain records among them
		oneCommits, twoCommits := round&1 != 0, round&2 != 0
		begin(one)
		committed = append(committed, send(one, oneCommits, "a")...)
		begin(two)
		committed = append(committed, send(plain, true, "p")...)
		committed = append(committed, send(two, twoCommits, "b")...)
		first, second := one, two
		firstCommits, secondCommits := oneCommits, twoCommits
		if round&4 != 0 {
			first, second, firstCommits, secondCommits = two, one, twoCommits, oneCommits
		}
		end(first, kgo.TransactionEndTry(firstCommits))
		committed = append(committed, send(plain, true, "q")...)
		committed = append(committed, send(second, secondCommits, "c")...)
		end(second, kgo.TransactionEndTry(secondCommits))
	}
	begin(one)
	open := send(one, true, "open")
	behind := send(plain, true, "behind")
	defer end(one, kgo.TryAbort)

	start, stable, err := log.Offsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	high, err := kadm.NewClient(plain).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	last, _ := high.Lookup(topic, 0)
	if last.Offset != stable[0]+6 {
		t.Fatalf("the log ends at %d, and %d counts", last.Offset, stable[0])
	}
	for from := start[0]; from <= stable[0]; from++ {
		var want []string
		for _, v := range committed {
			var at int64
			_, _ = fmt.Sscanf(v, "%d=", &at)
			if at >= from {
				want = append(want, v)
			}
		}
		for _, bytes := range []int{1, 300, 1 << 20} {
			if got := values(t, log, topic, schemas.Range{From: from, To: stable[0]}, kafkalog.ReadOptions{MaxBytes: bytes}); !slices.Equal(got, want) {
				t.Fatalf("from %d by %d bytes:\n got %v\nwant %v", from, bytes, got, want)
			}
		}
	}
	// Every range that ends anywhere, in a hole or in a marker too.
	for to := start[0]; to <= stable[0]; to += 5 {
		values(t, log, topic, schemas.Range{From: max(start[0], to-7), To: to}, kafkalog.ReadOptions{})
	}
	all := values(t, log, topic, schemas.Range{From: stable[0], To: last.Offset}, kafkalog.ReadOptions{Uncommitted: true})
	if !slices.Equal(all, append(open, behind...)) {
		t.Errorf("uncommitted: %v", all)
	}
}

func TestTransactions(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	readsTransactions(t, kafkalog.Config{Brokers: cluster.ListenAddrs()}, "txn", kgo.ZstdCompression())
}

// A compacted topic is refused until it is not compacted any more.
func TestACompactedTopicIsRefused(t *testing.T) { refusesCompacted(t, brokers(t)) }

func refusesCompacted(t *testing.T, at []string) {
	t.Helper()
	log, err := kafkalog.Open(kafkalog.Config{Brokers: at})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := log.CreateTopic(t.Context(), "c", 1, map[string]string{"cleanup.policy": "compact,delete"}); err != nil {
		t.Fatal(err)
	}
	var problem *schemas.Problem
	if _, err := log.Topic(t.Context(), "c"); !errors.As(err, &problem) {
		t.Errorf("Topic = %v", err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(at...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: kadm.StringPtr("delete")}}, "c"); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Topic(t.Context(), "c"); err != nil {
		t.Error(err)
	}
}

// Topics are made with the replication asked for, and a cluster that is too small says so.
func TestReplication(t *testing.T) {
	at := brokers(t)
	for replication, fails := range map[int]bool{2: false, 3: false, 4: true} {
		log, err := kafkalog.Open(kafkalog.Config{Brokers: at, Replication: replication, MinInsync: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		name := fmt.Sprintf("r%d", replication)
		err = log.CreateTopic(t.Context(), name, 2, nil)
		if (err != nil) != fails || fails && schemas.KindOf(err) != schemas.Environment {
			t.Errorf("replication %d: %v", replication, err)
		}
		if fails {
			t.Log(err)
		}
	}
}

// Every codec that is asked for is sent and read back, and a topic's messages come whole.
func TestEveryCodecIsPublished(t *testing.T) { publishesEveryCodec(t, brokers(t)) }

func publishesEveryCodec(t *testing.T, at []string) {
	t.Helper()
	for _, codec := range []string{"", "none", "gzip", "snappy", "lz4", "zstd"} {
		log, err := kafkalog.Open(kafkalog.Config{Brokers: at, Compression: codec})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		name := "codec" + codec
		if err := log.CreateTopic(t.Context(), name, 1, nil); err != nil {
			t.Fatal(err)
		}
		if err := log.Publish(t.Context(), name, []kafkalog.Message{{Value: []byte("aaaaaaaaaaaaaaaa")}, {Key: []byte("k"), Value: []byte("b")}}); err != nil {
			t.Fatalf("%s: %v", codec, err)
		}
		if got := values(t, log, name, schemas.Range{To: 2}, kafkalog.ReadOptions{}); len(got) != 2 || got[0] != "0=aaaaaaaaaaaaaaaa" {
			t.Errorf("%s: %v", codec, got)
		}
	}
}

// A partition's leader moves while it is read and published to.
func TestALeaderThatMoves(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(1, "flights"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	log, err := kafkalog.Open(kafkalog.Config{Brokers: cluster.ListenAddrs()})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	reader := log.Read("flights", schemas.Range{To: 9}, kafkalog.ReadOptions{})
	defer reader.Close()
	for i := range int64(9) {
		if err := cluster.MoveTopicPartition("flights", 0, int32(i%3)); err != nil {
			t.Fatal(err)
		}
		if err := log.Publish(t.Context(), "flights", []kafkalog.Message{{Value: fmt.Append(nil, i)}}); err != nil {
			t.Fatal(err)
		}
		if _, end, err := log.Offsets(t.Context(), "flights"); err != nil || end[0] != i+1 {
			t.Fatalf("Offsets = %v, %v", end, err)
		}
		c, err := reader.Next(t.Context())
		if err != nil || c.From != i || c.To != i+1 {
			t.Fatalf("%v, %v", c, err)
		}
		c.Release()
	}
}
