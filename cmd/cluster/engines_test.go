//go:build engines

package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// within is a context for a whole test; engines fail here rather than at the test binary's limit.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func noErr(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func startKafka(ctx context.Context, t *testing.T, o KafkaOptions) *KafkaCluster {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.Tied, o.Note = true, t.Logf
	k, err := StartKafka(ctx, o)
	noErr(t, err)
	t.Cleanup(func() { noErr(t, k.Stop()) })
	return k
}

func client(t *testing.T, brokers []string, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(more, kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic("numbers"))...)
	noErr(t, err)
	t.Cleanup(c.Close)
	return c
}

func makeTopic(ctx context.Context, t *testing.T, c *kgo.Client) {
	t.Helper()
	r := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "numbers", 3, -1
	r.Topics = append(r.Topics, topic)
	made, err := r.RequestWith(ctx, c)
	noErr(t, err)
	if code := made.Topics[0].ErrorCode; code != 0 {
		t.Fatalf("the topic is not made: error %d", code)
	}
}

// ends are the sums of the partitions' end offsets.
func ends(ctx context.Context, t *testing.T, brokers []string) int64 {
	t.Helper()
	c := client(t, brokers, kgo.ConsumeTopics("numbers"))
	n := int64(0)
	for _, partition := range []int32{0, 1, 2} {
		r := kmsg.NewPtrListOffsetsRequest()
		topic, one := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
		one.Partition, one.Timestamp = partition, -1
		topic.Topic, topic.Partitions = "numbers", append(topic.Partitions, one)
		r.ReplicaID, r.Topics = -1, append(r.Topics, topic)
		for _, shard := range c.RequestSharded(ctx, r) {
			noErr(t, shard.Err)
			n += shard.Resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].Offset
		}
	}
	return n
}

func produce(ctx context.Context, t *testing.T, c *kgo.Client, n int) {
	t.Helper()
	for range n {
		noErr(t, c.ProduceSync(ctx, kgo.StringRecord("a number")).FirstErr())
	}
}

// Three secure brokers: every way in works, a wrong password does not; one broker killed and started again costs nothing,
// and neither does stopping all and starting them from their folder.
func TestKafka(t *testing.T) {
	ctx := within(t, 8*time.Minute)
	dir := t.TempDir()
	k := startKafka(ctx, t, KafkaOptions{Dir: dir, Brokers: 3, Secure: true})
	if seen := onlyLoopback(t, k.Nodes...); seen != 12 {
		t.Errorf("%d sockets listen, want 4 of each node", seen)
	}
	ca, err := os.ReadFile(k.CA)
	noErr(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	cert, err := tls.LoadX509KeyPair(k.Cert, k.Key)
	noErr(t, err)
	encrypted := kgo.DialTLSConfig(&tls.Config{RootCAs: roots})
	makeTopic(ctx, t, client(t, k.Plaintext))
	produced := 0
	for _, m := range []sasl.Mechanism{
		plain.Auth{User: k.User, Pass: k.Password}.AsMechanism(),
		scram.Auth{User: k.User, Pass: k.Password}.AsSha256Mechanism(),
		scram.Auth{User: k.User, Pass: k.Password}.AsSha512Mechanism(),
	} {
		produce(ctx, t, client(t, k.Brokers, encrypted, kgo.SASL(m)), 10)
		produced += 10
	}
	produce(ctx, t, client(t, k.TLS, kgo.DialTLSConfig(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}})), 10)
	produced += 10
	short, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	wrong := client(t, k.Brokers, encrypted, kgo.SASL(scram.Auth{User: k.User, Pass: "wrong"}.AsSha256Mechanism()))
	if err := wrong.ProduceSync(short, kgo.StringRecord("no")).FirstErr(); err == nil {
		t.Error("a wrong password is as good as the right one")
	}
	if err := client(t, k.TLS, encrypted).Ping(short); err == nil {
		t.Error("TLS without a certificate is let in")
	}

	c := client(t, k.Plaintext)
	noErr(t, k.Nodes[1].Kill())
	if k.Nodes[1].Running() {
		t.Fatal("a node runs after it was killed")
	}
	produce(ctx, t, c, 20)
	produced += 20
	noErr(t, k.Nodes[1].Start(ctx))
	if n := ends(ctx, t, k.Plaintext); n != int64(produced) {
		t.Errorf("the topic holds %d records, %d were acknowledged", n, produced)
	}
	noErr(t, k.Stop())
	again := startKafka(ctx, t, KafkaOptions{Dir: dir, Brokers: 3, Secure: true})
	if n := ends(ctx, t, again.Plaintext); n != int64(produced) {
		t.Errorf("after all were stopped the topic holds %d records, %d were acknowledged", n, produced)
	}
}

// Flink inside the job server runs a job, again after the job server was killed, and listens on this machine only while
// a job runs.
func TestFlinkInsideTheJobServer(t *testing.T) {
	ctx := within(t, 8*time.Minute)
	f, err := StartFlink(ctx, FlinkOptions{Dir: t.TempDir(), Tied: true, Note: t.Logf})
	noErr(t, err)
	t.Cleanup(func() { noErr(t, f.Stop()) })
	runJob(ctx, t, f.Endpoint, func() { t.Logf("%d sockets", onlyLoopback(t, f.all()...)) })
	noErr(t, f.JobServer.Kill())
	noErr(t, f.JobServer.Start(ctx))
	runJob(ctx, t, f.Endpoint, nil)
}

// A cluster of Flink runs a job after each of its processes was killed and started again.
func TestFlinkCluster(t *testing.T) {
	ctx := within(t, 8*time.Minute)
	f, err := StartFlink(ctx, FlinkOptions{Dir: t.TempDir(), TaskManagers: 2, Slots: 2, Tied: true, Note: t.Logf})
	noErr(t, err)
	t.Cleanup(func() { noErr(t, f.Stop()) })
	if n := slots(ctx, t, f); n != 4 {
		t.Errorf("%d slots, want 4", n)
	}
	runJob(ctx, t, f.Endpoint, func() { t.Logf("%d sockets", onlyLoopback(t, f.all()...)) })
	noErr(t, f.TaskManagers[0].Kill())
	noErr(t, f.TaskManagers[0].Start(ctx))
	noErr(t, f.JobManager.Kill())
	noErr(t, f.JobManager.Start(ctx))
	noErr(t, f.JobServer.Kill())
	noErr(t, f.JobServer.Start(ctx))
	for slots(ctx, t, f) != 4 {
		time.Sleep(100 * time.Millisecond) // the taskmanagers find the new jobmanager by themselves
	}
	runJob(ctx, t, f.Endpoint, nil)
}

func slots(ctx context.Context, t *testing.T, f *FlinkCluster) int {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.REST+"/overview", nil)
	noErr(t, err)
	answer, err := http.DefaultClient.Do(r)
	noErr(t, err)
	defer answer.Body.Close()
	var overview struct {
		Slots int `json:"slots-total"`
	}
	noErr(t, json.NewDecoder(answer.Body).Decode(&overview))
	return overview.Slots
}

// Spark inside the job server, and a master with a worker.
func TestSpark(t *testing.T) {
	for _, workers := range []int{0, 1} {
		ctx := within(t, 8*time.Minute)
		s, err := StartSpark(ctx, SparkOptions{Dir: t.TempDir(), Workers: workers, Tied: true, Note: t.Logf})
		noErr(t, err)
		t.Cleanup(func() { noErr(t, s.Stop()) })
		runJob(ctx, t, s.Endpoint, func() { t.Logf("%d sockets", onlyLoopback(t, s.all()...)) })
		noErr(t, s.Stop())
	}
}

// PySpark runs SQL on the Spark of the cache, inside itself and on a master.
func TestPySpark(t *testing.T) {
	ctx := within(t, 8*time.Minute)
	python, err := PySpark(ctx, t.Logf)
	noErr(t, err)
	s, err := StartSpark(ctx, SparkOptions{Dir: t.TempDir(), Workers: 1, Tied: true, Note: t.Logf})
	noErr(t, err)
	t.Cleanup(func() { noErr(t, s.Stop()) })
	for _, master := range []string{"local[1]", s.Master} {
		cmd := exec.CommandContext(ctx, python.Path, "-c", `
import sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.master(sys.argv[1]).getOrCreate()
print(spark.version, spark.sql("SELECT sum(id) FROM range(100)").collect()[0][0], spark.sparkContext.parallelize([1, 2]).map(lambda n: n * 2).sum())
`, master)
		cmd.Env = append(os.Environ(), python.Env...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("on %s: %v: %s", master, err, err.(*exec.ExitError).Stderr)
		}
		if want := pysparkVersion + " 4950 6\n"; string(out) != want {
			t.Errorf("on %s it printed %q, want %q", master, out, want)
		}
	}
}

// What runs in a folder is left as it is; what an interrupted start has begun is ended, and what ran before is not.
func TestUp(t *testing.T) {
	ctx := within(t, 8*time.Minute)
	dir := t.TempDir()
	t.Cleanup(func() {
		_, err := Down(context.Background(), dir, nil, true, t.Logf)
		noErr(t, err)
	})
	o := UpOptions{Dir: dir, Engines: []string{Kafka}, FreePorts: true, Note: t.Logf}
	first, err := Up(ctx, o)
	noErr(t, err)
	again, err := Up(ctx, o)
	noErr(t, err)
	if len(first.Processes) != 1 || first.Processes[0].PID != again.Processes[0].PID || first.Kafka.Brokers[0] != again.Kafka.Brokers[0] {
		t.Errorf("up gives %+v, up again %+v", first, again)
	}

	interrupted, interrupt := context.WithCancel(ctx)
	o.Engines, o.Note = []string{Kafka, Flink}, func(format string, args ...any) {
		if t.Logf(format, args...); format == "starting %s" {
			time.AfterFunc(300*time.Millisecond, interrupt)
		}
	}
	if _, err := Up(interrupted, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	now, err := Status(dir)
	noErr(t, err)
	if len(now.Processes) != 1 || !now.Processes[0].Running || now.Processes[0].PID != first.Processes[0].PID {
		t.Errorf("after an interrupted up there is %+v", now.Processes)
	}
	n, err := Down(ctx, dir, nil, false, t.Logf)
	noErr(t, err)
	if n != 1 {
		t.Errorf("%d processes were stopped", n)
	}
}
