package ingest

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/ingest/source"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/decode"
)

// parcel is a run of lines on its way from the source to the log. It is used again when its last record is
// acknowledged.
type parcel struct {
	data       []byte // the payloads, one after the other
	ends       []int  // of each payload in data
	lines      []int64
	recs       []kgo.Record
	partitions int32 // that the records' are of
	rejects    int64
	refused    []Refused // over the limit, not among the payloads
	reasons    []Refused // of the first rejects, for a strict run

	bad     []bool // by record: a reject
	checked chan struct{}
	err     error
	left    atomic.Int64 // records not acknowledged
	release func()
}

const (
	parcelLines = 2048
	parcelBytes = 256 << 10
	parcels     = 48
	// lineTurn lines without a key go to one partition, then to the next, so that batches grow.
	lineTurn = 1024
)

func (p *parcel) reset() {
	p.data, p.ends, p.lines, p.refused, p.reasons = p.data[:0], p.ends[:0], p.lines[:0], nil, nil
	p.rejects, p.err = 0, nil
	p.checked = make(chan struct{})
	if cap(p.data) > 4*parcelBytes {
		p.data = nil // one long line must not stay for good
	}
}

func (p *parcel) add(line int64, payload []byte) {
	p.data = append(p.data, payload...)
	p.ends = append(p.ends, len(p.data))
	p.lines = append(p.lines, line)
}

// check reads the input into parcels, has workers judge them and gives them to take in the order of the input. take
// owns the parcel and calls its release. With a nil target records are judged, not made.
//
// When ctx ends it returns at once: a read of standard input cannot be broken off, so the reader may live on, and it
// closes the input when it ends.
func check(ctx context.Context, o *Options, in *input, t *target, take func(*parcel) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	free := make(chan *parcel, parcels)
	for range parcels {
		p := &parcel{}
		p.release = func() { free <- p }
		free <- p
	}
	var checkers []Checker
	for range min(4, runtime.GOMAXPROCS(0)) {
		c, err := o.NewChecker(o.Topic)
		if err != nil {
			return err
		}
		checkers = append(checkers, c)
	}
	work, order := make(chan *parcel, parcels), make(chan *parcel, parcels)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, c := range checkers {
		wg.Go(func() {
			if d, ok := c.(interface{ Close() }); ok {
				defer d.Close()
			}
			for {
				select {
				case p, ok := <-work:
					if !ok {
						return
					}
					judge(p, o, t, c)
					close(p.checked)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	var readErr error
	go func() {
		readErr = gather(ctx, o, in, free, func(p *parcel) { order <- p; work <- p })
		if err := in.close(); readErr == nil {
			readErr = err
		}
		close(work)
		close(order)
	}()
	for {
		select {
		case p, ok := <-order:
			if !ok {
				return readErr
			}
			select {
			case <-p.checked:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := take(p); err != nil {
				return err
			}
			if t == nil {
				p.release()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// gather fills parcels; a parcel goes when it is full or the source would have to wait.
func gather(ctx context.Context, o *Options, in *input, free <-chan *parcel, put func(*parcel)) error {
	most := parcelLines
	if o.Rate > 0 {
		most = int(min(int64(most), max(1, o.Rate/50)))
	}
	for {
		var p *parcel
		select {
		case p = <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
		p.reset()
		for len(p.lines) < most && len(p.data) < parcelBytes && ctx.Err() == nil {
			if len(p.lines) > 0 && in.Waits() {
				break
			}
			line, payload, err := in.Next()
			var long *source.TooLongError
			switch {
			case errors.Is(err, io.EOF):
				put(p)
				return nil
			case errors.As(err, &long):
				p.refused = append(p.refused, Refused{Line: line, Reason: long.Error()})
			case err != nil:
				put(p)
				return err
			default:
				p.add(line, payload)
			}
		}
		put(p)
	}
}

func judge(p *parcel, o *Options, t *target, c Checker) {
	n := len(p.lines)
	if cap(p.recs) < n {
		p.recs, p.bad = make([]kgo.Record, n), make([]bool, n)
	}
	p.recs, p.bad = p.recs[:n], p.bad[:n]
	if t != nil {
		p.partitions = t.partitions
	}
	from := 0
	for i, end := range p.ends {
		v := p.data[from:end:end]
		from = end
		r := schemas.Record{Value: v}
		if t != nil {
			rec := &p.recs[i]
			*rec = kgo.Record{Topic: t.name, Value: v, Key: recordKey(o.Topic, v), Timestamp: t.stamp}
			rec.Partition = t.partition(rec, p.lines[i]/lineTurn)
			r.Partition, r.Key = rec.Partition, rec.Key
			if o.ID != "" {
				rec.Headers = []kgo.RecordHeader{{Key: lineHeader, Value: strconv.AppendInt([]byte(o.ID+"@"), p.lines[i], 10)}}
			}
		}
		rej := c.Append(&r)
		if p.bad[i] = rej != nil; rej == nil {
			continue
		}
		p.rejects++
		if o.Strict && len(p.reasons) < maxReasons {
			reason := rej.Reason
			if rej.Field != "" {
				reason = rej.Field + ": " + reason
			}
			p.reasons = append(p.reasons, Refused{Line: p.lines[i], Reason: reason})
		}
	}
}

// decoder judges by the decoder of every layer, building no column.
type decoder struct{ d *decode.Decoder }

const rowsAtOnce = 8192

func newDecoder(t *schemas.Topic) (Checker, error) {
	d, err := decode.New(t, nil, mallocator.NewMallocator())
	if err != nil {
		return nil, err
	}
	return &decoder{d}, nil
}

func (d *decoder) Append(r *schemas.Record) *schemas.Reject {
	if d.d.Len() >= rowsAtOnce {
		d.d.Batch().Release()
	}
	return d.d.Append(r)
}

func (d *decoder) Close() { d.d.Close() }
