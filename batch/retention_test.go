package batch

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What no cycle has read has its time until Kafka may drop it, by its own timestamp; what is read has none.
func TestUnread(t *testing.T) {
	b := newBed(t, "fields: {n: BIGINT}", map[string]string{"sums": "SELECT sum(n) AS s FROM events"})
	now := time.Now()
	unread := func(now time.Time) ([]Unread, error) {
		p, err := b.Plan(t.Context())
		if err != nil {
			return nil, err
		}
		return b.Unread(t.Context(), p.From.Ranges(p.To), now)
	}
	if all, err := unread(now); err != nil || len(all) != 0 {
		t.Fatalf("of a topic that keeps its records: %+v, %v", all, err)
	}
	hour := "3600000"
	if _, err := kadm.NewClient(b.producer).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "retention.ms", Value: &hour}}, "events"); err != nil {
		t.Fatal(err)
	}
	for _, age := range []time.Duration{20 * time.Minute, 0} {
		if err := b.producer.ProduceSync(t.Context(), &kgo.Record{Topic: "events", Value: []byte(`{"n":1}`), Timestamp: now.Add(-age)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for age, want := range map[time.Duration][2]bool{0: {false, false}, 15 * time.Minute: {true, false}, 30 * time.Minute: {true, true}} {
		all, err := unread(now.Add(age))
		if err != nil || len(all) != 1 {
			t.Fatalf("%+v, %v", all, err)
		}
		u := all[0]
		if left := time.Duration(u.Seconds * float64(time.Second)); (left - 40*time.Minute + age).Abs() > time.Second {
			t.Errorf("after %s there are %s left", age, left)
		}
		if got := [2]bool{u.Early(), u.Alarm()}; got != want {
			t.Errorf("after %s early and alarm are %v, want %v", age, got, want)
		}
		if text := u.Problem("events").Error(); !strings.Contains(text, "events[0]: Kafka may drop offset 0 in ") {
			t.Error(text)
		}
	}
	if _, err := b.Cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, err := unread(now); err != nil || len(all) != 0 {
		t.Errorf("after a cycle: %+v, %v", all, err)
	}
}
