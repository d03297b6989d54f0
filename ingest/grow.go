package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

const (
	// freshFor is how long a topic is taken to be as it was.
	freshFor = 3 * time.Second
	// unknownTries is how often a topic that is there may be called unknown, by a broker that has just started for example,
	// before it counts as deleted: some ten seconds.
	unknownTries = 20
)

// errReplaced: the topic that a run has begun with is not there any more.
var errReplaced = errors.New("the topic was deleted")

// renew looks at a known topic again, in the background.
func (p *Producer) renew(t *target) {
	ctx, cancel := context.WithTimeout(context.Background(), p.o.Timeout)
	defer cancel()
	defer t.asking.Store(false)
	d, err := p.look(ctx, t.name)
	t.seen.Store(time.Now().UnixNano())
	switch {
	case err != nil || d.Err != nil || len(d.Partitions) == 0: // a broker that does not know it now is no reason to do anything
	case d.ID.String() != t.id:
		p.forget(t)
	case int32(len(d.Partitions)) > t.partitions:
		_ = p.adopt(ctx, t, int32(len(d.Partitions))) // the next look finds them again
	}
}

func (p *Producer) look(ctx context.Context, name string) (d kadm.TopicDetail, err error) {
	err = p.retry(ctx, func() error {
		list, err := p.adm.ListTopics(ctx, name)
		d = list[name]
		return err
	})
	return d, err
}

// adopt replaces a known topic by the same with more partitions, once the clients know them all.
func (p *Producer) adopt(ctx context.Context, t *target, partitions int32) error {
	p.mu.Lock()
	clients := []*kgo.Client{p.cl}
	if p.large != nil {
		clients = append(clients, p.large)
	}
	p.mu.Unlock()
	for _, cl := range clients {
		for lacks(cl, t.name, partitions) {
			cl.ForceMetadataRefresh()
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known[t.name] == t {
		p.known[t.name] = t.with(partitions)
	}
	return nil
}

// lacks says whether a client that has sent to the topic does not know its last partition.
func lacks(cl *kgo.Client, topic string, partitions int32) bool {
	if leader, _, _ := cl.PartitionLeader(topic, 0); leader < 0 {
		return false // it asks when it sends
	}
	leader, _, err := cl.PartitionLeader(topic, partitions-1)
	return leader < 0 || err != nil
}

// grow adds the partitions that the topic file has and Kafka has not. A cluster that does not allow it keeps what it has;
// `millrace status` shows the difference.
func (p *Producer) grow(ctx context.Context, t *target, want int32) error {
	for {
		d, err := p.look(ctx, t.name)
		if err != nil {
			return err
		}
		if n := int32(len(d.Partitions)); n >= want && d.Err == nil {
			return p.adopt(ctx, t, n)
		}
		done, err := p.adm.UpdatePartitions(ctx, int(want), t.name)
		if err == nil {
			err = done[t.name].Err
		}
		if err != nil && !errors.Is(err, kerr.InvalidPartitions) && !kerr.IsRetriable(err) { // invalid: another was faster
			return nil //nolint:nilerr // see above
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// forget drops what is known of a topic, in the clients too: they never take up another topic of the name.
func (p *Producer) forget(t *target) {
	p.mu.Lock()
	mine := p.known[t.name] == t
	if mine {
		delete(p.known, t.name)
	}
	large := p.large
	p.mu.Unlock()
	if !mine {
		return
	}
	p.cl.PurgeTopicsFromProducing(t.name)
	if large != nil {
		large.PurgeTopicsFromProducing(t.name)
	}
}

// replaced says after an error whether the topic that records were sent to is gone, with all that was in it, and another
// has its name: then they are to be sent again, to that one. Topics that were deleted are made here.
func (p *Producer) replaced(ctx context.Context, topic *schemas.Topic, t *target, err error) bool {
	if isGone(err) {
		p.forget(t)
	}
	for tries := 0; ctx.Err() == nil && tries < unknownTries; tries++ {
		now, ferr := p.target(ctx, topic)
		if ferr != nil {
			return false
		}
		if now.id != t.id {
			return true
		}
		if !errors.Is(err, kerr.UnknownTopicID) {
			return false
		}
		select { // the brokers do not agree yet
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
		p.forget(now)
	}
	return false
}

func isGone(err error) bool {
	return errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.UnknownTopicOrPartition)
}

// follow takes a run over to the topic as it is now: lines that were sent are acknowledged first, then the others go by
// the new number of partitions.
func (s *send) follow(ctx context.Context) error {
	now, err := s.p.target(ctx, s.o.Topic)
	switch {
	case err != nil:
		return err
	case now.id != s.t.id:
		return s.replaced(nil)
	case now.partitions == s.t.partitions:
		return nil
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	if s.resume != nil {
		s.resume.turn(now.partitions)
		if err := s.note(ctx, false); err != nil {
			return err
		}
	}
	s.t = now
	return nil
}

// replaced is the error of a run whose topic was deleted: what it had sent went with it, so it must not go on as if nothing
// had been.
func (s *send) replaced(cause error) error {
	return &schemas.Problem{Kind: schemas.Failed, Message: fmt.Sprintf("%s: %s while its lines were sent, and those that were acknowledged went with it", s.o.Topic.Name, errReplaced),
		Err: cause, Hint: "run it again: all lines go to the topic that is made anew"}
}
