package speed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/frontier"
	"github.com/millrace/millrace/pipelines/kafkaio"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/runner"
	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
	"github.com/millrace/millrace/schemas/slice"
)

// Input is what the speed layer of one topic stands on.
type Input struct {
	Log        *kafkalog.Log
	Store      store.Store // for the frontier: what lies below it needs no slice
	Topic      *schemas.Topic
	Views      []*views.View // the merged ones of the topic
	References map[string]*views.Reference
	Memory     string // DuckDB's limit
	Scratch    string // folder for what it spills, if the machine has it; else the system's
	Engine     runner.Engine
	Savepoint  string       // of Flink, that the pipeline goes on from; empty: it begins where the slices end
	Logger     *slog.Logger // hears of a pipeline that failed and is started again
}

// Plan is where the pipeline begins.
type Plan struct {
	TopicID string
	Ranges  []schemas.Range // one for each partition that the topic had, to kafkaio.Follow
	Lag     int64           // offsets above the frontier that some view has no slice for: a question reads them raw

	// Withheld counts by view the offsets above the frontier whose slices have no rows: a question reads them raw, too.
	Withheld map[string]int64
}

// Plan finds for each partition the first offset above the batch layer's frontier that some view has no slice for.
func (in *Input) Plan(ctx context.Context) (*Plan, error) {
	info, err := in.Log.Topic(ctx, in.Topic.Name)
	if err != nil {
		return nil, fmt.Errorf("plan slices of %s: %w", in.Topic.Name, err)
	}
	at, end, err := in.Log.Offsets(ctx, in.Topic.Name)
	if err != nil {
		return nil, fmt.Errorf("plan slices of %s: %w", in.Topic.Name, err)
	}
	m, err := dataset.Newest(ctx, in.Store, manifest.Root(in.Topic.Name, info.ID, in.Topic.Hash()))
	if err != nil {
		return nil, fmt.Errorf("plan slices of %s: %w", in.Topic.Name, err)
	}
	if m != nil {
		if dataset.Shortened(in.Topic.Name, m.Frontier, end) != nil { // or a cycle has committed since
			_, now, err := in.Log.Offsets(ctx, in.Topic.Name)
			if err == nil {
				err = dataset.Shortened(in.Topic.Name, m.Frontier, now)
			}
			if err != nil {
				return nil, fmt.Errorf("plan slices of %s: %w", in.Topic.Name, err)
			}
		}
		for p, covered := range m.Frontier {
			at[p] = max(at[p], covered)
		}
	}
	have, err := in.published(ctx, info.ID, at)
	if err != nil {
		return nil, err
	}
	p := &Plan{TopicID: info.ID, Withheld: map[string]int64{}}
	for _, part := range end.Partitions() {
		r := schemas.Range{Partition: part, From: at[part], To: end[part]}
		from, lag := r.To, int64(0)
		for _, v := range in.Views {
			_, gaps := frontier.Cover(r, have[v.Definition].all)
			var raw int64
			for _, g := range gaps {
				from, raw = min(from, g.From), raw+g.Len()
			}
			lag = max(lag, raw)
			_, bare := frontier.Cover(r, have[v.Definition].given)
			for _, g := range bare {
				p.Withheld[v.Name] += g.Len()
			}
			if p.Withheld[v.Name] -= raw; p.Withheld[v.Name] == 0 {
				delete(p.Withheld, v.Name)
			}
		}
		p.Lag += lag
		p.Ranges = append(p.Ranges, schemas.Range{Partition: part, From: from, To: kafkaio.Follow})
	}
	return p, nil
}

// made are the ranges of a definition's slices.
type made struct {
	all   []schemas.Range
	given []schemas.Range // those with rows
}

// published lists the slices by definition.
func (in *Input) published(ctx context.Context, topicID string, from schemas.Frontier) (map[string]made, error) {
	f := slicelog.Follow(in.Log, in.Topic.Name, topicID, nil)
	if err := f.Read(ctx, from, nil); err != nil {
		return nil, fmt.Errorf("plan slices of %s: %w", in.Topic.Name, err)
	}
	have := map[string]made{}
	for _, p := range f.Partitions() {
		for _, e := range f.Of(p) {
			m := have[e.Definition]
			if m.all = append(m.all, e.Range()); e.Withheld == slice.Given {
				m.given = append(m.given, e.Range())
			}
			have[e.Definition] = m
		}
	}
	return have, nil
}

// The slices' topic has small segments, because Kafka drops old slices by whole segments, and takes larger messages than
// brokers do by themselves, so that what is folded need not lie in many.
const (
	segmentBytes = "16777216"
	messageBytes = "8388608"
	maxRows      = 7 << 20 // of a slice, below messageBytes
)

// prepare makes the topic of the slices, with a partition for each of the topic's, and adds those that came since.
func (in *Input) prepare(ctx context.Context) error {
	info, err := in.Log.Topic(ctx, in.Topic.Name)
	if err != nil {
		return fmt.Errorf("slices of %s: %w", in.Topic.Name, err)
	}
	name := slice.Topic(in.Topic.Name)
	if err := in.Log.Grow(ctx, name, info.Partitions); !errors.Is(err, kafkalog.ErrNoTopic) {
		return err
	}
	return in.Log.CreateTopic(ctx, name, int(info.Partitions), map[string]string{"segment.bytes": segmentBytes, "max.message.bytes": messageBytes})
}
