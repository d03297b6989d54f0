package kafkalog

import (
	"context"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Health is what the cluster says of itself and of some of its topics.
type Health struct {
	Brokers []BrokerHealth
	Topics  []TopicHealth // those that are there
}

// BrokerHealth is one broker that the cluster names.
type BrokerHealth struct {
	ID   int32
	Addr string // as the cluster advertises it
	Err  error  // a Problem: it cannot be reached from here
}

// TopicHealth is how a topic is kept. MinInsync, AppendTime and Compacted are known only if Configured is true: a user may
// not be allowed to ask.
type TopicHealth struct {
	Name        string
	Replication int // the least of its partitions
	InSync      int // the least of its partitions
	Leaderless  int // partitions without a leader
	Configured  bool
	MinInsync   int
	AppendTime  bool
	Compacted   bool
}

// Unwritable says that acks=all cannot be met.
func (t *TopicHealth) Unwritable() bool {
	return t.Leaderless > 0 || t.Configured && t.InSync < t.MinInsync
}

// Health asks the cluster for its brokers, tries each at the address it advertises, and looks at topics.
func (l *Log) Health(ctx context.Context, topics ...string) (Health, error) {
	meta, err := again(ctx, l, func() (kadm.Metadata, error) { return l.admin.Metadata(ctx, topics...) })
	if err != nil {
		return Health{}, fmt.Errorf("the state of the cluster: %w", l.unreachable(ctx, err))
	}
	var h Health
	for _, b := range meta.Brokers {
		addr := fmt.Sprintf("%s:%d", b.Host, b.Port)
		h.Brokers = append(h.Brokers, BrokerHealth{ID: b.NodeID, Addr: addr, Err: l.config.Knock(ctx, addr)})
	}
	for _, name := range topics {
		d, ok := meta.Topics[name]
		if !ok || d.Err != nil || len(d.Partitions) == 0 {
			continue
		}
		t := TopicHealth{Name: name, Replication: 1 << 30, InSync: 1 << 30}
		for _, p := range d.Partitions {
			t.Replication, t.InSync = min(t.Replication, len(p.Replicas)), min(t.InSync, len(p.ISR))
			if p.Leader < 0 {
				t.Leaderless++
			}
		}
		l.configuration(ctx, &t)
		h.Topics = append(h.Topics, t)
	}
	return h, nil
}

// configuration reads what the topic is set to.
func (l *Log) configuration(ctx context.Context, t *TopicHealth) {
	set, _ := l.settings(ctx, t.Name)
	if set == nil {
		return
	}
	t.Configured = true
	t.MinInsync, _ = strconv.Atoi(set["min.insync.replicas"])
	t.AppendTime = set["message.timestamp.type"] == "LogAppendTime"
	t.Compacted = compacts(set[cleanupPolicy])
}

// CanReplicate tries, without making it, whether a topic could be made with the replication of the configuration.
func (l *Log) CanReplicate(ctx context.Context) error {
	replication := int16(-1)
	if l.config.Replication > 0 {
		replication = int16(l.config.Replication)
	}
	_, err := again(ctx, l, func() (string, error) {
		r, err := l.admin.ValidateCreateTopics(ctx, 1, replication, nil, "_millrace.doctor")
		if err == nil {
			err = r.Error()
		}
		return "", err
	})
	return l.notMade(ctx, "a topic", "", err)
}
