package batch

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/runner"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// maxRange is how many offsets one range holds at most. Build streams, so memory does not decide it; what does: a file
// worth opening (some 100 MB of ordinary records), partials that are merged from few ranges, and no more than seconds of
// work to do again when a build is retried.
const maxRange = 1 << 21

// Input is what a cycle of one topic stands on.
type Input struct {
	Log        *kafkalog.Log
	Store      store.Store
	Topic      *schemas.Topic
	Views      []*views.View // the merged ones of the topic
	References map[string]*views.Reference
	History    *versions.History // of the tables that are joined as they were; nil: there are none
	Memory     string            // DuckDB's limit while building
	Engine     runner.Engine     // that the pipeline runs on
	Scratch    string            // folder for files on their way into the store, best on the store's disk; empty: the system's
	Keep       time.Duration     // how long what no view has any more is kept, see Collect; 0: for ever
	AcceptLoss bool              // a cycle gives up what Kafka dropped before one had read it; else it refuses to go on
	FoldAt     int               // how many adjacent partials of a tier are folded into one; 0: four

	Logger *slog.Logger // hears what an engine does with the pipeline, and what a cycle can do without; nil: nobody does

	fetchBytes   int // of one fetch; 0: the reader's default
	fillFiles    int // most data files that one partial is made from over history; 0: 256
	stepPartials int // partials over history from one commit to the next; 0: 64
}

// Plan is what a cycle will do.
type Plan struct {
	Root     string
	TopicID  string
	Previous *manifest.Manifest // nil: this is the first
	Sequence int64              // of Previous; 0: there is none
	Start    schemas.Frontier
	From, To schemas.Frontier
	Ranges   []schemas.Range // with Lost they tile [From, To)
	Lost     []schemas.Range // what Kafka has dropped before a cycle had read it, and is given up
	Missing  []Missing       // partials over what is committed; a plan has either these or the others
	Folds    []Fold          // committed partials that become one
	Cycle    string          // names this run; empty: a commit that is tried again does not know its own manifest

	Versions []manifest.TableVersion // of reference tables, that the first manifest takes over from other datasets
	Fresh    []manifest.TableVersion // that come into force with the commit

	now *Input // with the versions in force
}

// Plan fixes what the next cycle covers. Errors: a Problem if Kafka dropped records that no cycle had read, and AcceptLoss does
// not give them up.
func (in *Input) Plan(ctx context.Context) (*Plan, error) {
	info, err := in.Log.Topic(ctx, in.Topic.Name)
	if err != nil {
		return nil, fmt.Errorf("plan %s: %w", in.Topic.Name, err)
	}
	p := &Plan{TopicID: info.ID, Root: manifest.Root(in.Topic.Name, info.ID, in.Topic.Hash())}
	// The manifest is read before the log's bounds: a frontier that another cycle commits meanwhile must not look like one
	// that the log has fallen behind.
	if p.Previous, err = dataset.Newest(ctx, in.Store, p.Root); err != nil {
		return nil, fmt.Errorf("plan %s: %w", in.Topic.Name, err)
	}
	start, end, err := in.Log.Offsets(ctx, in.Topic.Name)
	if err != nil {
		return nil, fmt.Errorf("plan %s: %w", in.Topic.Name, err)
	}
	p.Start, p.From, p.To = start.Clone(), start.Clone(), end
	if p.Previous != nil {
		p.Sequence = p.Previous.Sequence
		for part, offset := range p.Previous.Frontier {
			p.Start[part], p.From[part] = p.Previous.Start[part], offset
		}
		if p.Lost = dataset.Holes(p.Previous, start); len(p.Lost) > 0 && !in.AcceptLoss {
			return nil, dataset.Dropped(in.Topic.Name, p.Lost[0])
		}
		if err := dataset.Shortened(in.Topic.Name, p.Previous.Frontier, end); err != nil {
			return nil, err
		}
	}
	if p.Versions, err = in.versions(ctx, p.Previous, p.TopicID); err != nil {
		return nil, fmt.Errorf("plan %s: %w", in.Topic.Name, err)
	}
	eras, err := in.eras(ctx, p.Versions, in.Views)
	if err != nil {
		return nil, fmt.Errorf("plan %s: %w", in.Topic.Name, err)
	}
	if p.now = in.inForce(eras); in.History != nil {
		p.Fresh = in.History.New(ctx, p.Versions)
	}
	if p.Previous != nil {
		p.Folds = in.folds(p.Previous, eras)
	}
	held := p.From.Clone()
	for _, hole := range p.Lost {
		held[hole.Partition] = hole.To
	}
	p.Ranges = cut(between(held.Ranges(p.To), p.Versions), maxRange)
	return p, nil
}

// between cuts ranges where a version of a reference table came into force: no partial is of two eras.
func between(ranges []schemas.Range, versions []manifest.TableVersion) (out []schemas.Range) {
	for _, r := range ranges {
		cuts := []int64{r.From, r.To}
		for _, v := range versions {
			if at := v.From[r.Partition]; r.From < at && at < r.To {
				cuts = append(cuts, at)
			}
		}
		slices.Sort(cuts)
		cuts = slices.Compact(cuts)
		for i, to := range cuts[1:] {
			out = append(out, schemas.Range{Partition: r.Partition, From: cuts[i], To: to})
		}
	}
	return out
}

// cut tiles ranges with ones of at most size offsets. Holes in the log are within them like any offset: a range is what
// was read, whatever it held.
func cut(ranges []schemas.Range, size int64) []schemas.Range {
	var out []schemas.Range
	for _, r := range ranges {
		for at := r.From; at < r.To; at += size {
			out = append(out, schemas.Range{Partition: r.Partition, From: at, To: min(r.To, at+size)})
		}
	}
	return out
}
