package kafkaio

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// abandoned is how long a fetched chunk waits to be taken before its fetchers end: an instance of the DoFn that the
// worker no longer uses is not told so while the worker lives.
const abandoned = time.Minute

// ahead are the fetchers between two bundles, of every source in this process. Several restrictions take turns in one
// worker, and a worker has several instances of a DoFn, any of which may get a restriction's next bundle: so the fetchers
// belong to neither. There is at most one for each restriction of a worker.
var ahead = waiting{at: map[seat]*fetchers{}}

// seat is one restriction at one worker.
type seat struct {
	worker     <-chan struct{} // closed when the worker ends
	source     uint64
	partitions string
}

type waiting struct {
	mu sync.Mutex
	at map[seat]*fetchers
}

// take removes the fetchers from a seat, nil if there are none.
func (w *waiting) take(s seat) *fetchers {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.at[s]
	delete(w.at, s)
	return f
}

// put leaves fetchers at a seat for as long as they live. Those of an older attempt that sit there end.
func (w *waiting) put(s seat, f *fetchers) {
	w.mu.Lock()
	old := w.at[s]
	w.at[s] = f
	w.mu.Unlock()
	if old != nil {
		old.stop()
	}
	f.once.Do(func() {
		context.AfterFunc(f.ctx, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.at[s] == f {
				delete(w.at, s)
			}
		})
	})
}

// fetched is a chunk, or why there are no more.
type fetched struct {
	chunk *kafkalog.Chunk
	err   error
}

// fetchers read every partition of a restriction ahead of the bundles, one goroutine each, which end by stop, with the
// worker, or when nobody takes what they have read.
type fetchers struct {
	at     Restriction // what was not taken yet
	out    chan fetched
	ctx    context.Context // ends with the fetchers
	cancel context.CancelFunc
	done   sync.WaitGroup
	once   sync.Once // for what is done when they are first kept

	turn time.Duration // how long the restriction's last bundle read
	left time.Time     // when it ended
}

// follow starts to read a restriction; life is the worker's context.
func follow(life context.Context, log *kafkalog.Log, topic string, r Restriction, o kafkalog.ReadOptions) *fetchers {
	ctx, cancel := context.WithCancel(life)
	f := &fetchers{at: r.clone(), out: make(chan fetched, len(r.Ranges)), ctx: ctx, cancel: cancel}
	for _, part := range r.Ranges {
		if part.From < part.To {
			reader := log.Read(topic, part, o)
			f.done.Go(func() { f.fetch(reader) })
		}
	}
	return f
}

func (f *fetchers) fetch(reader *kafkalog.Reader) {
	defer reader.Close()
	ctx := f.ctx
	patience := time.NewTimer(abandoned)
	defer patience.Stop()
	for {
		c, err := reader.Next(ctx)
		if errors.Is(err, kafkalog.ErrEnd) || ctx.Err() != nil {
			if c != nil {
				c.Release()
			}
			return
		}
		patience.Reset(abandoned)
		select {
		case f.out <- fetched{c, err}:
		case <-ctx.Done():
			if c != nil {
				c.Release()
			}
			return
		case <-patience.C:
			if c != nil {
				c.Release()
			}
			f.cancel()
			return
		}
		if err != nil {
			return
		}
	}
}

// take notes that a chunk was taken.
func (f *fetchers) take(r schemas.Range) {
	for i := range f.at.Ranges {
		if f.at.Ranges[i].Partition == r.Partition {
			f.at.Ranges[i].From = r.To
		}
	}
}

// stop ends the fetchers and gives up what they have read.
func (f *fetchers) stop() {
	f.cancel()
	f.done.Wait()
	for {
		select {
		case got := <-f.out:
			if got.chunk != nil {
				got.chunk.Release()
			}
		default:
			return
		}
	}
}
