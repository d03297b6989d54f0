package kafkalog

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/schemas"
)

// Want says what to read of each record beside its offset and value; values alone are the fastest.
type Want uint8

// What a record can have.
const (
	Keys Want = 1 << iota
	Headers
	Timestamps
)

// Everything is all that a record has.
const Everything = Keys | Headers | Timestamps

// ReadOptions tune a reader. Zero values are defaults.
type ReadOptions struct {
	Want     Want
	MaxBytes int           // of one fetch, 4 MiB; a larger record still comes through
	MinBytes int           // the broker waits for that many, 1
	MaxWait  time.Duration // but not longer, 250 ms
	TopicID  string        // hex, as Topic gives it: another topic of the name is not read; empty: whichever is there

	// Uncommitted reads also what transactions have not committed, up to the log's very end.
	Uncommitted bool
}

// Chunk is the records of one fetch of one partition. Its Range is what was consumed, holes included, such as what aborted
// transactions left: the next chunk begins at To. Ownership: the list of records is the caller's until Release; what they
// point to stays as long as it is referred to.
type Chunk struct {
	Topic string
	schemas.Range
	Records []schemas.Record
}

var chunks = sync.Pool{New: func() any { return &Chunk{} }}

// Release gives the chunk's memory back; its records must not be used after.
func (c *Chunk) Release() {
	clear(c.Records)
	c.Records = c.Records[:0]
	chunks.Put(c)
}

// ErrEnd: a range was read to its end. It is no network's end of file, which a broker that hangs up gives.
var ErrEnd = errors.New("the range's end")

// errAnother: the rest of a range would be read from another topic of the name.
var errAnother = errors.New("the topic was deleted and made again")

// RangeError says that offsets asked for are not in the log any more.
type RangeError struct {
	Topic string
	Lost  schemas.Range // [asked, first offset still there)
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("%s[%d]: offsets [%d, %d) are not in the log any more", e.Topic, e.Lost.Partition, e.Lost.From, e.Lost.To)
}

// Reader reads a range chunk by chunk, over broken connections and moved leaders. Not safe for concurrent use.
type Reader struct {
	log   *Log
	topic string
	at    schemas.Range // what is still to be read
	o     ReadOptions
	fails int
	since time.Time // of the first fail

	client *kgo.Client // lent by the log: a fetch that waits holds up all others of its connection
	leader int32       // -1: to be found
	id     [16]byte    // of the topic; zero: whichever is there
}

// Read begins to read a range. A To of math.MaxInt64 follows the log for ever.
func (l *Log) Read(topic string, r schemas.Range, o ReadOptions) *Reader {
	if o.MaxBytes == 0 {
		o.MaxBytes = 4 << 20
	}
	o.MinBytes = max(1, o.MinBytes)
	if o.MaxWait == 0 {
		o.MaxWait = 250 * time.Millisecond
	}
	reader := &Reader{log: l, topic: topic, at: r, o: o, leader: -1}
	_, _ = hex.Decode(reader.id[:], []byte(o.TopicID)) // what is no id is no topic's either
	return reader
}

// Close ends the reader.
func (r *Reader) Close() error {
	if r.client != nil {
		r.log.takeBack(r.client)
		r.client = nil
	}
	return nil
}

// Next waits for the next chunk. Errors: ErrEnd at the range's end and only there, *RangeError, the context's, or what the cluster still
// says after several tries.
func (r *Reader) Next(ctx context.Context) (*Chunk, error) {
	for {
		if r.at.From >= r.at.To {
			return nil, ErrEnd
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, err := r.fetch(ctx)
		switch {
		case err == nil && c != nil:
			r.fails = 0
			return c, nil
		case err == nil:
			r.fails = 0
			continue
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, kerr.OffsetOutOfRange):
			return nil, r.lost(ctx, err)
		case errors.Is(err, errAnother):
			return nil, &schemas.Problem{Message: fmt.Sprintf("read %s[%d]@%d", r.topic, r.at.Partition, r.at.From), Err: err, Hint: "run it again over the new topic"}
		}
		r.leader = -1
		if r.fails++; r.fails == 1 {
			r.since = time.Now()
		}
		if r.spent(ctx, err) {
			return nil, fmt.Errorf("read %s[%d]@%d: %w", r.topic, r.at.Partition, r.at.From, r.log.unreachable(ctx, err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(time.Second, 20*time.Millisecond<<min(r.fails, 6))):
		}
	}
}

// spent says whether there is no use in another try: a broker that is gone or has moved is waited for longer as long as
// others answer.
func (r *Reader) spent(ctx context.Context, err error) bool {
	past := time.Since(r.since)
	return r.log.config.Refused(err) != nil || past > handover || past > patience && (!r.log.passes(err) || r.log.dead(ctx, err))
}

// lost tells offsets that were dropped from offsets that are not there yet.
func (r *Reader) lost(ctx context.Context, cause error) error {
	start, end, err := r.log.Offsets(ctx, r.topic)
	if err != nil {
		return err
	}
	if first := start[r.at.Partition]; r.at.From < first {
		return &RangeError{Topic: r.topic, Lost: schemas.Range{Partition: r.at.Partition, From: r.at.From, To: first}}
	}
	return &schemas.Problem{Message: fmt.Sprintf("%s[%d]@%d lies beyond the log's end %d", r.topic, r.at.Partition, r.at.From, end[r.at.Partition]), Err: cause,
		Hint: "the topic lost its newest records or was made anew; run `millrace fsck`"}
}

// fetch reads one chunk; nil if there was nothing yet.
func (r *Reader) fetch(ctx context.Context) (*Chunk, error) {
	if err := r.find(ctx); err != nil {
		return nil, err
	}
	req := kmsg.NewPtrFetchRequest()
	// The partition's limit is the one that counts: the embedded broker gives no list of aborted transactions with an answer
	// that the request's limit ended.
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = int32(r.o.MaxWait.Milliseconds()), int32(r.o.MinBytes), math.MaxInt32
	req.SessionEpoch = -1
	if !r.o.Uncommitted {
		req.IsolationLevel = readCommitted
	}
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.Partition, partition.FetchOffset, partition.PartitionMaxBytes = r.at.Partition, r.at.From, int32(max(r.o.MaxBytes, r.o.MinBytes))
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID, topic.Partitions = r.topic, r.id, append(topic.Partitions, partition)
	req.Topics = append(req.Topics, topic)
	answer, err := r.client.Broker(int(r.leader)).Request(ctx, req)
	if err != nil {
		return nil, err
	}
	resp := answer.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, nil
	}
	got := &resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
		return nil, err
	}
	c := chunks.Get().(*Chunk)
	c.Topic, c.Range = r.topic, schemas.Range{Partition: r.at.Partition, From: r.at.From, To: r.at.From}
	err = drain(got.RecordBatches, r.at.To, r.o.Want, newAborted(got.AbortedTransactions), c)
	if c.To == c.From {
		c.Release()
		return nil, err
	}
	// What was read before a damaged batch is whole; the next fetch meets the batch again.
	r.at.From = c.To
	return c, nil
}

// find asks the cluster for the partition's leader.
func (r *Reader) find(ctx context.Context) (err error) {
	if r.client == nil {
		if r.client, err = r.log.lend(); err != nil {
			return err
		}
	}
	if r.leader >= 0 {
		return nil
	}
	resp, err := metadataOf(r.topic).RequestWith(ctx, r.client)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return err
		}
		if r.id != [16]byte{} && r.id != t.TopicID {
			return errAnother
		}
		for _, p := range t.Partitions {
			if p.Partition == r.at.Partition && p.Leader >= 0 {
				r.leader, r.id = p.Leader, t.TopicID
				return nil
			}
		}
	}
	return kerr.LeaderNotAvailable
}
