package kafkalog

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/millrace/millrace/schemas"
)

// Retention is how long Kafka keeps a topic's records at least; 0: for ever, or this user may not know. What retention.bytes
// drops beside it is not looked at.
func (l *Log) Retention(ctx context.Context, topic string) (time.Duration, error) {
	values, err := l.admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return 0, err
	}
	if len(values) != 1 || values[0].Err != nil {
		return 0, nil
	}
	for _, v := range values[0].Configs {
		if v.Key != "retention.ms" {
			continue
		}
		if ms, err := strconv.ParseInt(v.MaybeValue(), 10, 64); err == nil && ms > 0 && ms < int64(1<<63-1)/int64(time.Millisecond) {
			return time.Duration(ms) * time.Millisecond, nil
		}
	}
	return 0, nil
}

// FirstTime is the timestamp of the first record in a range; ok is false if there is none. Errors: as Reader.Next.
func (l *Log) FirstTime(ctx context.Context, topic string, r schemas.Range) (at time.Time, ok bool, err error) {
	reader := l.Read(topic, r, ReadOptions{Want: Timestamps, MaxBytes: 64 << 10})
	defer reader.Close()
	for {
		c, err := reader.Next(ctx)
		if errors.Is(err, io.EOF) {
			return at, false, nil
		}
		if err != nil {
			return at, false, err
		}
		if len(c.Records) > 0 {
			at = time.UnixMilli(c.Records[0].Timestamp).UTC()
			c.Release()
			return at, true, nil
		}
		c.Release()
	}
}
