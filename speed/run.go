package speed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"github.com/millrace/millrace/pipelines/kafkaio"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/runner"
	"github.com/millrace/millrace/schemas"
)

// Beam finds the types of a pipeline by their registration.
func init() {
	beam.RegisterType(reflect.TypeFor[Published]())
	register.DoFn3x1[context.Context, *kafkalog.Chunk, func(Published), error](&sliceFn{})
	register.DoFn2x0[context.Context, Published](&countFn{})
	register.Emitter1[Published]()
}

const (
	bundle     = time.Second            // from one slice of a partition to the next, while records come
	round      = 500 * time.Millisecond // the same on Flink, where a bundle begins only when the one before has been handed in
	fetchWait  = 100 * time.Millisecond
	fetchBytes = 256 << 10        // a busy topic is read in pieces of that size
	tidyEvery  = 5 * time.Second  // slices are folded, and those that nobody needs dropped, that often
	restMin    = time.Second      // before a pipeline that failed is started again
	restMax    = 30 * time.Second // at most, when it fails again and again
	lookEvery  = 3 * time.Second  // for partitions that are new, or another topic of the name
)

// Run publishes slices until ctx ends, and then returns its error. A pipeline that fails, because a broker is away for
// example, is reported to the log and started again from what was published: the answers do not depend on it. So is one
// whose topic has got partitions or was deleted and made again. One that somebody has ended at the engine is not: its
// *runner.Stopped is returned.
func (in *Input) Run(ctx context.Context) error {
	rest := restMin
	now := *in
	for {
		began := time.Now()
		err := now.run(ctx, kafkaio.Follow)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errChanged) {
			in.Logger.InfoContext(ctx, "the speed layer begins anew, with the topic as it is now", "topic", in.Topic.Name)
			now.Savepoint, rest = "", restMin // a savepoint is of the topic as it was
			continue
		}
		if stopped := (*runner.Stopped)(nil); errors.As(err, &stopped) && in.Engine.Remote() {
			return err
		}
		if err == nil {
			err = errStopped
		}
		now.Savepoint = "" // what was published is ahead of it now
		in.Logger.WarnContext(ctx, "the speed layer stopped and is started again; answers stay complete", "topic", in.Topic.Name, "error", err)
		if time.Since(began) > restMax {
			rest = restMin
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rest):
		}
		rest = min(2*rest, restMax)
	}
}

// CatchUp publishes slices up to the log's end of now, tidies them and returns.
func (in *Input) CatchUp(ctx context.Context) error {
	if err := in.run(ctx, 0); err != nil {
		return err
	}
	return in.Tidy(ctx)
}

// run builds and runs the pipeline; to is kafkaio.Follow, or 0 for the log's end.
func (in *Input) run(ctx context.Context, to int64) error {
	if err := in.prepare(ctx); err != nil {
		return err
	}
	plan, err := in.Plan(ctx)
	if err != nil {
		return err
	}
	ranges := plan.Ranges
	if to != kafkaio.Follow {
		if ranges, err = in.bounded(ctx, ranges); err != nil || len(ranges) == 0 {
			return err
		}
	}
	p, s := beam.NewPipelineWithRoot()
	if err := in.build(s, plan.TopicID, ranges); err != nil {
		return err
	}
	running, stop := context.WithCancelCause(ctx)
	var beside sync.WaitGroup
	defer beside.Wait() // their engine and its scratch folder are the caller's to remove then
	defer stop(nil)
	beside.Go(func() { in.keepTidy(running, plan.TopicID) })
	beside.Go(func() { in.hint(running, plan) })
	if to == kafkaio.Follow {
		beside.Go(func() { in.watch(running, plan, stop) })
	}
	o := runner.Options{Name: "speed-" + in.Topic.Name, Project: in.Store.URL(), Engine: in.Engine, Streaming: to == kafkaio.Follow,
		Savepoint: in.Savepoint, Logger: in.Logger}
	err = runner.Run(running, p, o)
	if cause := context.Cause(running); errors.Is(cause, errChanged) {
		return cause
	}
	return err
}

// watch ends the pipeline when the topic is not the one that was planned for any more. That it is missing ends nothing: the
// pipeline notices by itself.
func (in *Input) watch(ctx context.Context, plan *Plan, end context.CancelCauseFunc) {
	every(ctx, lookEvery, func() {
		info, err := in.Log.Topic(ctx, in.Topic.Name)
		if err == nil && (info.ID != plan.TopicID || int(info.Partitions) > len(plan.Ranges)) {
			end(errChanged)
		}
	})
}

// keepTidy tidies the slices' topic now and then until ctx ends.
func (in *Input) keepTidy(ctx context.Context, topicID string) {
	t := newTidier(in, topicID)
	defer t.close()
	every(ctx, tidyEvery, func() {
		if err := t.tidy(ctx, time.Now().Add(-partsStay)); err != nil && ctx.Err() == nil {
			in.Logger.WarnContext(ctx, "slices are not folded, and old ones stay in the log", "topic", in.Topic.Name, "error", err)
		}
	})
}

// every does something each time the interval has passed, until ctx ends.
func every(ctx context.Context, interval time.Duration, do func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

// bounded ends the ranges where the log ends now.
func (in *Input) bounded(ctx context.Context, ranges []schemas.Range) ([]schemas.Range, error) {
	_, end, err := in.Log.Offsets(ctx, in.Topic.Name)
	if err != nil {
		return nil, fmt.Errorf("slices of %s: %w", in.Topic.Name, err)
	}
	from := schemas.Frontier{}
	for _, r := range ranges {
		from[r.Partition] = r.From
	}
	return from.Ranges(end), nil
}

// build is the pipeline: Read -> Slice and Publish -> count.
func (in *Input) build(s beam.Scope, topicID string, ranges []schemas.Range) error {
	kernel := spec(in)
	work, err := json.Marshal(work{Config: in.Log.Config(), Spec: kernel, TopicID: topicID, Scratch: in.Scratch, Build: in.Engine.Build()})
	if err != nil {
		return fmt.Errorf("slices of %s: %w", in.Topic.Name, err)
	}
	source := kafkaio.Options{Config: in.Log.Config(), Topic: in.Topic.Name, Ranges: ranges, Want: kernel.Want(), Bundle: bundle, MinBytes: fetchBytes, MaxWait: fetchWait}
	if in.Engine.Remote() {
		source.Spread, source.Bundle = true, round
	}
	chunks := kafkaio.Read(s, source)
	published := beam.ParDo(s, &sliceFn{Work: work}, chunks)
	// Prism spins on a stage whose output crosses no boundary.
	beam.ParDo0(s, &countFn{}, beam.Reshuffle(s, published))
	return nil
}

// countFn counts what was published, for the runner's metrics.
type countFn struct {
	records, rejects, slices, withheld beam.Counter
}

// Setup names the counters.
func (fn *countFn) Setup() {
	fn.records = beam.NewCounter("millrace.speed", "records")
	fn.rejects = beam.NewCounter("millrace.speed", "rejects")
	fn.slices = beam.NewCounter("millrace.speed", "slices")
	fn.withheld = beam.NewCounter("millrace.speed", "withheld")
}

// ProcessElement counts one flush.
func (fn *countFn) ProcessElement(ctx context.Context, p Published) {
	fn.records.Inc(ctx, p.Records)
	fn.rejects.Inc(ctx, p.Rejects)
	fn.slices.Inc(ctx, int64(p.Slices))
	fn.withheld.Inc(ctx, int64(p.Withheld))
}

// errChanged ends a pipeline that must be planned anew.
var errChanged = errors.New("the topic has changed")

// errStopped is what a pipeline that follows the log ends with if nobody cancelled it.
var errStopped = errors.New("the pipeline ended by itself")
