package kafkaio

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/graph/mtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"

	"github.com/millrace/millrace/pipelines/carry"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// Options say what is read, and how.
type Options struct {
	Config   kafkalog.Config
	Topic    string
	Ranges   []schemas.Range // at most one a partition; To may be Follow
	Want     kafkalog.Want   // of each record, beside its value
	MaxBytes int             // of one fetch; 0: kafkalog's default
	MinBytes int             // a fetch waits for that many, 0: 1
	MaxWait  time.Duration   // but not longer; 0: kafkalog's default
	Bundle   time.Duration   // how long a bundle stays open; 0: 500 ms. Restrictions that take turns in one worker share it
	Spread   bool            // one restriction a partition, for a cluster
}

// Read is the records of a topic as chunks, *kafkalog.Chunk. Order: a partition's chunks come in order, each from where the
// one before ended. Ownership: whoever takes a chunk last releases it.
func Read(s beam.Scope, o Options) beam.PCollection {
	s = s.Scope("kafkaio.Read " + o.Topic)
	if o.Bundle == 0 {
		o.Bundle = 500 * time.Millisecond
	}
	sources := []Restriction{{Ranges: o.Ranges}}
	if o.Spread {
		sources = nil
		for _, r := range o.Ranges {
			sources = append(sources, Restriction{Ranges: []schemas.Range{r}})
		}
	}
	in := beam.CreateList(s, sources)
	if o.Spread {
		in = beam.Reshuffle(s, in)
	}
	return beam.ParDo(s, &readFn{Options: o, Source: rand.Uint64(), Shortest: o.Bundle / time.Duration(max(1, len(sources)))}, in)
}

// readFn is the splittable DoFn.
type readFn struct {
	Options  Options
	Source   uint64        // another for each Read
	Shortest time.Duration // turn of a restriction, were one worker to read them all

	life context.Context // ends with the worker
	log  *kafkalog.Log
}

func (fn *readFn) CreateInitialRestriction(source Restriction) Restriction { return source }

func (fn *readFn) SplitRestriction(_ Restriction, r Restriction) []Restriction {
	return []Restriction{r}
}

func (fn *readFn) RestrictionSize(_ Restriction, r Restriction) float64 { return r.size() }

func (fn *readFn) CreateTracker(r Restriction) *sdf.LockRTracker {
	return sdf.NewLockRTracker(newTracker(r))
}

// TruncateRestriction ends the source when a runner drains the pipeline: what was not read stays in the log.
func (fn *readFn) TruncateRestriction(_ *sdf.LockRTracker, _ Restriction) Restriction {
	return Restriction{}
}

func (fn *readFn) InitialWatermarkEstimatorState(at beam.EventTime, _ Restriction, _ Restriction) int64 {
	return at.Milliseconds()
}

func (fn *readFn) CreateWatermarkEstimator(millis int64) *watermark { return &watermark{millis} }

func (fn *readFn) WatermarkEstimatorState(w *watermark) int64 { return w.millis }

// watermark is how far event time has come, milliseconds since 1970.
type watermark struct{ millis int64 }

// CurrentWatermark is the watermark as a time.
func (w *watermark) CurrentWatermark() time.Time { return mtime.Time(w.millis).ToTime() }

// Setup connects to the cluster. Beam's workers in Go end without a Teardown, so what it takes goes with its context, which
// is the worker's.
func (fn *readFn) Setup(ctx context.Context) (err error) {
	fn.life = ctx
	if fn.log, err = kafkalog.Open(fn.Options.Config); err == nil {
		context.AfterFunc(ctx, func() { fn.log.Close() })
	}
	return carry.Pack(err)
}

// ProcessElement emits chunks for the length of a bundle.
func (fn *readFn) ProcessElement(ctx context.Context, w *watermark, rt *sdf.LockRTracker, _ Restriction, emit func(beam.EventTime, *kafkalog.Chunk)) (sdf.ProcessContinuation, error) {
	f := fn.resume(rt.GetRestriction().(Restriction))
	turn := fn.Shortest
	if !f.left.IsZero() {
		turn = share(fn.Options.Bundle, fn.Shortest, f.turn, time.Since(f.left))
	}
	over := time.NewTimer(turn)
	defer over.Stop()
	latest := map[int32]int64{} // of each partition's last chunk
	for !f.at.done() {
		select {
		case <-ctx.Done():
			f.stop()
			return sdf.StopProcessing(), ctx.Err()
		case <-over.C:
			w.advance(latest)
			f.turn, f.left = turn, time.Now()
			fn.keep(f)
			return sdf.ResumeProcessingIn(0), nil
		case got := <-f.out:
			if got.err != nil {
				f.stop()
				return sdf.StopProcessing(), carry.Pack(fmt.Errorf("kafkaio: %w", got.err))
			}
			c := got.chunk
			if !rt.TryClaim(position{c.Partition, c.To}) {
				c.Release()
				f.stop() // they are ahead of what the residual begins with
				return sdf.StopProcessing(), rt.GetError()
			}
			f.take(c.Range)
			at := mtime.Now()
			if n := len(c.Records); n > 0 && fn.Options.Want&kafkalog.Timestamps != 0 {
				at = mtime.Time(c.Records[n-1].Timestamp)
			}
			latest[c.Partition] = at.Milliseconds()
			emit(at, c)
		}
	}
	f.stop()
	w.advance(latest)
	return sdf.StopProcessing(), nil
}

// share is how long a restriction reads that has read for a turn and then waited for its next: so much of the bundle as it
// had of the time since, so that the turns of all that share a worker, and what lies between them, are one bundle long. A
// runner may give any number of restrictions to a worker.
func share(bundle, shortest, turn, waited time.Duration) time.Duration {
	return min(bundle, max(shortest, time.Duration(float64(bundle)*float64(turn)/float64(turn+waited))))
}

// advance moves the watermark to the least of the partitions', in whole seconds: each step costs a runner work.
func (w *watermark) advance(latest map[int32]int64) {
	least := int64(-1)
	for _, at := range latest {
		if least < 0 || at < least {
			least = at
		}
	}
	w.millis = max(w.millis, least-least%1000)
}

// resume goes on with the fetchers that a bundle before has left, if the restriction begins where they are.
func (fn *readFn) resume(r Restriction) *fetchers {
	if f := ahead.take(fn.seat(r)); f != nil {
		if f.ctx.Err() == nil && slices.Equal(f.at.Ranges, r.Ranges) {
			return f
		}
		f.stop()
	}
	o := fn.Options
	return follow(fn.life, fn.log, o.Topic, r, kafkalog.ReadOptions{Want: o.Want, MaxBytes: o.MaxBytes, MinBytes: o.MinBytes, MaxWait: o.MaxWait})
}

// keep leaves the fetchers to the restriction's next bundle, which another instance of the DoFn may get.
func (fn *readFn) keep(f *fetchers) { ahead.put(fn.seat(f.at), f) }

func (fn *readFn) seat(r Restriction) seat {
	s := seat{worker: fn.life.Done(), source: fn.Source}
	for _, p := range r.Ranges {
		s.partitions += fmt.Sprint(p.Partition, " ")
	}
	return s
}
