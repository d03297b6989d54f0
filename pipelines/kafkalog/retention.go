package kafkalog

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/millrace/millrace/schemas"
)

// Retention is how long Kafka keeps a topic's records at least; 0: for ever, or this user may not know. What retention.bytes
// drops beside it is not looked at.
func (l *Log) Retention(ctx context.Context, topic string) (time.Duration, error) {
	set, err := l.settings(ctx, topic)
	ms, bad := strconv.ParseInt(set["retention.ms"], 10, 64)
	if err != nil || bad != nil || ms <= 0 || ms >= int64(1<<63-1)/int64(time.Millisecond) {
		return 0, err
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// FirstTime is the timestamp of the first record in a range; ok is false if there is none. Errors: as Reader.Next.
func (l *Log) FirstTime(ctx context.Context, topic string, r schemas.Range) (at time.Time, ok bool, err error) {
	reader := l.Read(topic, r, ReadOptions{Want: Timestamps, MaxBytes: 64 << 10})
	defer reader.Close()
	for {
		c, err := reader.Next(ctx)
		if errors.Is(err, ErrEnd) {
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
