package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// send is the sending half of one Run.
type send struct {
	o      *Options
	p      *Producer
	t      *target
	resume *resumption // nil: no ID

	accepted, rejected atomic.Int64 // acknowledged, those of earlier runs of the ID included
	skipped            atomic.Int64
	refused            []Refused

	inflight atomic.Int64
	failed   chan struct{}
	once     sync.Once
	err      error
}

func newSend(o *Options, p *Producer, t *target) *send {
	return &send{o: o, p: p, t: t, refused: []Refused{}, failed: make(chan struct{})}
}

func (s *send) fail(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.failed)
	})
}

// run sends the input and returns when everything sent is acknowledged, or has failed. When ctx ends it stops reading
// and still waits for what is in flight.
func (s *send) run(ctx context.Context, in *input) error {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	watching, done := context.WithCancel(context.WithoutCancel(ctx))
	defer done()
	wg.Go(func() { s.watch(watching, in) })
	wg.Go(func() { s.p.o.owner.keep(watching, s.fail) })
	wg.Go(func() {
		select {
		case <-s.failed:
			stop()
		case <-watching.Done():
		}
	})
	pace := newPace(s.o.Rate)
	err := check(reading, s.o, in, s.t, func(p *parcel) error { return s.parcel(reading, p, pace) })
	flushing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	wg.Go(func() {
		select {
		case <-s.failed:
			cancel()
		case <-ctx.Done():
			s.part(watching, cancel)
		case <-watching.Done():
		}
	})
	if ferr := s.flush(flushing); ferr != nil && err == nil {
		err = ferr
	}
	select {
	case <-s.failed:
		return s.err
	default:
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// grace is how long an interrupted run waits for what the broker has not acknowledged.
const grace = 3 * time.Second

// part gives up, after a while, what the broker may never acknowledge.
func (s *send) part(running context.Context, cancel func()) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-s.failed:
	case <-timer.C:
	case <-running.Done():
	}
	cancel()
}

// parcel hands a parcel's records to the producer.
func (s *send) parcel(ctx context.Context, p *parcel, pace *pace) error {
	s.refused = append(s.refused, p.refused...)
	if err := pace.wait(ctx, len(p.recs)); err != nil {
		return err
	}
	if err := s.follow(ctx); err != nil {
		return err
	}
	stamp := s.t.stamp
	if stamp.IsZero() {
		stamp = time.Now()
	}
	p.left.Store(int64(len(p.recs)) + 1)
	for i := range p.recs {
		r := &p.recs[i]
		if p.partitions != s.t.partitions {
			r.Partition = s.t.partition(r, p.lines[i]/lineTurn)
		}
		if s.resume.has(s.t, r, p.lines[i]) {
			s.skipped.Add(1)
			s.count(p.bad[i])
			p.left.Add(-1)
			continue
		}
		r.Timestamp = stamp
		s.inflight.Add(1)
		line, bad := p.lines[i], p.bad[i]
		ack := func(r *kgo.Record, err error) {
			if s.inflight.Add(-1); isGone(err) {
				s.fail(s.replaced(err))
			} else if err != nil {
				s.fail(s.p.problem(err))
			} else {
				s.count(bad)
				s.resume.acked(r, line)
			}
			if p.left.Add(-1) == 0 {
				p.release()
			}
		}
		if recordSize(r) <= batchBytes-batchSlack {
			s.p.cl.Produce(context.Background(), r, ack)
			continue
		}
		if err := s.large(ctx, r, ack); err != nil {
			return err
		}
	}
	if p.left.Add(-1) == 0 {
		p.release()
	}
	return nil
}

// large sends a record through the other producer, with everything before it acknowledged first and it before
// everything after it, for a partition's order must be the input's.
func (s *send) large(ctx context.Context, r *kgo.Record, ack func(*kgo.Record, error)) error {
	cl, err := s.p.largeClient()
	if err != nil {
		return err
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	cl.Produce(context.Background(), r, ack)
	return cl.Flush(ctx)
}

func (s *send) flush(ctx context.Context) error {
	if err := s.p.cl.Flush(ctx); err != nil {
		return err
	}
	s.p.mu.Lock()
	large := s.p.large
	s.p.mu.Unlock()
	if large == nil {
		return nil
	}
	return large.Flush(ctx)
}

func (s *send) count(reject bool) {
	if reject {
		s.rejected.Add(1)
	} else {
		s.accepted.Add(1)
	}
}

// watch fails the run when the broker has acknowledged nothing for Timeout, writes notes and reports progress.
func (s *send) watch(ctx context.Context, in *input) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var meter meter
	last, moved := int64(-1), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			acked := s.accepted.Load() + s.rejected.Load()
			if acked != last || s.inflight.Load() == 0 {
				last, moved = acked, now
			}
			if now.Sub(moved) > s.o.Timeout {
				s.fail(&schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("the broker at %s has acknowledged nothing for %s", list(s.o.Kafka.Brokers), s.o.Timeout), Hint: "start it, or see with `millrace doctor` what keeps it, such as a full disk; the same command with --id NAME goes on where it stopped"})
			}
			if s.resume.due() {
				// A note that fails only makes the next run read more.
				nctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
				_ = s.note(nctx, false)
				cancel()
			}
			if s.o.Progress != nil {
				s.o.Progress(meter.measure(now, acked, in.bytes(), in.total))
			}
		}
	}
}

// failure says what has become durable.
func (s *send) failure(ctx context.Context, err error) error {
	acked := s.accepted.Load() + s.rejected.Load()
	var prob *schemas.Problem
	switch {
	case errors.As(err, &prob):
		cp := *prob
		cp.Message = fmt.Sprintf("%s; %d lines are acknowledged", prob.Message, acked)
		return &cp
	case ctx.Err() != nil:
		hint := "lines after those were not sent"
		if s.o.ID != "" {
			hint = "run the same command again to go on where it stopped"
		}
		message := fmt.Sprintf("stopped; %d lines are acknowledged", acked)
		if open := s.inflight.Load(); open > 0 {
			message += fmt.Sprintf(", and %d more were on their way to a broker that does not answer", open)
		}
		return &schemas.Problem{Kind: schemas.Failed, Message: message, Err: ctx.Err(), Hint: hint}
	}
	return fmt.Errorf("ingest %s: %w (%d lines are acknowledged)", s.t.name, err, acked)
}

// pace spreads records evenly over time.
type pace struct {
	rate  int64
	start time.Time
	sent  int64
}

func newPace(rate int64) *pace { return &pace{rate: rate} }

// wait returns when n more records may go.
func (p *pace) wait(ctx context.Context, n int) error {
	if p.rate <= 0 || n == 0 {
		return nil
	}
	now := time.Now()
	due := p.start.Add(time.Duration(float64(p.sent) / float64(p.rate) * float64(time.Second)))
	if p.start.IsZero() || now.Sub(due) > time.Second { // what was missed while the source or broker stood still is not made up
		p.start, p.sent, due = now, 0, now
	}
	p.sent += int64(n)
	if wait := due.Sub(now); wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// meter measures the rate over the last two seconds.
type meter struct {
	times   [20]time.Time
	records [20]int64
	n       int
}

func (m *meter) measure(now time.Time, records, bytes, total int64) Progress {
	i := m.n % len(m.times)
	oldest := 0
	if m.n >= len(m.times) {
		oldest = i
	}
	p := Progress{Records: records, Bytes: bytes, Total: total}
	if m.n > 0 {
		if d := now.Sub(m.times[oldest]).Seconds(); d > 0 {
			p.Rate = float64(records-m.records[oldest]) / d
		}
	}
	m.times[i], m.records[i] = now, records
	m.n++
	if p.Rate > 0 && total > bytes && bytes > 0 && records > 0 {
		left := float64(records) * float64(total-bytes) / float64(bytes)
		p.Left = time.Duration(left / p.Rate * float64(time.Second))
	}
	return p
}
