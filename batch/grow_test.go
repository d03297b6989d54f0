package batch

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// The cycle after a topic got partitions takes them in from their start, and the group of the batch layer is where the
// frontier is.
func TestACycleTakesInNewPartitions(t *testing.T) {
	b := newBed(t, "fields: {n: BIGINT}", map[string]string{"sums": "SELECT sum(n) AS s FROM events"})
	cycle := func(want schemas.Frontier) {
		t.Helper()
		r, err := b.Cycle(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m, err := dataset.Newest(t.Context(), b.Store, manifest.Root("events", topicID(t, b), b.Topic.Hash()))
		if err != nil || !maps.Equal(m.Frontier, want) || !maps.Equal(r.To, want) {
			t.Fatalf("manifest %+v, report %+v, %v; want %v", m, r, err, want)
		}
		if at, err := b.Log.Committed(t.Context(), Group("events"), "events"); err != nil || !maps.Equal(at, want) {
			t.Errorf("the group is at %v, %v; want %v", at, err, want)
		}
	}
	b.send(t, numbers(10))
	cycle(schemas.Frontier{0: 10})
	if err := b.Log.Grow(t.Context(), "events", 3); err != nil {
		t.Fatal(err)
	}
	if err := b.Log.Publish(t.Context(), "events", []kafkalog.Message{{Partition: 2, Value: []byte(`{"n":1}`)}}); err != nil {
		t.Fatal(err)
	}
	cycle(schemas.Frontier{0: 10, 1: 0, 2: 1})
	cycle(schemas.Frontier{0: 10, 1: 0, 2: 1})
}

// A topic that was deleted and made again gets a dataset of its own: nothing of the old one is in it, and the old one stays.
func TestATopicMadeAgainIsANewDataset(t *testing.T) {
	b := newBed(t, "fields: {n: BIGINT}", map[string]string{"sums": "SELECT sum(n) AS s FROM events"})
	b.send(t, numbers(10))
	if _, err := b.Cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, old := b.files(t), topicID(t, b)
	if _, err := kadm.NewClient(b.producer).DeleteTopic(t.Context(), "events"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Cycle(t.Context()); !errors.Is(err, kafkalog.ErrNoTopic) {
		t.Errorf("a cycle over no topic: %v", err)
	}
	if err := b.Log.CreateTopic(t.Context(), "events", 1, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Log.Publish(t.Context(), "events", []kafkalog.Message{{Value: []byte(`{"n":1}`)}, {Value: []byte(`{"n":2}`)}}); err != nil {
		t.Fatal(err)
	}
	r, err := b.Cycle(t.Context())
	if err != nil || r.Manifest != 1 || r.Records != 2 || r.From[0] != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if id := topicID(t, b); id == old {
		t.Fatal("the topic is the same")
	}
	after := b.files(t)
	for name := range before {
		if _, there := after[name]; !there || !strings.Contains(name, old) {
			t.Errorf("%s is gone, or not the old topic's", name)
		}
	}
}

func topicID(t *testing.T, b *bed) string {
	t.Helper()
	info, err := b.Log.Topic(t.Context(), "events")
	if err != nil {
		t.Fatal(err)
	}
	return info.ID
}

func numbers(n int) [][]byte {
	var out [][]byte
	for i := range n {
		out = append(out, fmt.Appendf(nil, `{"n":%d}`, i))
	}
	return out
}
