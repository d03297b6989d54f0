package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/millrace/millrace/schemas"
)

// Grow adds partitions to a topic until it has as many, and returns when the cluster tells of them; a topic that has more
// keeps them.
func (l *Log) Grow(ctx context.Context, name string, partitions int32) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		t, err := l.Topic(ctx, name)
		if err != nil || t.Partitions >= partitions {
			return err
		}
		done, err := l.admin.UpdatePartitions(ctx, int(partitions), name)
		if err == nil {
			err = done[name].Err
		}
		if err != nil && !errors.Is(err, kerr.InvalidPartitions) && !kerr.IsRetriable(err) { // invalid: another was faster
			return fmt.Errorf("add partitions to %s: %w", name, l.unreachable(ctx, err))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("add partitions to %s: %w", name, errors.Join(ctx.Err(), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// CommitOffsets notes for a consumer group how far it is, by a commit outside of any membership. It is a hint, for Kafka's own
// tools that show a group's lag: nothing in millrace reads it.
func (l *Log) CommitOffsets(ctx context.Context, group, topic string, at schemas.Frontier) error {
	if len(at) == 0 {
		return nil
	}
	offsets := kadm.Offsets{}
	for p, offset := range at {
		offsets.AddOffset(topic, p, offset, -1)
	}
	if err := l.admin.CommitAllOffsets(ctx, group, offsets); err != nil {
		return fmt.Errorf("commit offsets of group %s: %w", group, l.unreachable(ctx, err))
	}
	return nil
}

// Committed is how far a consumer group says it is; a partition it says nothing of is absent.
func (l *Log) Committed(ctx context.Context, group, topic string) (schemas.Frontier, error) {
	all, err := l.admin.FetchOffsets(ctx, group)
	if err == nil {
		err = all.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("offsets of group %s: %w", group, l.unreachable(ctx, err))
	}
	out := schemas.Frontier{}
	for p, o := range all[topic] {
		out[p] = o.At
	}
	return out, nil
}
