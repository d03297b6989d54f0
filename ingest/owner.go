package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// errOver: a connection's run has ended, or another one has taken it up.
var errOver = errors.New("the run is over")

// owner lets a run with an ID write to its connections only while it knows that no other run has taken the ID up: whoever
// does so writes a note first and then waits for longer than what is known holds. A process that was stopped meanwhile
// finds its knowledge too old when it wakes, and asks before it writes. Safe for concurrent use.
type owner struct {
	log    *kafkalog.Log
	key    string // of the run's notes
	run    string // in them
	topic  string
	holds  time.Duration
	next   int64         // of the notes' topic, to be read
	over   chan struct{} // closed: nothing is written any more
	ending sync.Once

	mu    sync.Mutex
	armed bool
	known time.Time     // when the answer came that no other run has the ID
	news  chan struct{} // closed when known moves
}

func newOwner(o *Options) *owner {
	// Half of what a taker waits is left for what is on its way.
	return &owner{topic: o.Topic.Name, holds: max(o.Settle/2, 100*time.Millisecond), over: make(chan struct{}), news: make(chan struct{})}
}

// before waits until the run may write.
func (o *owner) before() error {
	for {
		o.mu.Lock()
		free, news := !o.armed || age(o.known) < o.holds, o.news
		o.mu.Unlock()
		if free {
			return nil
		}
		select {
		case <-news:
		case <-o.over:
			return errOver
		}
	}
}

// age counts also while the machine sleeps, and while its clock is put back.
func age(t time.Time) time.Duration { return max(time.Since(t), time.Since(t.Round(0))) }

// arm begins to guard: the run's own note lies at an offset, and no other was before it.
func (o *owner) arm(l *kafkalog.Log, n *note, at int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log, o.key, o.run, o.next, o.armed = l, n.Topic+"/"+n.ID, n.Run, at+1, true
}

// disarm ends the guarding: all lines are acknowledged.
func (o *owner) disarm() {
	if o != nil {
		o.mu.Lock()
		o.armed = false
		close(o.news)
		o.news = make(chan struct{})
		o.mu.Unlock()
	}
}

// end lets nothing more be written.
func (o *owner) end() {
	if o != nil {
		o.ending.Do(func() { close(o.over) })
	}
}

// keep asks again and again until ctx ends or another run has the ID; lost is told of that.
func (o *owner) keep(ctx context.Context, lost func(error)) {
	if o == nil || !o.armed {
		return
	}
	tick := time.NewTicker(o.holds / 4)
	defer tick.Stop()
	for {
		taken, awake, err := o.ask(ctx)
		switch {
		case taken:
			lost(&schemas.Problem{Message: fmt.Sprintf("%s: another run of this --id has gone on with it, and this one sends nothing more", o.topic),
				Hint: "leave it to the other run, or run the same command again when that has ended"})
			o.end()
			return
		case err == nil && awake:
			o.mu.Lock()
			o.known = time.Now()
			close(o.news)
			o.news = make(chan struct{})
			o.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ask is taken, and whether this process was awake all the while: an answer that waited for it is too old. One that the broker
// was slow with is not: whoever takes the ID up waits for the same broker several times.
func (o *owner) ask(ctx context.Context) (taken, awake bool, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		taken, err = o.taken(ctx)
	}()
	beat := time.NewTicker(o.holds / 8)
	defer beat.Stop()
	awake = true
	for last := time.Now(); ; last = time.Now() {
		over := false
		select {
		case <-done:
			over = true
		case <-beat.C:
		}
		if awake = awake && age(last) < o.holds/2; over {
			return taken, awake, err
		}
	}
}

// taken reads the notes that have come.
func (o *owner) taken(ctx context.Context) (bool, error) {
	ends, err := o.log.Ends(ctx, notesTopic)
	if err != nil {
		return false, err
	}
	if ends[0] < o.next { // somebody has made the topic anew
		o.next = 0
	}
	reader := o.log.Read(notesTopic, schemas.Range{From: o.next, To: ends[0]}, kafkalog.ReadOptions{Want: kafkalog.Keys})
	defer reader.Close()
	for {
		c, err := reader.Next(ctx)
		if errors.Is(err, kafkalog.ErrEnd) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		o.next = c.To
		taken := false
		for i := range c.Records {
			var n note
			if string(c.Records[i].Key) == o.key && json.Unmarshal(c.Records[i].Value, &n) == nil && n.Run != o.run {
				taken = true
			}
		}
		if c.Release(); taken {
			return true, nil
		}
	}
}
