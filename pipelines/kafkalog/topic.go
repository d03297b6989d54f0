package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/schemas"
)

// Topic describes a topic. Errors: ErrNoTopic; a Problem of kind Environment if no broker answers; a Problem of kind Usage
// if the topic is compacted, for then records vanish from its middle.
func (l *Log) Topic(ctx context.Context, name string) (Topic, error) {
	// The broker is asked, and what it says is what the offsets that are asked for next go by: the client may hold something
	// older than a record that is acknowledged in a partition that is new.
	req := metadataOf(name)
	t, err := again(ctx, l, func() (kmsg.MetadataResponseTopic, error) {
		resp, err := req.RequestWith(ctx, l.client)
		switch {
		case err != nil:
			return kmsg.MetadataResponseTopic{}, err
		case len(resp.Topics) == 0:
			return kmsg.MetadataResponseTopic{}, kerr.UnknownTopicOrPartition
		}
		return resp.Topics[0], kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	})
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return Topic{}, fmt.Errorf("topic %s: %w", name, ErrNoTopic)
	}
	if err != nil {
		return Topic{}, fmt.Errorf("topic %s: %w", name, l.unreachable(ctx, err))
	}
	out := Topic{Name: name, ID: fmt.Sprintf("%x", t.TopicID), Partitions: int32(len(t.Partitions))}
	return out, l.keeps(ctx, out)
}

// keeps asks once whether the topic keeps its records in one piece. A user who may not read its configuration is believed
// that it does.
func (l *Log) keeps(ctx context.Context, t Topic) error {
	l.mu.Lock()
	known := l.whole[t.ID]
	l.mu.Unlock()
	if known {
		return nil
	}
	set, _ := l.settings(ctx, t.Name)
	if set == nil {
		return nil
	}
	if compacts(set[cleanupPolicy]) {
		// It is asked again: what is wrong may be put right while this runs.
		return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("the Kafka topic %s is compacted, so records vanish from its middle and no answer would stay what it was", t.Name),
			Hint: "set its cleanup.policy to delete, or copy it into a topic that is not compacted"}
	}
	l.mu.Lock()
	l.whole[t.ID] = true
	l.mu.Unlock()
	return nil
}

// CreateTopic makes a topic with the replication of the configuration; one that is there already is left as it is. When it
// returns, every broker that answers knows the topic. Errors: a Problem if the cluster has too few brokers.
func (l *Log) CreateTopic(ctx context.Context, name string, partitions int, configs map[string]string) error {
	values := map[string]*string{cleanupPolicy: kadm.StringPtr("delete")}
	if l.config.MinInsync > 0 {
		values["min.insync.replicas"] = kadm.StringPtr(strconv.Itoa(l.config.MinInsync))
	}
	for k, v := range configs {
		values[k] = &v
	}
	replication := int16(-1)
	if l.config.Replication > 0 {
		replication = int16(l.config.Replication)
	}
	said, err := again(ctx, l, func() (string, error) {
		r, err := l.admin.CreateTopic(ctx, int32(partitions), replication, values, name)
		if err == nil {
			err = r.Err
		}
		return r.ErrMessage, err
	})
	if err := l.notMade(ctx, "create topic "+name, said, err); err != nil {
		return err
	}
	return l.awaitKnown(ctx, name)
}

// awaitKnown waits until the brokers have heard of a topic that was made, each of which is told by the controller in its own
// time. One that does not answer is not waited for.
func (l *Log) awaitKnown(ctx context.Context, name string) error {
	brokers, err := l.admin.ListBrokers(ctx)
	if err != nil {
		return fmt.Errorf("create topic %s: %w", name, l.unreachable(ctx, err))
	}
	deadline := time.Now().Add(patience)
	for _, b := range brokers {
		for {
			resp, err := l.client.Broker(int(b.NodeID)).Request(ctx, metadataOf(name))
			if ctx.Err() != nil {
				return fmt.Errorf("create topic %s: %w", name, ctx.Err())
			}
			if err != nil || known(resp.(*kmsg.MetadataResponse)) || time.Now().After(deadline) {
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return nil
}

// known says whether a broker knows the one topic that it was asked for, and who leads its partitions.
func known(r *kmsg.MetadataResponse) bool {
	return len(r.Topics) == 1 && r.Topics[0].ErrorCode == 0 &&
		!slices.ContainsFunc(r.Topics[0].Partitions, func(p kmsg.MetadataResponseTopicPartition) bool { return p.ErrorCode != 0 })
}

func metadataOf(name string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = &name
	req.Topics = append(req.Topics, asked)
	return req
}

// notMade is why a topic cannot be made; nil if it is there.
func (l *Log) notMade(ctx context.Context, doing, said string, err error) error {
	switch {
	case err == nil || errors.Is(err, kerr.TopicAlreadyExists):
		return nil
	case errors.Is(err, kerr.InvalidReplicationFactor):
		return l.tooFew(ctx, doing, err)
	case said != "":
		err = fmt.Errorf("%w: %s", err, said)
	}
	return fmt.Errorf("%s: %w", doing, l.unreachable(ctx, err))
}

// settings are what a topic is configured with; nil: this user may not know, or the cluster cannot be asked.
func (l *Log) settings(ctx context.Context, topic string) (map[string]string, error) {
	values, err := l.admin.DescribeTopicConfigs(ctx, topic)
	if err != nil || len(values) != 1 || values[0].Err != nil {
		return nil, err
	}
	set := map[string]string{}
	for _, v := range values[0].Configs {
		set[v.Key] = v.MaybeValue()
	}
	return set, nil
}

const cleanupPolicy = "cleanup.policy"

// compacts says whether a cleanup policy takes records from a log's middle.
func compacts(policy string) bool { return strings.Contains(policy, "compact") }

// tooFew says that the replication asked for cannot be had.
func (l *Log) tooFew(ctx context.Context, doing string, cause error) error {
	brokers, err := l.admin.ListBrokers(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, l.unreachable(ctx, err))
	}
	if l.config.Replication == 0 {
		return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("%s: Kafka's default.replication.factor is more than the %d brokers that run", doing, len(brokers)), Err: cause,
			Hint: "start the others, or set kafka.replication in millrace.yaml"}
	}
	return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("%s: kafka.replication is %d, and the brokers that run are %d", doing, l.config.Replication, len(brokers)), Err: cause,
		Hint: "start the others, or lower kafka.replication in millrace.yaml"}
}

// Offsets are the first offset still in the log and the one after the last that counts, of each partition. What lies at or
// behind the first record of a transaction that has not ended does not count yet: the end is the last stable offset.
func (l *Log) Offsets(ctx context.Context, topic string) (start, end schemas.Frontier, err error) {
	if start, err = l.list(ctx, topic, l.admin.ListStartOffsets); err == nil {
		end, err = l.Ends(ctx, topic)
	}
	return start, end, err
}

// Ends are the ends that Offsets gives.
func (l *Log) Ends(ctx context.Context, topic string) (schemas.Frontier, error) {
	return l.list(ctx, topic, l.admin.ListCommittedOffsets)
}

// OffsetsAt are the first offsets appended at t or later, the log's end where there is none; they may lie beyond the end that counts.
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
	_, err := again(ctx, l, func() (kadm.DeleteRecordsResponses, error) {
		deleted, err := l.admin.DeleteRecords(ctx, offsets)
		if err == nil {
			err = deleted.Error()
		}
		return deleted, err
	})
	if err != nil {
		return fmt.Errorf("delete records of %s: %w", topic, l.unreachable(ctx, err))
	}
	return nil
}

func (l *Log) list(ctx context.Context, topic string, ask func(context.Context, ...string) (kadm.ListedOffsets, error)) (schemas.Frontier, error) {
	all, err := again(ctx, l, func() (kadm.ListedOffsets, error) {
		all, err := ask(ctx, topic)
		if err == nil {
			err = all.Error()
		}
		return all, err
	})
	if errors.Is(err, kerr.UnknownTopicOrPartition) || err == nil && len(all[topic]) == 0 {
		return nil, fmt.Errorf("topic %s: %w", topic, ErrNoTopic)
	}
	if err != nil {
		return nil, fmt.Errorf("offsets of %s: %w", topic, l.unreachable(ctx, err))
	}
	out := schemas.Frontier{}
	for p, o := range all[topic] {
		out[p] = o.Offset
	}
	return out, nil
}
