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

// Publish appends messages and returns when all are durable, over moved leaders. A message may come twice, and a failed call
// may have appended some: readers must bear both. Errors: ErrTooLarge, ErrNoTopic.
func (l *Log) Publish(ctx context.Context, topic string, messages []Message) error {
	byPartition := map[int32][]Message{}
	for _, m := range messages {
		byPartition[m.Partition] = append(byPartition[m.Partition], m)
	}
	codec, err := l.config.codec()
	if err != nil {
		return err
	}
	for _, p := range slices.Sorted(maps.Keys(byPartition)) {
		_, err := again(ctx, l, func() (*kafka.ProduceResponse, error) {
			records := make([]kafka.Record, len(byPartition[p]))
			for i, m := range byPartition[p] { // of every try its own: to send them is to read them
				records[i] = kafka.Record{Key: kafka.NewBytes(m.Key), Value: kafka.NewBytes(m.Value)}
			}
			r, err := l.kafka.Produce(ctx, &kafka.ProduceRequest{
				Topic: topic, Partition: int(p), RequiredAcks: kafka.RequireAll, Compression: codec,
				Records: kafka.NewRecordReader(records...),
			})
			if err == nil {
				err = r.Error
			}
			return r, err
		})
		if errors.Is(err, kafka.MessageSizeTooLarge) {
			err = fmt.Errorf("%w: %w", ErrTooLarge, err)
		}
		if err != nil {
			return fmt.Errorf("publish to %s[%d]: %w", topic, p, l.unreachable(ctx, err))
		}
	}
	return nil
}
