package broker

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/schemas"
)

// guard stands before kfake's produce handler: it refuses what could not be kept and gives each batch its append time.
// It is kfake's logger too, for a failed write is known from the log alone.
//
// Concurrency: produce is called for one request at a time, and the request before it is done by then.
type guard struct {
	dir     string
	log     *slog.Logger
	cluster *kfake.Cluster
	now     func() time.Time
	minFree atomic.Int64
	full    atomic.Bool

	mu    sync.Mutex
	fault error

	last  int64 // the newest append time given, milliseconds
	calls int
}

// renewEvery bounds what kfake keeps for a control function: the last request of every connection it ever saw.
const renewEvery = 256

// produce is a kfake control function: it answers the request itself, or changes it in place and lets kfake go on.
func (g *guard) produce(kreq kmsg.Request) (kmsg.Response, error, bool) { //nolint:revive // the order kfake wants
	req, ok := kreq.(*kmsg.ProduceRequest)
	if !ok {
		return nil, nil, false
	}
	g.cluster.KeepControl()
	if g.calls++; g.calls%renewEvery == 0 {
		g.cluster.DropControl()
		g.cluster.ControlKey(int16(kmsg.Produce), g.produce)
	}
	if g.faulted() != nil || g.tooFull(req) {
		return refuse(req), nil, true //nolint:nilerr // the refusal is the answer
	}
	g.last = max(g.last, g.now().UnixMilli())
	for _, t := range req.Topics {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			p.Records = stamp(p.Records, g.last)
		}
	}
	return nil, nil, false
}

func (g *guard) tooFull(req *kmsg.ProduceRequest) bool {
	limit := g.minFree.Load()
	if limit < 0 {
		return false
	}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			limit += int64(len(p.Records))
		}
	}
	left, err := free(g.dir)
	full := err != nil || left < limit
	if was := g.full.Swap(full); full && !was {
		g.log.Warn("no records are taken: the disk is nearly full", "dir", g.dir, "free", left, "needed", limit)
	} else if was && !full {
		g.log.Warn("records are taken again", "dir", g.dir, "free", left)
	}
	return full
}

// refuse answers every partition with an error that clients retry.
func refuse(req *kmsg.ProduceRequest) kmsg.Response {
	if req.Acks == 0 {
		return nil
	}
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, kerr.KafkaStorageError.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func (g *guard) faulted() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fault
}

// Logf is kfake's logger. Its warnings that a write failed are the only sign of it.
func (g *guard) Logf(level kfake.LogLevel, format string, args ...any) {
	if level == kfake.LogLevelNone || level > kfake.LogLevelWarn {
		return
	}
	text := fmt.Sprintf(format, args...)
	g.log.Warn("broker: " + text)
	if !strings.HasPrefix(text, "persist ") && !strings.HasPrefix(text, "save session state") {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fault == nil {
		g.fault = &schemas.Problem{Kind: schemas.Environment, File: g.dir, Message: "the broker could not write its log and takes no more records: " + text,
			Hint: "free some space or make the folder writable, then start again"}
	}
}

// listener turns away connections that do not speak Kafka: kfake allocates whatever length the first four bytes name.
type listener struct{ net.Listener }

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

type conn struct {
	net.Conn
	checked bool
}

// Read is called by one goroutine at a time, and for the first frame's length with exactly four bytes.
func (c *conn) Read(p []byte) (int, error) {
	if c.checked || len(p) < 4 {
		return c.Conn.Read(p)
	}
	n, err := io.ReadFull(c.Conn, p[:4])
	if err != nil {
		return n, err
	}
	c.checked = true
	if p[0] > 0x20 { // a frame of half a gigabyte, or the first letter of an HTTP method
		return 0, fmt.Errorf("first bytes %q are not Kafka's", p[:4])
	}
	return n, nil
}
