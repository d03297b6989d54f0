package millrace_test

import (
	"context"
	bytesof "encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/ingest"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/speed"
)

// wire is the network between a broker and its clients: it loses connections in the middle of requests, and holds requests up.
type wire struct {
	mu    sync.Mutex
	key   kmsg.Key // whose requests lose their connection
	every int      // of them; 0: none
	after bool     // once the broker has done what was asked
	count int
	lost  int
	seen  map[kmsg.Key]int
	held  chan struct{} // requests wait until it is closed; nil: they do not
	stuck int           // that have waited since
	slow  time.Duration // before each answer
}

func (w *wire) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	return &wireListener{l, w}, err
}

// lose begins to lose the first and then every so-manieth request of a kind.
func (w *wire) lose(key kmsg.Key, every int, after bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.key, w.every, w.after, w.count, w.lost = key, every, after, 0, 0
}

// hold lets no request through any more, until the function that it gives is called.
func (w *wire) hold() (free func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held, w.stuck = make(chan struct{}), 0
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		close(w.held)
		w.held = nil
	})
}

func (w *wire) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stuck
}

func (w *wire) losses() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

// loses counts a request, or its answer, and says whether it is lost.
func (w *wire) loses(key kmsg.Key, after bool) bool {
	w.mu.Lock()
	held := w.held
	if held != nil && !after {
		w.stuck++
	}
	w.mu.Unlock()
	if held != nil && !after {
		<-held
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !after {
		w.seen[key]++
	}
	if w.every == 0 || key != w.key || after != w.after {
		return false
	}
	w.count++
	if (w.count-1)%w.every != 0 {
		return false
	}
	w.lost++
	return true
}

type wireListener struct {
	net.Listener
	wire *wire
}

func (l *wireListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &wireConn{Conn: c, wire: l.wire, asked: map[uint32]kmsg.Key{}}, err
}

// wireConn reads requests whole before the broker sees them.
type wireConn struct {
	net.Conn
	wire *wire
	rest []byte

	mu    sync.Mutex
	asked map[uint32]kmsg.Key // by correlation id
}

func (c *wireConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		frame := make([]byte, 4)
		if _, err := io.ReadFull(c.Conn, frame); err != nil {
			return 0, err
		}
		frame = append(frame, make([]byte, bytesof.BigEndian.Uint32(frame))...)
		if _, err := io.ReadFull(c.Conn, frame[4:]); err != nil {
			return 0, err
		}
		key := kmsg.Key(bytesof.BigEndian.Uint16(frame[4:]))
		c.mu.Lock()
		c.asked[bytesof.BigEndian.Uint32(frame[8:])] = key
		c.mu.Unlock()
		if c.wire.loses(key, false) {
			c.Conn.Close()
			return 0, io.EOF
		}
		c.rest = frame
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *wireConn) Write(p []byte) (int, error) {
	time.Sleep(c.wire.slow)
	id := bytesof.BigEndian.Uint32(p[4:])
	c.mu.Lock()
	key := c.asked[id]
	delete(c.asked, id)
	c.mu.Unlock()
	if c.wire.loses(key, true) {
		c.Conn.Close()
		return 0, io.EOF
	}
	return c.Conn.Write(p)
}

// trade is everything that the layers ask of a broker, over one topic.
type trade struct {
	*mill
	rounds int
}

// steps are what a round does, in order.
func (t *trade) steps() []func(context.Context) error {
	t.rounds++
	kafka := kafkalog.Config{Brokers: t.brokers}
	name, extra := fmt.Sprintf("round-%d", t.rounds), fmt.Sprintf("extra-%d", t.rounds)
	file := filepath.Join(t.dir, name+".ndjson")
	line := `{"k":"a","n":1,"ts":"2020-01-01"}`
	return []func(context.Context) error{
		func(ctx context.Context) error { // lines with an id
			if err := os.WriteFile(file, []byte(strings.Repeat(line+"\n", 20)), 0o600); err != nil {
				return err
			}
			r, err := ingest.Run(ctx, ingest.Options{Topic: t.topic, Kafka: kafka, Files: []string{file}, ID: name})
			t.sent += r.Records
			return err
		},
		func(ctx context.Context) error { // a request with a key
			p, err := ingest.NewProducer(ingest.ProducerOptions{Kafka: kafka})
			if err != nil {
				return err
			}
			defer p.Close()
			offsets, _, err := p.AppendOnce(ctx, t.topic, name, [][]byte{[]byte(line), []byte(line), []byte(line)})
			t.sent += int64(len(offsets))
			return err
		},
		func(ctx context.Context) error {
			in := speed.Input{Log: t.log, Store: t.store, Topic: t.topic, Views: t.cycle.Views, Scratch: t.dir}
			return in.CatchUp(ctx)
		},
		func(ctx context.Context) error {
			if t.rounds%3 > 0 {
				return t.check(ctx, nil)
			}
			_, err := t.cycle.Cycle(ctx)
			return errors.Join(err, t.check(ctx, nil))
		},
		func(ctx context.Context) error { // topics
			if err := t.log.CreateTopic(ctx, extra, 1, nil); err != nil {
				return err
			}
			if err := t.log.Grow(ctx, extra, 2); err != nil {
				return err
			}
			if err := t.log.Publish(ctx, extra, []kafkalog.Message{{Value: []byte("x")}}); err != nil {
				return err
			}
			if err := t.log.DeleteBefore(ctx, extra, schemas.Frontier{0: 1}); err != nil {
				return err
			}
			if err := t.log.CommitOffsets(ctx, "group", extra, schemas.Frontier{0: 1}); err != nil {
				return err
			}
			_, err := t.log.Committed(ctx, "group", extra)
			return err
		},
	}
}

// changing are the requests that leave something at the broker.
var changing = map[kmsg.Key]bool{kmsg.Produce: true, kmsg.OffsetCommit: true, kmsg.CreateTopics: true, kmsg.DeleteRecords: true, kmsg.InitProducerID: true, kmsg.CreatePartitions: true}

// The connection is lost in every kind of request that the layers send, the first and then every third of them, before the broker
// has done what was asked and after it: they go on, nothing is lost and nothing doubled.
func TestConnectionsLostInEveryRequest(t *testing.T) {
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte("partitions: 1\nfields: {k: VARCHAR, n: BIGINT, ts: TIMESTAMP}"))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &wire{seen: map[kmsg.Key]int{}}
	m := &trade{mill: newMill(fail, t.Cleanup, t.TempDir(), 1, topic, "", kfake.ListenFn(w.listen))}
	round := func() error {
		fail(m.open(map[string]string{"sums": "SELECT k, count(*) AS c, sum(n) AS s FROM t GROUP BY k"}, 0)) // new connections
		for i, step := range m.steps() {
			if err := step(t.Context()); err != nil {
				return fmt.Errorf("step %d: %w", i, err)
			}
		}
		return nil
	}
	fail(round())
	w.mu.Lock()
	keys := slices.Sorted(maps.Keys(w.seen))
	w.mu.Unlock()
	for key := range changing {
		if !slices.Contains(keys, key) {
			t.Errorf("%s: nobody sent one", key.Name())
		}
	}
	for _, key := range keys {
		if key == kmsg.GetTelemetrySubscriptions || key == kmsg.PushTelemetry { // the client's figures of itself
			continue
		}
		for _, after := range []bool{false, true} {
			if !after && !changing[key] { // who asked cannot tell the one from the other
				continue
			}
			w.lose(key, 3, after)
			if err := round(); err != nil {
				t.Fatalf("%s, after it was done %t: %v", key.Name(), after, err)
			}
			if w.losses() == 0 {
				t.Errorf("%s: no connection was lost", key.Name())
			}
		}
	}
}

// A broker that takes longer for each answer than a run of ingest may go without asking is slow, and no more.
func TestABrokerThatIsSlow(t *testing.T) {
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte("partitions: 1\nfields: {k: VARCHAR, n: BIGINT, ts: TIMESTAMP}"))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &wire{seen: map[kmsg.Key]int{}, slow: 120 * time.Millisecond}
	m := &trade{mill: newMill(fail, t.Cleanup, t.TempDir(), 1, topic, "", kfake.ListenFn(w.listen))}
	fail(m.open(map[string]string{"sums": "SELECT k, count(*) AS c, sum(n) AS s FROM t GROUP BY k"}, 0))
	file := filepath.Join(t.TempDir(), "few.ndjson")
	fail(os.WriteFile(file, []byte(strings.Repeat(`{"k":"a","n":1,"ts":"2020-01-01"}`+"\n", 20)), 0o600))
	r, err := ingest.Run(t.Context(), ingest.Options{Topic: topic, Kafka: kafkalog.Config{Brokers: m.brokers}, Files: []string{file}, ID: "few", Settle: 200 * time.Millisecond})
	fail(err)
	m.sent = r.Records
	fail(m.check(t.Context(), nil))
}

// While the broker answers nothing, whoever is interrupted ends; whoever waits goes on when the broker does.
func TestABrokerThatIsSilentForAWhile(t *testing.T) {
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte("partitions: 1\nfields: {k: VARCHAR, n: BIGINT, ts: TIMESTAMP}"))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &wire{seen: map[kmsg.Key]int{}}
	m := &trade{mill: newMill(fail, t.Cleanup, t.TempDir(), 1, topic, "", kfake.ListenFn(w.listen))}
	fail(m.open(map[string]string{"sums": "SELECT k, count(*) AS c, sum(n) AS s FROM t GROUP BY k"}, 0))
	for _, step := range m.steps() {
		fail(step(t.Context()))
	}
	for i := range m.steps() {
		for _, interrupted := range []bool{true, false} {
			if interrupted && i < 2 {
				continue // what they have sent is not taken back: TestAnInterruptedRunAtAStalledBroker
			}
			step, free := m.steps()[i], w.hold()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- step(ctx) }()
			for w.waiting() == 0 {
				runtime.Gosched()
			}
			if interrupted {
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Errorf("step %d was interrupted: %v", i, err)
				}
			}
			free()
			if !interrupted {
				if err := <-done; err != nil {
					t.Errorf("step %d: %v", i, err)
				}
			}
			cancel()
		}
	}
	fail(m.check(t.Context(), nil))
}
