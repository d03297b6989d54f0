package kafkalog

import (
	"errors"
	"strings"
	"sync"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// ErrNoTopic: the cluster has no topic of that name.
var ErrNoTopic = errors.New("no such topic")

// patience is how long an unreachable cluster is tried before it is called so.
const patience = 10 * time.Second

// handover is how long a partition without a leader is waited for, while some broker answers: a broker that was killed is
// missed after ten seconds or so.
const handover = 30 * time.Second

// maxIdle is how many clients wait for a reader.
const maxIdle = 16

// Log is a connection to the cluster. Safe for concurrent use.
type Log struct {
	config Config
	client *kgo.Client
	admin  *kadm.Client
	kafka  *kafka.Client

	mu     sync.Mutex
	idle   []*kgo.Client // for readers
	closed bool
	whole  map[string]bool // ids of topics that keep their records in one piece
}

// Topic is what the cluster says of a topic.
type Topic struct {
	Name       string
	ID         string // hex
	Partitions int32
}

// Open prepares a connection; the cluster is not contacted yet. Errors: a Problem about the configuration or its files.
func Open(c Config) (*Log, error) {
	client, err := newClient(c)
	if err != nil {
		return nil, err
	}
	transport, err := c.transport()
	if err != nil {
		client.Close()
		return nil, err
	}
	return &Log{
		config: c,
		client: client,
		admin:  kadm.NewClient(client),
		kafka:  &kafka.Client{Addr: kafka.TCP(c.Brokers...), Timeout: 30 * time.Second, Transport: transport},
		whole:  map[string]bool{},
	}, nil
}

func newClient(c Config) (*kgo.Client, error) {
	options, err := c.Options()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(options, kgo.RetryTimeout(patience), kgo.BrokerMaxReadBytes(1<<30))...)
	if err != nil {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: "brokers " + strings.Join(c.Brokers, ", "), Err: err, Hint: "give host:port of each"}
	}
	return client, nil
}

// Close ends the connection. Readers that are open stay usable.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.client.Close()
	l.kafka.Transport.(*kafka.Transport).CloseIdleConnections()
	for _, c := range l.idle {
		c.Close()
	}
	l.idle = nil
	return nil
}

// lend gives a reader a client of its own, one that another has done with if there is one.
func (l *Log) lend() (*kgo.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.idle); n > 0 {
		c := l.idle[n-1]
		l.idle = l.idle[:n-1]
		return c, nil
	}
	return newClient(l.config)
}

// takeBack keeps a client for the next reader.
func (l *Log) takeBack(c *kgo.Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.idle) >= maxIdle {
		c.Close()
		return
	}
	l.idle = append(l.idle, c)
}

// Config is where the cluster is.
func (l *Log) Config() Config { return l.config }
