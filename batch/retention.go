package batch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// Of the time that Kafka keeps records, the part that should be left for what no cycle has read: below the first a cycle is
// early, below the second it is an alarm.
const (
	earlyPart = 2
	alarmPart = 4
)

// Unread is the records of a partition that no cycle has read, and when Kafka may drop the first of them.
type Unread struct {
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`    // of the first
	Dropped   time.Time `json:"dropped"`   // at the earliest
	Seconds   float64   `json:"seconds"`   // until then
	Retention float64   `json:"retention"` // seconds that Kafka keeps records
}

// Early says that a cycle should not wait for its time.
func (u *Unread) Early() bool { return u.Seconds*earlyPart < u.Retention }

// Alarm says that records are about to be lost to history.
func (u *Unread) Alarm() bool { return u.Seconds*alarmPart < u.Retention }

// Problem says the alarm to a person.
func (u *Unread) Problem(topic string) error {
	return &schemas.Problem{Message: fmt.Sprintf("%s[%d]: Kafka may drop offset %d in %s, and no cycle has read it", topic, u.Partition, u.Offset, time.Duration(u.Seconds*float64(time.Second)).Round(time.Second)),
		Hint: "run `millrace batch " + topic + "`, or see why cycles fail; lengthen the topic's retention.ms meanwhile"}
}

// Unread looks for ranges that no cycle has read when Kafka may drop the first of their records. Empty: it keeps them for ever,
// or there is none. Errors: the broker's.
func (in *Input) Unread(ctx context.Context, ranges []schemas.Range, now time.Time) ([]Unread, error) {
	if len(ranges) == 0 {
		return nil, nil
	}
	keeps, err := in.Log.Retention(ctx, in.Topic.Name)
	if err != nil || keeps == 0 {
		return nil, err
	}
	var out []Unread
	for _, r := range ranges {
		at, ok, err := in.Log.FirstTime(ctx, in.Topic.Name, r)
		if lost := (*kafkalog.RangeError)(nil); errors.As(err, &lost) { // dropped meanwhile: the next cycle says so
			continue
		}
		if err != nil {
			return nil, err
		}
		if ok {
			dropped := at.Add(keeps)
			out = append(out, Unread{r.Partition, r.From, dropped, dropped.Sub(now).Seconds(), keeps.Seconds()})
		}
	}
	return out, nil
}
