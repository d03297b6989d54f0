package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/ingest/source"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// ProducerOptions say which cluster is written to, and how.
type ProducerOptions struct {
	Kafka   kafkalog.Config // its Compression, if empty, is none for brokers on this machine and zstd for others
	Timeout time.Duration   // how long a broker that is away is waited for; 0: 30 s
	Linger  time.Duration   // how long a batch waits for more records; 0: not at all

	owner *owner // lets a run with an ID write; nil: nobody needs leave
}

// Offset is where a record lies.
type Offset struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

// Producer appends records to topics and says when they are durable: an idempotent Kafka producer with all replicas'
// acknowledgement. Concurrency: every method may be called at any time.
type Producer struct {
	o     ProducerOptions
	cl    *kgo.Client
	adm   *kadm.Client
	log   *kafkalog.Log // for what is read back, and the making of topics
	mu    sync.Mutex
	large *kgo.Client // for records that do not fit a usual batch
	known map[string]*target
	room  int64 // bytes that may wait for the broker before callers do

	requests requests
}

// target is a Kafka topic as it is, or was a moment ago.
type target struct {
	name       string
	id         string
	partitions int32
	declared   int32     // by the topic file; what Kafka lacks of it has been asked for
	stamp      time.Time // what records of a topic with append time carry; zero: the time they are sent
	pick       kgo.TopicPartitioner

	seen   atomic.Int64 // when it was looked at, nanoseconds since 1970
	asking atomic.Bool  // it is being looked at
}

// with is the target with another number of partitions.
func (t *target) with(partitions int32) *target {
	out := &target{name: t.name, id: t.id, partitions: partitions, declared: t.declared, stamp: t.stamp, pick: t.pick}
	out.seen.Store(time.Now().UnixNano())
	return out
}

const (
	defaultTimeout = 30 * time.Second
	batchBytes     = 1 << 20
	// waitingBytes is what the broker has not acknowledged yet before Append waits: what a caller gives up is not taken back, so
	// a broker that stalls would fill the memory.
	waitingBytes = 64 << 20
	// batchSlack is more than the framing, key and headers of a record that is alone in its batch.
	batchSlack = 64 << 10
)

// NewProducer returns a producer; it connects when it is first needed.
func NewProducer(o ProducerOptions) (*Producer, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Kafka.Compression == "" {
		o.Kafka.Compression = "none"
		if !slices.ContainsFunc(o.Kafka.Brokers, isLocal) {
			o.Kafka.Compression = "zstd"
		}
	}
	cl, err := newClient(o, batchBytes)
	if err != nil {
		return nil, err
	}
	log, err := kafkalog.Open(o.Kafka)
	if err != nil {
		cl.Close()
		return nil, err
	}
	return &Producer{o: o, cl: cl, adm: kadm.NewClient(cl), log: log, known: map[string]*target{}, room: waitingBytes}, nil
}

func newClient(o ProducerOptions, maxBatch int64) (*kgo.Client, error) {
	codec, ok := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(), "gzip": kgo.GzipCompression()}[o.Kafka.Compression]
	if !ok {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("unknown compression %q", o.Kafka.Compression), Hint: "use none, snappy, lz4, zstd or gzip"}
	}
	options, err := o.Kafka.Options()
	if err == nil && o.owner != nil {
		options, err = o.Kafka.Guarded(o.owner.before)
	}
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(options,
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(codec),
		kgo.ProducerBatchMaxBytes(int32(min(maxBatch, 1<<30))),
		kgo.BrokerMaxWriteBytes(int32(max(100<<20, min(maxBatch+batchSlack, 1<<30)))),
		kgo.ProducerLinger(o.Linger),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedRecords(1<<30),
		kgo.UnknownTopicRetries(unknownTries),
	)...)
	if err != nil {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: "the Kafka client cannot be set up", Err: err, Hint: "check brokers: in millrace.yaml"}
	}
	return cl, nil
}

func isLocal(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Close gives the connections up. Records whose Append has not returned may be lost.
func (p *Producer) Close() {
	p.cl.Close()
	_ = p.log.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.large != nil {
		p.large.Close()
	}
}

// produce appends one record and waits for it, but not longer than ctx lasts: the client itself never gives up what may be on
// its way.
func (p *Producer) produce(ctx context.Context, r *kgo.Record) error {
	done := make(chan error, 1)
	p.cl.Produce(ctx, r, func(_ *kgo.Record, err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Append appends payloads to the topic, in order for each partition, and returns where each lies once all are durable.
// The Kafka topic is created if it is missing. A payload's message key is the topic's key field.
//
// Errors: a *source.TooLongError if a payload is over max_record, and nothing was sent; a *schemas.Problem of kind
// Environment if the broker is away or cannot write: some of the payloads may be in the log then.
func (p *Producer) Append(ctx context.Context, topic *schemas.Topic, payloads [][]byte) ([]Offset, error) {
	if err := withinLimit(topic, payloads); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	for {
		t, err := p.target(ctx, topic)
		if err != nil {
			return nil, err
		}
		out, err := p.append(ctx, topic, t, payloads)
		if err == nil || !p.replaced(ctx, topic, t, err) {
			return out, err
		}
	}
}

func (p *Producer) append(ctx context.Context, topic *schemas.Topic, t *target, payloads [][]byte) ([]Offset, error) {
	s, err := p.send(ctx, topic, t, payloads, nil)
	if err != nil {
		return nil, err
	}
	select {
	case <-s.all:
	case <-ctx.Done(): // what is on its way to the broker is not taken back: an idempotent producer must learn its fate
		return nil, p.problem(ctx.Err())
	}
	if s.err != nil {
		return nil, p.problem(s.err)
	}
	out := make([]Offset, len(s.recs))
	for i := range s.recs {
		out[i] = Offset{Partition: s.recs[i].Partition, Offset: s.recs[i].Offset}
	}
	return out, nil
}

func withinLimit(topic *schemas.Topic, payloads [][]byte) error {
	limit := maxRecord(topic)
	for i, v := range payloads {
		if int64(len(v)) > limit {
			return fmt.Errorf("record %d: %w", i, &source.TooLongError{Size: int64(len(v)), Limit: limit})
		}
	}
	return nil
}

// sending is payloads on their way. The records' offsets and err, the first error, may be read once all is closed.
type sending struct {
	recs []kgo.Record
	all  chan struct{}
	err  error
}

// send hands payloads to the producer, with headers if they are not nil.
func (p *Producer) send(ctx context.Context, topic *schemas.Topic, t *target, payloads [][]byte, headers func(i int) []kgo.RecordHeader) (*sending, error) {
	if err := p.awaitRoom(ctx); err != nil {
		return nil, err
	}
	s := &sending{recs: make([]kgo.Record, len(payloads)), all: make(chan struct{})}
	big := false
	for i, v := range payloads {
		r := &s.recs[i]
		*r = kgo.Record{Topic: t.name, Value: v, Key: recordKey(topic, v), Timestamp: t.stamp}
		r.Partition = t.partition(r, time.Now().UnixNano()>>22)
		if headers != nil {
			r.Headers = headers(i)
		}
		big = big || recordSize(r) > batchBytes-batchSlack
	}
	cl := p.cl
	if big {
		var err error
		if cl, err = p.largeClient(); err != nil {
			return nil, err
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range s.recs {
		wg.Add(1)
		cl.Produce(ctx, &s.recs[i], func(_ *kgo.Record, err error) {
			defer wg.Done()
			if err != nil {
				mu.Lock()
				if s.err == nil {
					s.err = err
				}
				mu.Unlock()
			}
		})
	}
	go func() {
		wg.Wait()
		close(s.all)
	}()
	return s, nil
}

// awaitRoom waits until less than the room waits for the broker.
func (p *Producer) awaitRoom(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for p.waiting() >= p.room {
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("the broker at %s does not take the records that it has got: %d bytes wait for it", list(p.o.Kafka.Brokers), p.waiting()),
				Err: ctx.Err(), Hint: "send them again in a moment; `millrace doctor` says what keeps it"}
		}
	}
	return nil
}

func (p *Producer) waiting() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.cl.BufferedProduceBytes()
	if p.large != nil {
		n += p.large.BufferedProduceBytes()
	}
	return n
}

func maxRecord(t *schemas.Topic) int64 {
	if t.MaxRecord > 0 {
		return t.MaxRecord
	}
	return schemas.DefaultMaxRecord
}

func recordKey(t *schemas.Topic, payload []byte) []byte {
	if t.Key == "" {
		return nil
	}
	return keyOf(payload, t.Key)
}

func recordSize(r *kgo.Record) int { return len(r.Key) + len(r.Value) }

// partition is Kafka's default for a record with a key (murmur2), and a matter of turn for one without.
func (t *target) partition(r *kgo.Record, turn int64) int32 { return t.place(r, turn, t.partitions) }

// place is the partition for a number of them.
func (t *target) place(r *kgo.Record, turn int64, partitions int32) int32 {
	if r.Key == nil {
		return int32(uint64(turn) % uint64(partitions))
	}
	return int32(t.pick.Partition(r, int(partitions)))
}

// largeClient is a second producer whose batches hold any record the topics allow. The usual one keeps batches small,
// for a batch is the least that a reader reads.
func (p *Producer) largeClient() (*kgo.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.large == nil {
		cl, err := newClient(p.o, 512<<20)
		if err != nil {
			return nil, err
		}
		p.large = cl
	}
	return p.large, nil
}

// Prepare creates the Kafka topic if it is missing, adds partitions if the topic file has more, and returns its id and number
// of partitions.
func (p *Producer) Prepare(ctx context.Context, topic *schemas.Topic) (id string, partitions int32, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	t, err := p.target(ctx, topic)
	if err != nil {
		return "", 0, err
	}
	return t.id, t.partitions, nil
}

// target is the topic as it was not long ago. What changes meanwhile is noticed in the background: records that go by an old
// number of partitions are where they may be, and those of a topic that is gone fail.
func (p *Producer) target(ctx context.Context, topic *schemas.Topic) (*target, error) {
	p.mu.Lock()
	t := p.known[topic.Name]
	p.mu.Unlock()
	declared := int32(max(schemas.DefaultPartitions, topic.Partitions))
	if t != nil && declared <= max(t.declared, t.partitions) {
		if time.Since(time.Unix(0, t.seen.Load())) > freshFor && t.asking.CompareAndSwap(false, true) {
			go p.renew(t)
		}
		return t, nil
	}
	old := t
	t, err := p.find(ctx, topic.Name, declared, map[string]string{
		"message.timestamp.type": "LogAppendTime",
		"max.message.bytes":      strconv.FormatInt(max(batchBytes, 2*maxRecord(topic))+batchSlack, 10),
	})
	if err != nil {
		return nil, p.problem(err)
	}
	t.declared = declared
	p.mu.Lock()
	if now := p.known[topic.Name]; now == nil || now == old {
		p.known[topic.Name] = t
	}
	p.mu.Unlock()
	if t.partitions < declared {
		if err := p.grow(ctx, t, declared); err != nil {
			return nil, p.problem(err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.known[topic.Name]; now != nil {
		t = now
	}
	return t, nil
}

func (p *Producer) find(ctx context.Context, name string, partitions int32, configs map[string]string) (*target, error) {
	for {
		d, err := p.look(ctx, name)
		if err != nil {
			return nil, err
		}
		usable := d.Err == nil && len(d.Partitions) > 0
		if usable {
			_, err := p.log.Topic(ctx, name)
			if usable = !errors.Is(err, kafkalog.ErrNoTopic); usable && err != nil {
				return nil, err
			}
		}
		if usable {
			t := &target{name: name, id: d.ID.String(), partitions: int32(len(d.Partitions)), pick: kgo.StickyKeyPartitioner(nil).ForTopic(name)}
			t.seen.Store(time.Now().UnixNano())
			if cs, err := p.adm.DescribeTopicConfigs(ctx, name); err == nil && len(cs) == 1 && cs[0].Err == nil {
				for _, c := range cs[0].Configs {
					if c.Key == "message.timestamp.type" && c.MaybeValue() == "LogAppendTime" {
						t.stamp = time.Now()
					}
				}
			}
			return t, nil
		}
		if d.Err != nil && !errors.Is(d.Err, kerr.UnknownTopicOrPartition) && !kerr.IsRetriable(d.Err) {
			return nil, fmt.Errorf("topic %s: %w", name, d.Err)
		}
		err = p.retry(ctx, func() error { return p.log.CreateTopic(ctx, name, int(partitions), configs) })
		if err != nil {
			return nil, err
		}
		select { // until the broker's other nodes know the topic
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// retry calls f until it succeeds, fails for a reason that does not pass, or ctx ends. That a topic is unknown passes while
// the brokers hear of it, and not later.
func (p *Producer) retry(ctx context.Context, f func() error) error {
	for tries := 0; ; tries++ {
		err := f()
		var away net.Error
		if err == nil || !errors.As(err, &away) && !errors.Is(err, io.EOF) && !kerr.IsRetriable(err) || isGone(err) && tries > unknownTries || p.o.Kafka.Refused(err) != nil {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// ends returns every partition's end.
func (p *Producer) ends(ctx context.Context, topic string) (schemas.Frontier, error) {
	var list kadm.ListedOffsets
	err := p.retry(ctx, func() (err error) {
		if list, err = p.adm.ListEndOffsets(ctx, topic); err == nil {
			err = list.Error()
		}
		return err
	})
	if err != nil {
		return nil, p.problem(err)
	}
	out := schemas.Frontier{}
	list.Each(func(o kadm.ListedOffset) { out[o.Partition] = o.Offset })
	return out, nil
}

// problem says what a produce or admin error means to a person. A cause that is already a Problem stays.
func (p *Producer) problem(err error) error {
	var prob *schemas.Problem
	switch {
	case err == nil || errors.As(err, &prob):
		return err
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, kerr.KafkaStorageError), errors.Is(err, kerr.UnknownServerError):
		return &schemas.Problem{Kind: schemas.Environment, Message: "the broker cannot write its log", Err: err, Hint: "look at its disk: is it full or read-only?"}
	case isGone(err):
		return &schemas.Problem{Kind: schemas.Failed, Message: "the topic was deleted while records were on their way", Err: err, Hint: "send them again: the topic is made anew"}
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return &schemas.Problem{Kind: schemas.Failed, Message: "the broker takes no record that long", Err: err, Hint: "raise max.message.bytes of the Kafka topic, or lower max_record"}
	case errors.Is(err, kerr.NotEnoughReplicas), errors.Is(err, kerr.NotEnoughReplicasAfterAppend):
		return &schemas.Problem{Kind: schemas.Environment, Message: "fewer brokers have the topic than its min.insync.replicas asks for", Err: err, Hint: "start the brokers that are down; `millrace doctor` names the topics"}
	}
	if why := cmp.Or(p.o.Kafka.Refused(err), p.o.Kafka.HungUp(err)); why != nil {
		return why
	}
	return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("the broker at %s is out of reach", list(p.o.Kafka.Brokers)), Err: err, Hint: "start it, or correct brokers: in millrace.yaml"}
}

func list(brokers []string) string {
	if len(brokers) == 1 {
		return brokers[0]
	}
	return fmt.Sprint(brokers)
}
