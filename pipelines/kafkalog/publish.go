package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	kafka "github.com/segmentio/kafka-go"
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
	byPartition := map[int32][]kafka.Record{}
	for _, m := range messages {
		byPartition[m.Partition] = append(byPartition[m.Partition], kafka.Record{Key: kafka.NewBytes(m.Key), Value: kafka.NewBytes(m.Value)})
	}
	for _, p := range slices.Sorted(maps.Keys(byPartition)) {
		r, err := l.kafka.Produce(ctx, &kafka.ProduceRequest{
			Topic: topic, Partition: int(p), RequiredAcks: kafka.RequireAll, Compression: kafka.Snappy, // zstd's windows would be megabytes a partition
			Records: kafka.NewRecordReader(byPartition[p]...),
		})
		if err == nil {
			err = r.Error
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
