package speed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/slice"
)

// run starts the layer and gives what ends it.
func (r *rig) run(t *testing.T) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	}
}

// sendTo appends n records to each of the partitions, by a client that knows the topic as it is.
func (r *rig) sendTo(t *testing.T, n int, partitions ...int32) {
	t.Helper()
	p, err := kgo.NewClient(kgo.SeedBrokers(r.Log.Config().Brokers...), kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := range n {
		for _, part := range partitions {
			if err := p.ProduceSync(t.Context(), &kgo.Record{Partition: part, Value: fmt.Appendf(nil, `{"k":"k","n":%d}`, i)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// eventually waits until all is as it must be; what tells what is not.
func eventually(t *testing.T, what func() string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(40 * time.Second)
	for {
		wrong := what()
		if wrong == "" {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal(wrong)
		}
	}
}

// covered says what keeps the slices of every view from being the whole topic once, tile by tile, and the group from
// knowing it.
func (r *rig) covered(t *testing.T) string {
	info, err := r.Log.Topic(t.Context(), "t")
	if err != nil {
		return err.Error()
	}
	_, end, err := r.Log.Offsets(t.Context(), "t")
	if err != nil {
		return err.Error()
	}
	for _, v := range r.Views {
		at := schemas.Frontier{}
		found, _, err := slicelog.Chosen(t.Context(), r.Log, "t", info.ID, schemas.Frontier{}, end, v.Definition)
		if err != nil {
			return err.Error()
		}
		for _, s := range found {
			if s.From != at[s.Partition] {
				t.Fatalf("%s: slice %s does not follow on %d", v.Name, s.Range(), at[s.Partition])
			}
			at[s.Partition] = s.To
		}
		if !maps.Equal(at, end) {
			return fmt.Sprintf("%s: slices reach %v, the log %v", v.Name, at, end)
		}
	}
	if at, err := r.Log.Committed(t.Context(), Group("t"), "t"); err != nil || !maps.Equal(at, end) {
		return fmt.Sprintf("the group is at %v, %v; the log at %v", at, err, end)
	}
	return ""
}

// Partitions that a topic gets while the layer runs are sliced too, from their first record on, and nothing is sliced
// twice.
func TestPartitionsAreAddedWhileItRuns(t *testing.T) {
	r := newRig(t)
	end := r.run(t)
	defer end()
	r.sendTo(t, 20, 0, 1, 2)
	eventually(t, func() string { return r.covered(t) })
	if err := r.Log.Grow(t.Context(), "t", 5); err != nil {
		t.Fatal(err)
	}
	r.sendTo(t, 20, 0, 1, 2, 3, 4)
	eventually(t, func() string { return r.covered(t) })
	if info, err := r.Log.Topic(t.Context(), slice.Topic("t")); err != nil || info.Partitions != 5 {
		t.Errorf("the slices' topic has %d partitions, %v", info.Partitions, err)
	}
}

// A topic that is deleted and made again while the layer runs is another one: its slices are made from its start.
func TestATopicIsMadeAgainWhileItRuns(t *testing.T) {
	r := newRig(t)
	end := r.run(t)
	defer end()
	r.sendTo(t, 50, 0, 1, 2)
	eventually(t, func() string { return r.covered(t) })
	if _, err := kadm.NewClient(r.producer).DeleteTopic(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	if err := r.Log.CreateTopic(t.Context(), "t", 2, nil); err != nil {
		t.Fatal(err)
	}
	r.sendTo(t, 60, 0, 1)
	eventually(t, func() string { return r.covered(t) })
}
