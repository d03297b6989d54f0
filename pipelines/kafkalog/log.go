package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/schemas"
)

// ErrNoTopic: the cluster has no topic of that name.
var ErrNoTopic = errors.New("no such topic")

// patience is how long an unreachable cluster is tried before it is called so.
const patience = 10 * time.Second

// maxIdle is how many clients wait for a reader.
const maxIdle = 16

// Config says where the cluster is. Its JSON round-trips, so it can travel in a pipeline.
type Config struct {
	Brokers []string `json:"brokers"` // host:port, any of the cluster
}

// Log is a connection to the cluster. Safe for concurrent use.
type Log struct {
	config Config
	client *kgo.Client
	admin  *kadm.Client
	kafka  *kafka.Client

	mu     sync.Mutex
	idle   []*kgo.Client // for readers
	closed bool
}

// Topic is what the cluster says of a topic.
type Topic struct {
	Name       string
	ID         string // hex
	Partitions int32
}

// Open prepares a connection; the cluster is not contacted yet.
func Open(c Config) (*Log, error) {
	client, err := newClient(c)
	if err != nil {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: "brokers " + strings.Join(c.Brokers, ", "), Err: err, Hint: "give host:port of each"}
	}
	return &Log{
		config: c,
		client: client,
		admin:  kadm.NewClient(client),
		kafka:  &kafka.Client{Addr: kafka.TCP(c.Brokers...), Timeout: 30 * time.Second, Transport: &kafka.Transport{ClientID: "millrace", MetadataTTL: time.Second}},
	}, nil
}

func newClient(c Config) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.RetryTimeout(patience), kgo.DialTimeout(patience/2), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.BrokerMaxReadBytes(1<<30))
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

// Topic describes a topic. Errors: ErrNoTopic; a Problem of kind Environment if no broker answers.
func (l *Log) Topic(ctx context.Context, name string) (Topic, error) {
	// The broker is asked, and what it says is what the offsets that are asked for next go by: the client may hold something
	// older than a record that is acknowledged in a partition that is new.
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &name
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, l.client)
	if err != nil {
		return Topic{}, l.unreachable(err)
	}
	for _, t := range resp.Topics {
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case err == nil:
			return Topic{Name: name, ID: fmt.Sprintf("%x", t.TopicID), Partitions: int32(len(t.Partitions))}, nil
		case !errors.Is(err, kerr.UnknownTopicOrPartition):
			return Topic{}, fmt.Errorf("topic %s: %w", name, err)
		}
	}
	return Topic{}, fmt.Errorf("topic %s: %w", name, ErrNoTopic)
}

// CreateTopic makes a topic; one that is there already is left as it is.
func (l *Log) CreateTopic(ctx context.Context, name string, partitions int, configs map[string]string) error {
	values := map[string]*string{}
	for k, v := range configs {
		values[k] = &v
	}
	r, err := l.admin.CreateTopic(ctx, int32(partitions), -1, values, name)
	if errors.Is(err, kerr.TopicAlreadyExists) || errors.Is(r.Err, kerr.TopicAlreadyExists) {
		return nil
	}
	if err == nil {
		err = r.Err
	}
	if err != nil {
		return fmt.Errorf("create topic %s: %w", name, l.unreachable(err))
	}
	return nil
}

// Offsets are the first offset still in the log and the one after the last, of each partition.
func (l *Log) Offsets(ctx context.Context, topic string) (start, end schemas.Frontier, err error) {
	if start, err = l.list(ctx, topic, l.admin.ListStartOffsets); err == nil {
		end, err = l.list(ctx, topic, l.admin.ListEndOffsets)
	}
	return start, end, err
}

// OffsetsAt are the first offsets appended at t or later, the end where there is none.
func (l *Log) OffsetsAt(ctx context.Context, topic string, t time.Time) (schemas.Frontier, error) {
	return l.list(ctx, topic, func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
		return l.admin.ListOffsetsAfterMilli(ctx, t.UnixMilli(), topics...)
	})
}

// DeleteBefore drops each partition's records below the offset; a partition that is not named keeps all.
func (l *Log) DeleteBefore(ctx context.Context, topic string, keep schemas.Frontier) error {
	if len(keep) == 0 {
		return nil
	}
	offsets := kadm.Offsets{}
	for p, at := range keep {
		offsets.AddOffset(topic, p, at, -1)
	}
	deleted, err := l.admin.DeleteRecords(ctx, offsets)
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		return fmt.Errorf("delete records of %s: %w", topic, l.unreachable(err))
	}
	return nil
}

func (l *Log) list(ctx context.Context, topic string, ask func(context.Context, ...string) (kadm.ListedOffsets, error)) (schemas.Frontier, error) {
	all, err := ask(ctx, topic)
	if err == nil {
		err = all.Error()
	}
	if errors.Is(err, kerr.UnknownTopicOrPartition) || err == nil && len(all[topic]) == 0 {
		return nil, fmt.Errorf("topic %s: %w", topic, ErrNoTopic)
	}
	if err != nil {
		return nil, fmt.Errorf("offsets of %s: %w", topic, l.unreachable(err))
	}
	out := schemas.Frontier{}
	for p, o := range all[topic] {
		out[p] = o.Offset
	}
	return out, nil
}

// unreachable turns a connection's error into one a person can act on; Kafka's own answers stay as they are.
func (l *Log) unreachable(err error) error {
	var known *kerr.Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, errDamaged) {
		return err
	}
	return &schemas.Problem{Kind: schemas.Environment, Message: "Kafka at " + strings.Join(l.config.Brokers, ", ") + " is out of reach", Err: err,
		Hint: "check that it runs and that brokers: in millrace.yaml names it"}
}
