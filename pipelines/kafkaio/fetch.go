package kafkaio

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// abandoned is how long a fetched chunk waits to be taken before its fetchers end: an instance of the DoFn that the
// worker no longer uses is not told so while the worker lives.
const abandoned = time.Minute

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
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
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
