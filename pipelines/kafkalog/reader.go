package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	kafka "github.com/segmentio/kafka-go"

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
}

// Chunk is the records of one fetch of one partition. Its Range is what was consumed, holes included: the next chunk
// begins at To. Ownership: the records point into the chunk's buffer; both are the caller's until Release.
type Chunk struct {
	Topic string
	schemas.Range
	Records []schemas.Record
	buffer  []byte
}

var chunks = sync.Pool{New: func() any { return &Chunk{} }}

// Release gives the chunk's memory back; its records must not be used after.
func (c *Chunk) Release() {
	clear(c.Records)
	c.Records, c.buffer = c.Records[:0], c.buffer[:0]
	chunks.Put(c)
}

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
	conn  *kafka.Conn
	fails int
	whole bool // the next fetch must take a record larger than the buffer
}

// slack is the room that must be left in a buffer for the next value; a larger one is read by itself.
const slack = 64 << 10

// Read begins to read a range. A To of math.MaxInt64 follows the log for ever.
func (l *Log) Read(topic string, r schemas.Range, o ReadOptions) *Reader {
	if o.MaxBytes == 0 {
		o.MaxBytes = 4 << 20
	}
	o.MinBytes = max(1, o.MinBytes)
	if o.MaxWait == 0 {
		o.MaxWait = 250 * time.Millisecond
	}
	return &Reader{log: l, topic: topic, at: r, o: o}
}

// Close ends the reader.
func (r *Reader) Close() error {
	if r.conn == nil {
		return nil
	}
	err := r.conn.Close()
	r.conn = nil
	return err
}

// Next waits for the next chunk. Errors: io.EOF at the range's end, *RangeError, the context's, or what the cluster still
// says after several tries.
func (r *Reader) Next(ctx context.Context) (*Chunk, error) {
	for {
		if r.at.From >= r.at.To {
			return nil, io.EOF
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
		case errors.Is(err, kafka.OffsetOutOfRange):
			return nil, r.lost(ctx, err)
		}
		r.Close()
		if r.fails++; r.fails > 8 {
			return nil, fmt.Errorf("read %s[%d]@%d: %w", r.topic, r.at.Partition, r.at.From, r.log.unreachable(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(2*time.Second, 20*time.Millisecond<<r.fails)):
		}
	}
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
	if err := r.dial(ctx); err != nil {
		return nil, err
	}
	conn := r.conn
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(r.o.MaxWait + 30*time.Second)); err != nil {
		return nil, err
	}
	b := conn.ReadBatchWith(kafka.ReadBatchConfig{MinBytes: r.o.MinBytes, MaxBytes: max(r.o.MaxBytes, r.o.MinBytes), MaxWait: r.o.MaxWait})
	c := chunks.Get().(*Chunk)
	c.Topic, c.Range = r.topic, schemas.Range{Partition: r.at.Partition, From: r.at.From, To: r.at.From}
	err := r.drain(b, c)
	closed := b.Close()
	if err == nil && closed != nil && !errors.Is(closed, kafka.RequestTimedOut) {
		err = closed
	}
	if c.To == c.From {
		c.Release()
		return nil, err
	}
	// What was read is whole even if the connection broke after it.
	r.at.From = c.To
	if err != nil {
		r.Close()
	}
	return c, nil
}

// drain reads the batch's records below the range's end into the chunk.
func (r *Reader) drain(b *kafka.Batch, c *Chunk) error {
	for b.Offset() < r.at.To {
		rec := schemas.Record{Partition: r.at.Partition}
		if r.o.Want == 0 && !r.whole {
			if cap(c.buffer)-len(c.buffer) < slack {
				c.buffer = make([]byte, 0, max(r.o.MaxBytes, 2*slack)) // earlier records keep the old one alive
			}
			free := c.buffer[len(c.buffer):cap(c.buffer)]
			n, err := b.Read(free)
			if errors.Is(err, io.ErrShortBuffer) {
				r.whole = true
				return nil
			}
			if err != nil {
				return ended(err)
			}
			c.buffer = c.buffer[:len(c.buffer)+n]
			rec.Value, rec.Offset = free[:n:n], b.Offset()-1
		} else {
			m, err := b.ReadMessage()
			if err != nil {
				return ended(err)
			}
			r.whole = false
			rec.Offset, rec.Timestamp, rec.Key, rec.Value = m.Offset, m.Time.UnixMilli(), m.Key, m.Value
			for _, h := range m.Headers {
				rec.Headers = append(rec.Headers, schemas.Header{Key: h.Key, Value: h.Value})
			}
		}
		if rec.Offset < r.at.From { // a broker sends whole record batches
			continue
		}
		if rec.Offset >= r.at.To {
			c.To = r.at.To
			return nil
		}
		c.Records = append(c.Records, rec)
		c.To = rec.Offset + 1
	}
	c.To = max(c.To, min(b.Offset(), r.at.To))
	return nil
}

// ended is nil at the end of a batch.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, kafka.RequestTimedOut) {
		return nil
	}
	return err
}

// dial connects to the partition's leader, asking each known broker for it, and goes to the offset.
func (r *Reader) dial(ctx context.Context) error {
	if r.conn != nil {
		return nil
	}
	var errs []error
	for _, address := range r.log.config.Brokers {
		conn, err := r.log.dialer.DialLeader(ctx, "tcp", address, r.topic, int(r.at.Partition))
		if err == nil {
			if _, err = conn.Seek(r.at.From, kafka.SeekAbsolute|kafka.SeekDontCheck); err == nil {
				r.conn = conn
				return nil
			}
			conn.Close()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
