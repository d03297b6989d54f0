package broker

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// helperEnv makes the test binary a broker process of its own: its value is the directory.
const helperEnv = "MILLRACE_TEST_BROKER_DIR"

func TestMain(m *testing.M) {
	dir := os.Getenv(helperEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	b, err := Open(context.Background(), Options{Dir: dir, Log: quiet()})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(3)
	}
	fmt.Println(b.Addr())
	io.Copy(io.Discard, os.Stdin) // until the parent closes it
	if err := b.Close(); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(t testing.TB, dir string) *Broker {
	t.Helper()
	b, err := Open(t.Context(), Options{Dir: dir, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// process is a broker in a process of its own.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	addr  string
}

func startProcess(t testing.TB, dir string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), helperEnv+"="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.HasPrefix(line, "error") {
		t.Fatalf("the broker process said %q, %v", line, err)
	}
	return &process{cmd: cmd, stdin: in, addr: strings.TrimSpace(line)}
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

func client(t testing.TB, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMinAge(20 * time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond })}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func createTopic(t testing.TB, cl *kgo.Client, topic string, partitions int32) {
	t.Helper()
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), partitions, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
}

func topicID(t testing.TB, cl *kgo.Client, topic string) kadm.TopicID {
	t.Helper()
	ts, err := kadm.NewClient(cl).ListTopics(t.Context(), topic)
	if err != nil || ts[topic].Err != nil {
		t.Fatal(err, ts[topic].Err)
	}
	return ts[topic].ID
}

// readAll returns every record of the topic, in order of offset for each partition.
func readAll(t testing.TB, addr, topic string) []*kgo.Record {
	t.Helper()
	cl := client(t, addr)
	ends, err := kadm.NewClient(cl).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	var want int64
	ends.Each(func(o kadm.ListedOffset) { want += o.Offset })
	rd := client(t, addr, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out []*kgo.Record
	for int64(len(out)) < want {
		fs := rd.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("read %d of %d records: %v", len(out), want, err)
		}
		out = append(out, fs.Records()...)
	}
	return out
}

func TestKilledDuringProduceKeepsWhatItAcknowledgedOnce(t *testing.T) {
	const kills, partitions, topic = 24, 3, "flights"
	dir := t.TempDir()
	p := startProcess(t, dir)
	cl := client(t, p.addr, kgo.ProducerLinger(0), kgo.MaxBufferedRecords(4000))
	createTopic(t, cl, topic, partitions)
	id := topicID(t, cl, topic)

	var acked [partitions]map[uint64]int64
	for i := range acked {
		acked[i] = map[uint64]int64{}
	}
	var mu sync.Mutex
	var stop atomic.Bool
	var sent uint64
	done := make(chan struct{})
	go func() { // one producer lives through every crash, so its retries reach the next process
		defer close(done)
		for n := uint64(0); !stop.Load(); n++ {
			v := binary.BigEndian.AppendUint64(make([]byte, 0, 200), n)
			cl.Produce(t.Context(), &kgo.Record{Topic: topic, Partition: int32(n % partitions), Value: v[:8+n%190]}, func(r *kgo.Record, err error) {
				if err != nil {
					t.Errorf("produce %d: %v", n, err)
					return
				}
				mu.Lock()
				acked[r.Partition][n] = r.Offset
				mu.Unlock()
			})
			sent = n + 1
		}
	}()
	for range kills {
		mu.Lock()
		before := len(acked[0])
		mu.Unlock()
		until := before + rand.IntN(3000)
		for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); {
			mu.Lock()
			now := len(acked[0])
			mu.Unlock()
			if now > until {
				break
			}
		}
		p.kill()
		next := startProcess(t, dir)
		if next.addr != p.addr {
			t.Fatalf("the address changed from %s to %s", p.addr, next.addr)
		}
		p = next
	}
	stop.Store(true)
	<-done
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := topicID(t, client(t, p.addr), topic); got != id {
		t.Errorf("topic id %v, want %v", got, id)
	}
	var total int
	seen := map[uint64]int{}
	next := map[int32]int64{}
	for _, r := range readAll(t, p.addr, topic) {
		n := binary.BigEndian.Uint64(r.Value)
		seen[n]++
		total++
		if r.Offset != next[r.Partition] {
			t.Fatalf("offset %d of partition %d, want %d", r.Offset, r.Partition, next[r.Partition])
		}
		next[r.Partition]++
		if at, ok := acked[r.Partition][n]; !ok || at != r.Offset {
			t.Errorf("record %d lies at %d[%d], acknowledged at %d (%v)", n, r.Partition, r.Offset, at, ok)
		}
	}
	if len(seen) != total || uint64(total) != sent {
		t.Errorf("%d records, %d different, %d sent", total, len(seen), sent)
	}
	t.Logf("%d records over %d kills", total, kills)
}

func TestTornTailIsCut(t *testing.T) {
	dir := t.TempDir()
	p := startProcess(t, dir)
	cl := client(t, p.addr)
	createTopic(t, cl, "a.b", 1)
	for i := range 5 {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "a.b", Value: []byte(strconv.Itoa(i))}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	p.kill()
	seg := filepath.Join(dir, "partitions", "a.b-0", "0.dat")
	data, err := os.ReadFile(seg)
	if err != nil {
		t.Fatal(err)
	}
	for _, tail := range [][]byte{data[:30], data[:len(data)/5-1], make([]byte, 100), {0}} {
		if err := os.WriteFile(seg, append(data[:len(data):len(data)], tail...), 0o644); err != nil {
			t.Fatal(err)
		}
		p := startProcess(t, dir)
		if got := readAll(t, p.addr, "a.b"); len(got) != 5 {
			t.Fatalf("%d records after a tail of %d bytes", len(got), len(tail))
		}
		p.kill()
	}
	for _, at := range []int{20, len(data) / 2} { // broken where no crash breaks it
		bad := append([]byte(nil), data...)
		bad[at] ^= 1
		if err := os.WriteFile(seg, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), Options{Dir: dir, Log: quiet()})
		if schemas.KindOf(err) != schemas.Environment || !strings.Contains(err.Error(), "damaged") {
			t.Fatalf("opened a damaged log: %v", err)
		}
		if now, _ := os.ReadFile(seg); string(now) != string(bad) {
			t.Fatal("a damaged segment was changed")
		}
	}
}

func TestOneOwner(t *testing.T) {
	dir := t.TempDir()
	if _, ok := Owner(dir); ok {
		t.Fatal("an empty folder has an owner")
	}
	p := startProcess(t, dir)
	_, err := Open(t.Context(), Options{Dir: dir, Log: quiet()})
	if !errors.Is(err, ErrOwned) || schemas.KindOf(err) != schemas.Environment || !strings.Contains(err.Error(), strconv.Itoa(p.cmd.Process.Pid)) {
		t.Fatalf("second owner: %v", err)
	}
	if o, ok := Owner(dir); !ok || o.PID != p.cmd.Process.Pid || o.Addr != p.addr {
		t.Fatalf("owner %+v %v", o, ok)
	}
	p.stdin.Close()
	p.cmd.Wait()
	b, err := Open(t.Context(), Options{Dir: dir, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, openFile)); err == nil {
		t.Error("a closed folder still looks open")
	}
}

func TestRefusesOtherAddresses(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":9092", "nonsense", "127.0.0.1:x"} {
		if _, err := Open(t.Context(), Options{Dir: t.TempDir(), Listen: addr, Log: quiet()}); schemas.KindOf(err) != schemas.Usage {
			t.Errorf("%s: %v", addr, err)
		}
	}
	b := open(t, t.TempDir())
	if _, err := Open(t.Context(), Options{Dir: t.TempDir(), Listen: b.Addr(), Log: quiet()}); schemas.KindOf(err) != schemas.Environment {
		t.Errorf("port in use: %v", err)
	}
}

func TestAppendTimeIsTheBrokers(t *testing.T) {
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.ZstdCompression()} {
		b := open(t, t.TempDir())
		now := time.UnixMilli(1_700_000_000_000)
		b.guard.now, b.guard.last = func() time.Time { return now }, 0
		cl := client(t, b.Addr(), kgo.ProducerBatchCompression(codec))
		createTopic(t, cl, "t", 1)
		batch := func(times ...int64) (rs []*kgo.Record) {
			for _, ms := range times {
				rs = append(rs, &kgo.Record{Topic: "t", Timestamp: time.UnixMilli(ms), Key: []byte("k"), Value: []byte(strings.Repeat("v", 300)), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("x")}}})
			}
			return rs
		}
		send := func(rs []*kgo.Record) {
			if err := cl.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		send(batch(5, 5))
		send(batch(1, 99, 7, 4_000_000_000_000))
		now = now.Add(-time.Hour) // a clock set back
		send(batch(2, 1))
		rs := readAll(t, b.Addr(), "t")
		if len(rs) != 8 {
			t.Fatalf("%d records", len(rs))
		}
		for _, r := range rs {
			if r.Timestamp.UnixMilli() != 1_700_000_000_000 || string(r.Key) != "k" || len(r.Value) != 300 || len(r.Headers) != 1 {
				t.Errorf("record %d: %v %q", r.Offset, r.Timestamp, r.Key)
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if newest := newestAppend(b.Dir()); newest != 1_700_000_000_000 {
			t.Errorf("newest append time %d", newest)
		}
	}
}

func TestNearlyFullDiskIsRefusedUntilThereIsRoom(t *testing.T) {
	b := open(t, t.TempDir())
	cl := client(t, b.Addr())
	createTopic(t, cl, "t", 1)
	b.guard.minFree.Store(1 << 60)
	refused := client(t, b.Addr(), kgo.RecordRetries(1), kgo.DisableIdempotentWrite())
	if err := refused.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("x")}).FirstErr(); !errors.Is(err, kerr.KafkaStorageError) {
		t.Fatalf("a full disk: %v", err)
	}
	if !b.Full() || b.Fault() != nil {
		t.Fatal("not said to be full")
	}
	done := make(chan error, 1)
	cl.Produce(t.Context(), &kgo.Record{Topic: "t", Value: []byte("waits")}, func(_ *kgo.Record, err error) { done <- err })
	b.guard.minFree.Store(0)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if rs := readAll(t, b.Addr(), "t"); len(rs) != 1 || b.Full() {
		t.Fatalf("%d records, full %v", len(rs), b.Full())
	}
}

// A failed write (here the partition's folder cannot be made) must not be acknowledged by its retry.
func TestFailedWriteIsNeverAcknowledged(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	cl := client(t, b.Addr(), kgo.RecordRetries(2))
	createTopic(t, cl, "t", 2)
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("kept")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "partitions", "t-1"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Partition: 1, Value: []byte("lost")}).FirstErr(); err == nil {
			t.Fatal("acknowledged a record that was not written")
		}
		other := client(t, b.Addr(), kgo.RecordRetries(0), kgo.DisableIdempotentWrite())
		if err := other.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("late")}).FirstErr(); !errors.Is(err, kerr.KafkaStorageError) {
			t.Fatalf("after a fault: %v", err)
		}
	}
	if b.Fault() == nil {
		t.Fatal("no fault")
	}
	b.Close()
	if err := os.Remove(filepath.Join(dir, "partitions", "t-1")); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir)
	if rs := readAll(t, b.Addr(), "t"); len(rs) != 1 || string(rs[0].Value) != "kept" {
		t.Fatalf("%d records", len(rs))
	}
}

func TestGarbageOnTheSocket(t *testing.T) {
	b := open(t, t.TempDir())
	c, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.1\r\n\r\n")
	if n, err := io.Copy(io.Discard, c); n != 0 && err == nil {
		t.Errorf("answered %d bytes", n)
	}
	createTopic(t, client(t, b.Addr()), "still-there", 1)
}
