package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// ErrTooLarge: the broker takes no message of that size.
var ErrTooLarge = errors.New("message too large")

// Message is a message to append.
type Message struct {
	Partition  int32
	Key, Value []byte
}

// Publish appends messages and returns when all are durable. A failed call may have appended some: readers must bear a
// message twice. Errors: ErrTooLarge.
func (l *Log) Publish(ctx context.Context, topic string, messages []Message) error {
	byPartition := map[int32][]Message{}
	for _, m := range messages {
		byPartition[m.Partition] = append(byPartition[m.Partition], m)
	}
	for _, p := range slices.Sorted(maps.Keys(byPartition)) {
		began := time.Now()
		err := l.publish(ctx, topic, p, byPartition[p])
		for errors.Is(err, protocol.ErrNoPartition) && time.Since(began) < patience { // the client has not heard of it yet
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(50 * time.Millisecond):
			}
			err = l.publish(ctx, topic, p, byPartition[p])
		}
		if errors.Is(err, kafka.MessageSizeTooLarge) {
			err = fmt.Errorf("%w: %w", ErrTooLarge, err)
		}
		if err != nil {
			return fmt.Errorf("publish to %s[%d]: %w", topic, p, err)
		}
	}
	return nil
}

// publish appends messages to one partition. Each try has records of its own: to send them is to read them.
func (l *Log) publish(ctx context.Context, topic string, partition int32, messages []Message) error {
	records := make([]kafka.Record, len(messages))
	for i, m := range messages {
		records[i] = kafka.Record{Key: kafka.NewBytes(m.Key), Value: kafka.NewBytes(m.Value)}
	}
	r, err := l.kafka.Produce(ctx, &kafka.ProduceRequest{
		Topic: topic, Partition: int(partition), RequiredAcks: kafka.RequireAll, Compression: kafka.Snappy, // zstd's windows would be megabytes a partition
		Records: kafka.NewRecordReader(records...),
	})
	if err == nil {
		err = r.Error
	}
	return err
}
