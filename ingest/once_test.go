package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/ingest/broker"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

func producer(t *testing.T, addr string) *Producer {
	t.Helper()
	p, err := NewProducer(ProducerOptions{Kafka: kafkalog.Config{Brokers: []string{addr}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func payloads(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = []byte(line(i))
	}
	return out
}

// onlyOnce says whether the topic holds each payload once, and each offset is its payload's.
func onlyOnce(t *testing.T, addr string, want [][]byte, offsets []Offset) {
	t.Helper()
	at := map[Offset]string{}
	for _, r := range readAll(t, addr, "flights") {
		at[Offset{r.Partition, r.Offset}] = string(r.Value)
	}
	if len(at) != len(want) || len(offsets) != len(want) {
		t.Fatalf("%d records in the log, %d offsets, want %d", len(at), len(offsets), len(want))
	}
	for i, o := range offsets {
		if at[o] != string(want[i]) {
			t.Fatalf("record %d is not at %v", i, o)
		}
	}
}

func TestAppendOnce(t *testing.T) {
	addr := start(t).Addr()
	want := payloads(500)
	first, replayed, err := producer(t, addr).AppendOnce(t.Context(), flights(), "a key/with @", want)
	if err != nil || replayed {
		t.Fatal(replayed, err)
	}
	onlyOnce(t, addr, want, first)
	// Other processes, later.
	for range 2 {
		p := producer(t, addr)
		for range 2 {
			again, replayed, err := p.AppendOnce(t.Context(), flights(), "a key/with @", want)
			if err != nil || !replayed || !reflect.DeepEqual(again, first) {
				t.Fatal("not the same offsets again", replayed, err)
			}
		}
		if _, _, err := p.AppendOnce(t.Context(), flights(), "a key/with @", want[1:]); !errors.Is(err, ErrKeyReused) {
			t.Errorf("other records: %v", err)
		}
	}
	onlyOnce(t, addr, want, first)
	// Another key is another request.
	if _, replayed, err := producer(t, addr).AppendOnce(t.Context(), flights(), "b", want); err != nil || replayed {
		t.Error(replayed, err)
	}
}

// killed is a process that was killed after its claim of a key, with these of its records in the log.
func killed(t *testing.T, addr, key string, want [][]byte, have []int) {
	t.Helper()
	p := producer(t, addr)
	target, err := p.target(t.Context(), flights())
	if err != nil {
		t.Fatal(err)
	}
	rq := &request{body: bodyHash(want)}
	n, _, err := p.lookForRequest(t.Context(), target, key, want, rq)
	if err != nil {
		t.Fatal(err)
	}
	if held, err := p.claimRequest(t.Context(), n); err != nil || !held {
		t.Fatal(held, err)
	}
	var some [][]byte
	for _, i := range have {
		some = append(some, want[i])
	}
	s, err := p.send(t.Context(), flights(), target, some, func(i int) []kgo.RecordHeader {
		return []kgo.RecordHeader{{Key: requestHeader, Value: []byte(requestPrefix(n) + strconv.Itoa(have[i]))}}
	})
	if err != nil {
		t.Fatal(err)
	}
	if <-s.all; s.err != nil {
		t.Fatal(s.err)
	}
}

// A process that was killed after its claim, with some of the records in the log: the next ones, also two at once, send
// the others once.
func TestAppendOnceGoesOnWhereAKilledProcessStopped(t *testing.T) {
	for _, have := range []int{0, 1, 137, 300} {
		t.Run(strconv.Itoa(have), func(t *testing.T) {
			t.Parallel()
			addr := start(t).Addr()
			want := payloads(300)
			var some []int // those that reached the log need not be the first ones
			for i := range have {
				some = append(some, (i*7)%len(want))
			}
			killed(t, addr, "k", want, some)
			var wg sync.WaitGroup
			for range 3 {
				p := producer(t, addr)
				wg.Go(func() {
					offsets, replayed, err := p.AppendOnce(t.Context(), flights(), "k", want)
					if err != nil || !replayed {
						t.Error(replayed, err)
						return
					}
					onlyOnce(t, addr, want, offsets)
				})
			}
			wg.Wait()
		})
	}
}

// The log does not stand still for a request to be taken over.
func TestAppendOnceGoesOnUnderLoad(t *testing.T) {
	addr := start(t).Addr()
	want := payloads(100)
	killed(t, addr, "k", want, []int{3, 5})
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	other := producer(t, addr)
	load.Go(func() {
		for ctx.Err() == nil {
			if _, err := other.Append(ctx, flights(), [][]byte{[]byte(line(1_000_000))}); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	offsets, replayed, err := producer(t, addr).AppendOnce(t.Context(), flights(), "k", want)
	stop()
	load.Wait()
	if err != nil || !replayed {
		t.Fatal(replayed, err)
	}
	copies := map[string]int{}
	for _, r := range readAll(t, addr, "flights") {
		copies[string(r.Value)]++
	}
	for i, v := range want {
		if copies[string(v)] != 1 {
			t.Fatalf("record %d is in the log %d times", i, copies[string(v)])
		}
	}
	if copies[line(1_000_000)] == 0 || len(offsets) != len(want) {
		t.Error("there was no load, or not an offset for each record")
	}
}

// Several processes get the same keys at the same moment.
func TestAppendOnceAtSeveralProcessesAtOnce(t *testing.T) {
	addr := start(t).Addr()
	const keys, processes = 12, 3
	var wg sync.WaitGroup
	got := [keys][processes][]Offset{}
	for at := range processes {
		p := producer(t, addr)
		for key := range keys {
			wg.Go(func() {
				var err error
				if got[key][at], _, err = p.AppendOnce(t.Context(), flights(), fmt.Sprint(key), payloads(20)); err != nil {
					t.Errorf("key %d: %v", key, err)
				}
			})
		}
	}
	wg.Wait()
	if n := len(readAll(t, addr, "flights")); n != keys*20 {
		t.Errorf("%d records in the log, want %d", n, keys*20)
	}
	for key := range keys {
		for at := range processes {
			if !reflect.DeepEqual(got[key][at], got[key][0]) {
				t.Errorf("key %d: not the same offsets everywhere", key)
			}
		}
	}
}

// Many keys at once, each from several callers.
func TestAppendOnceAtOnce(t *testing.T) {
	addr := start(t).Addr()
	p := producer(t, addr)
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[string][]Offset{}
	for k := range 20 {
		for range 5 {
			wg.Go(func() {
				key := fmt.Sprint("key-", k)
				offsets, _, err := p.AppendOnce(t.Context(), flights(), key, payloads(10))
				mu.Lock()
				defer mu.Unlock()
				if err != nil || got[key] != nil && !reflect.DeepEqual(got[key], offsets) {
					t.Errorf("%s: %v", key, err)
				}
				got[key] = offsets
			})
		}
	}
	wg.Wait()
	if n := len(readAll(t, addr, "flights")); n != 200 {
		t.Errorf("%d records in the log, want 200", n)
	}
	// What it wrote itself it does not read back.
	if _, err := p.requestNote(t.Context(), "", -1); err != nil {
		t.Fatal(err)
	}
	if p.requests.target == nil || len(p.requests.notes) != 20 {
		t.Errorf("%d notes", len(p.requests.notes))
	}
}

// A caller that goes away does not stop its request, and the next one gets its outcome.
func TestAppendOnceOutlivesItsCaller(t *testing.T) {
	addr := start(t).Addr()
	p := producer(t, addr)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := p.AppendOnce(ctx, flights(), "k", payloads(50)); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	offsets, _, err := p.AppendOnce(t.Context(), flights(), "k", payloads(50))
	if err != nil {
		t.Fatal(err)
	}
	onlyOnce(t, addr, payloads(50), offsets)
}

// A request that failed while the broker was away is made good by a retry.
func TestAppendOnceAfterTheBrokerWasAway(t *testing.T) {
	dir := t.TempDir()
	open := func() *broker.Broker {
		b, err := broker.Open(t.Context(), broker.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		return b
	}
	b := open()
	p, err := NewProducer(ProducerOptions{Kafka: kafkalog.Config{Brokers: []string{b.Addr()}}, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	first, _, err := p.AppendOnce(t.Context(), flights(), "first", payloads(10))
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	if _, _, err := p.AppendOnce(t.Context(), flights(), "second", payloads(20)); schemas.KindOf(err) != schemas.Environment {
		t.Fatalf("without a broker: %v", err)
	}
	if again, replayed, err := p.AppendOnce(t.Context(), flights(), "first", payloads(10)); err != nil || !replayed || !reflect.DeepEqual(again, first) {
		t.Errorf("what is known needs no broker: %v", err)
	}
	b = open()
	if _, _, err := p.AppendOnce(t.Context(), flights(), "second", payloads(20)); err != nil {
		t.Fatal(err)
	}
	if n := len(readAll(t, b.Addr(), "flights")); n != 30 {
		t.Errorf("%d records in the log, want 30", n)
	}
}
