package ingest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/ingest/broker"
	"github.com/millrace/millrace/ingest/source"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// The test binary is also the processes that get killed: a broker over the named directory, or a run of ingest with
// the options in JSON.
const (
	brokerEnv = "MILLRACE_TEST_BROKER_DIR"
	ingestEnv = "MILLRACE_TEST_INGEST"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(brokerEnv); dir != "" {
		b, err := broker.Open(context.Background(), broker.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			fmt.Println("error", err)
			os.Exit(3)
		}
		fmt.Println(b.Addr())
		io.Copy(io.Discard, os.Stdin)
		b.Close()
		os.Exit(0)
	}
	if text := os.Getenv(ingestEnv); text != "" {
		var o struct {
			Broker, File, ID string
			Rate             int64
			Settle           time.Duration
		}
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			panic(err)
		}
		res, err := Run(context.Background(), Options{Topic: flights(), Kafka: kafkalog.Config{Brokers: []string{o.Broker}}, Files: []string{o.File}, ID: o.ID, Rate: o.Rate, Settle: cmp.Or(o.Settle, 200*time.Millisecond)})
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		json.NewEncoder(os.Stdout).Encode(res)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func flights() *schemas.Topic {
	topic, problems := schemas.ParseTopic("flights", "topics/flights.yaml", []byte(`
partitions: 4
key: origin
max_record: 2MiB
fields:
  date: TIMESTAMP NOT NULL
  delay: INTEGER
  origin: VARCHAR NOT NULL
`))
	if len(problems) > 0 {
		panic(problems[0])
	}
	return topic
}

func start(t testing.TB) *broker.Broker {
	t.Helper()
	b, err := broker.Open(t.Context(), broker.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// readAll gives the topic's records, each partition's in order.
func readAll(t testing.TB, addr, topic string) []*schemas.Record {
	t.Helper()
	p, err := NewProducer(ProducerOptions{Kafka: kafkalog.Config{Brokers: []string{addr}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ends, err := p.ends(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	var out []*schemas.Record
	if err := p.read(ctx, topic, schemas.Frontier{}, ends, func(r *schemas.Record) { kept := *r; out = append(out, &kept) }); err != nil {
		t.Fatal(err)
	}
	return out
}

func line(i int) string {
	return fmt.Sprintf(`{"date":"2001-01-01T00:00:00","delay":%d,"origin":"A%02d"}`, i, i%53)
}

func inputFile(t testing.TB, n int) string {
	t.Helper()
	var b bytes.Buffer
	for i := range n {
		b.WriteString(line(i))
		b.WriteByte('\n')
	}
	path := filepath.Join(t.TempDir(), "in.ndjson")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantLines checks that the topic has the lines 0..n-1 once each, in order for each key.
func wantLines(t testing.TB, addr string, n int) {
	t.Helper()
	seen := make([]int, n)
	last := map[string]int{}
	for _, r := range readAll(t, addr, "flights") {
		var v struct {
			Delay  int
			Origin string
		}
		if err := json.Unmarshal(r.Value, &v); err != nil {
			t.Fatal(err)
		}
		seen[v.Delay]++
		if v.Origin != string(r.Key) {
			t.Errorf("key %q of %s", r.Key, r.Value)
		}
		if before, ok := last[v.Origin]; ok && before >= v.Delay {
			t.Errorf("line %d of key %s after line %d", v.Delay, v.Origin, before)
		}
		last[v.Origin] = v.Delay
	}
	var missing, doubled int
	for _, k := range seen {
		switch {
		case k == 0:
			missing++
		case k > 1:
			doubled++
		}
	}
	if missing > 0 || doubled > 0 {
		t.Errorf("of %d lines %d are missing and %d doubled", n, missing, doubled)
	}
}

func TestRunSendsEveryLine(t *testing.T) {
	b := start(t)
	long := `{"date":"2001-01-01","origin":"` + strings.Repeat("x", 2<<20) + `"}`
	big := `{"date":"2001-01-01","origin":"big","delay":1,"pad":"` + strings.Repeat("y", 1<<20) + `"}`
	in := "\ufeff" + line(1) + "\r\n\n   \t\nnot json\n" + long + "\n" + line(2) + "\n" + big + "\n" + `{"delay":3}` + "\n" + line(3)
	res, err := Run(t.Context(), Options{Topic: flights(), Kafka: kafkalog.Config{Brokers: []string{b.Addr()}}, Stdin: strings.NewReader(in)})
	if err != nil {
		t.Fatal(err)
	}
	if res.Records != 4 || res.Rejects != 2 || len(res.Refused) != 1 || res.Refused[0].Line != 5 || !res.Failed() {
		t.Errorf("result %+v", res)
	}
	var sum int64
	for _, end := range res.Offsets {
		sum += end
	}
	if sum != 6 || len(res.Offsets) != 4 {
		t.Errorf("offsets %v", res.Offsets)
	}
	got := map[string]string{}
	for _, r := range readAll(t, b.Addr(), "flights") {
		got[string(r.Value)] = string(r.Key)
	}
	want := map[string]string{line(1): "A01", line(2): "A02", line(3): "A03", big: "big", "not json": "", `{"delay":3}`: ""}
	if !maps.Equal(got, want) {
		t.Errorf("log has %.300v", got)
	}
	data, err := json.Marshal(res)
	if err != nil || !strings.HasPrefix(string(data), `{"topic":"flights","records":4,"rejects":2,"offsets":{"0":`) {
		t.Errorf("%s %v", data, err)
	}
}

// The murmur2 values are those of Apache Kafka's own test (UtilsTest.testMurmur2).
func TestKeyPicksKafkasPartition(t *testing.T) {
	b := start(t)
	p, err := NewProducer(ProducerOptions{Kafka: kafkalog.Config{Brokers: []string{b.Addr()}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	topic := flights()
	topic.Partitions = 97
	for key, murmur2 := range map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829} {
		at, err := p.Append(t.Context(), topic, [][]byte{fmt.Appendf(nil, `{"origin":%q}`, key)})
		if err != nil {
			t.Fatal(err)
		}
		if want := (murmur2 & 0x7fffffff) % 97; at[0].Partition != want {
			t.Errorf("%s lies in %d, want %d", key, at[0].Partition, want)
		}
	}
}

func TestAppendIsDurableAndConcurrent(t *testing.T) {
	b := start(t)
	p, err := NewProducer(ProducerOptions{Kafka: kafkalog.Config{Brokers: []string{b.Addr()}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var wg sync.WaitGroup
	var mu sync.Mutex
	want := map[Offset]string{}
	for w := range 8 {
		wg.Go(func() {
			for k := range 10 {
				var batch [][]byte
				for i := range 7 {
					batch = append(batch, []byte(line(w*1000+k*10+i)))
				}
				at, err := p.Append(t.Context(), flights(), batch)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for i, o := range at {
					want[o] = string(batch[i])
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	got := map[Offset]string{}
	for _, r := range readAll(t, b.Addr(), "flights") {
		got[Offset{r.Partition, r.Offset}] = string(r.Value)
	}
	if len(want) != 560 || !maps.Equal(got, want) {
		t.Errorf("%d acknowledged, %d in the log", len(want), len(got))
	}
	var long *source.TooLongError
	if _, err := p.Append(t.Context(), flights(), [][]byte{[]byte(line(1)), make([]byte, 3<<20)}); !errors.As(err, &long) {
		t.Errorf("a long record: %v", err)
	}
	if n := len(readAll(t, b.Addr(), "flights")); n != 560 {
		t.Errorf("%d records after a refused call", n)
	}
}

func TestStrictSendsNothing(t *testing.T) {
	b := start(t)
	run := func(in string) (Result, error) {
		return Run(t.Context(), Options{Topic: flights(), Kafka: kafkalog.Config{Brokers: []string{b.Addr()}}, Stdin: strings.NewReader(in), Strict: true})
	}
	if _, err := run(line(1) + "\n" + line(2) + "\n"); err != nil {
		t.Fatal(err)
	}
	res, err := run(line(3) + "\n\nnope\n" + line(4))
	if schemas.KindOf(err) != schemas.Failed || !strings.Contains(err.Error(), "line 3") || len(res.Refused) != 1 {
		t.Errorf("%+v %v", res, err)
	}
	if n := len(readAll(t, b.Addr(), "flights")); n != 2 {
		t.Errorf("%d records", n)
	}
}

func TestSlowInputIsSentAsItComes(t *testing.T) {
	b := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	acked := make(chan int64, 1000)
	type end struct {
		res Result
		err error
	}
	done := make(chan end, 1)
	go func() {
		res, err := Run(ctx, Options{Topic: flights(), Kafka: kafkalog.Config{Brokers: []string{b.Addr()}}, Stdin: r, Progress: func(p Progress) {
			select {
			case acked <- p.Records:
			default:
			}
		}})
		done <- end{res, err}
	}()
	for i := range 3 {
		fmt.Fprintln(w, line(i))
		for n := range acked {
			if n == int64(i+1) {
				break
			}
		}
	}
	cancel() // while the input is still open
	e := <-done
	if !errors.Is(e.err, context.Canceled) || e.res.Records != 3 || !strings.Contains(e.err.Error(), "3 lines are acknowledged") {
		t.Errorf("%+v %v", e.res, e.err)
	}
}

func TestRate(t *testing.T) {
	b := start(t)
	began := time.Now()
	if _, err := Run(t.Context(), Options{Topic: flights(), Kafka: kafkalog.Config{Brokers: []string{b.Addr()}}, Files: []string{inputFile(t, 500)}, Rate: 1000}); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d < 450*time.Millisecond || d > 3*time.Second {
		t.Errorf("500 records at 1000 a second took %v", d)
	}
}

func TestKeyOf(t *testing.T) {
	for in, want := range map[string]string{
		`{"origin":"SFO"}`: "SFO",
		` { "a" : [1,{"origin":"no"}], "origin":12.50 }`: "12.50",
		`{"origin":null}`:          "",
		`{"origin":"a\"b\u0041"}`:  `a"bA`,
		`{"or\u0069gin":"x"}`:      "x",
		`{"x":"}\"","origin":true`: "true",
		`{"origin":{"a":[1,2]}}`:   `{"a":[1,2]}`,
		`{"x":"never ends`:         "",
		`[1]`:                      "",
		``:                         "",
		`{"x":,"origin":"y"}`:      "",
		`{"Origin":"y"}`:           "",
	} {
		if got := keyOf([]byte(in), "origin"); string(got) != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}
