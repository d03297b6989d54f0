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
	"github.com/millrace/millrace/schemas"
)

func producer(t *testing.T, addr string) *Producer {
	t.Helper()
	p, err := NewProducer(ProducerOptions{Brokers: []string{addr}})
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

// A process that was killed after its note, with some of the records in the log: the next one sends the others.
func TestAppendOnceGoesOnWhereAKilledProcessStopped(t *testing.T) {
	for _, have := range []int{0, 1, 137, 300} {
		t.Run(strconv.Itoa(have), func(t *testing.T) {
			addr := start(t).Addr()
			want := payloads(300)
			killed := producer(t, addr)
			target, err := killed.target(t.Context(), flights())
			if err != nil {
				t.Fatal(err)
			}
			from, err := killed.ends(t.Context(), "flights")
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := killed.requestNote(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			n := &requestNote{Version: 1, Topic: "flights", TopicID: target.id, Key: "k", Records: len(want), Body: bodyHash(want), From: from}
			if err := killed.noteRequest(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			// Those that reached the log need not be the first ones.
			var some [][]byte
			for i := range have {
				some = append(some, want[(i*7)%len(want)])
			}
			s, err := killed.send(t.Context(), flights(), target, some, func(i int) []kgo.RecordHeader {
				return []kgo.RecordHeader{{Key: requestHeader, Value: []byte(requestPrefix(n) + strconv.Itoa((i*7)%len(want)))}}
			})
			if err != nil {
				t.Fatal(err)
			}
			if <-s.all; s.err != nil {
				t.Fatal(s.err)
			}
			p := producer(t, addr)
			offsets, replayed, err := p.AppendOnce(t.Context(), flights(), "k", want)
			if err != nil || !replayed {
				t.Fatal(replayed, err)
			}
			onlyOnce(t, addr, want, offsets)
		})
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
	if _, _, err := p.requestNote(t.Context(), ""); err != nil {
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
	p, err := NewProducer(ProducerOptions{Brokers: []string{b.Addr()}, Timeout: time.Second})
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
