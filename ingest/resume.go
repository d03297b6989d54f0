package ingest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

const (
	lineHeader = "millrace-ingest"
	notesTopic = "_millrace.ingest"
	noteEvery  = 500_000 // records acknowledged between notes
)

// note is what the topic _millrace.ingest says of a run with an ID.
type note struct {
	Version int    `json:"v"` // 1
	Topic   string `json:"topic"`
	TopicID string `json:"topic_id"`
	ID      string `json:"id"`
	Run     string `json:"run,omitempty"` // whoever wrote it: the last one may send lines
	Input   []look `json:"input"`
	era
	Before []era `json:"before,omitempty"` // with fewer partitions, and complete: no line is sent by them any more
	Done   bool  `json:"done,omitempty"`
}

// era is a stretch of a run, or of several, in which the topic had one number of partitions: a line's partition depends on it.
type era struct {
	Partitions int32          `json:"partitions"`
	At         map[int32]mark `json:"at"`
}

// mark says that every line of the run that belongs to the partition and is at most Line lies below Offset, and none
// beyond Line does. Lines of earlier eras do not belong to it.
type mark struct {
	Offset int64 `json:"offset"`
	Line   int64 `json:"line"`
}

// resumption is what a run with an ID knows of its lines in the log. A nil one knows nothing.
type resumption struct {
	writing sync.Mutex // of a note: the last one must be the newest

	mu    sync.Mutex
	note  note
	have  []era // what was in the log when the run began
	acks  int64
	noted int64
}

// has says whether the line is in the log from an earlier run.
func (r *resumption) has(t *target, rec *kgo.Record, line int64) bool {
	return r != nil && slices.ContainsFunc(r.have, func(e era) bool {
		return line <= e.At[t.place(rec, line/lineTurn, e.Partitions)].Line
	})
}

// acked is called in the order of each partition.
func (r *resumption) acked(rec *kgo.Record, line int64) {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.acks++
	r.note.At[rec.Partition] = mark{Offset: rec.Offset + 1, Line: line}
	r.mu.Unlock()
}

// turn begins an era. All lines of the one before are acknowledged, and the note must be durable before another is sent.
func (r *resumption) turn(partitions int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note.Before = append(r.note.Before, r.note.era)
	at := map[int32]mark{}
	for part, m := range r.note.At {
		at[part] = mark{Offset: m.Offset}
	}
	r.note.era = era{Partitions: partitions, At: at}
}

func (r *resumption) due() bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.acks-r.noted < noteEvery {
		return false
	}
	r.noted = r.acks
	return true
}

// resume finds out what the log has of the run and leaves a note of where it begins.
func (p *Producer) resume(ctx context.Context, o *Options, t *target, in *input) (*resumption, error) {
	if strings.ContainsAny(o.ID, "@/\n") {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("the id %q contains @, / or a line break", o.ID), Hint: "use letters, digits, dots and dashes"}
	}
	looks, err := looksOf(ctx, in)
	if err != nil {
		return nil, err
	}
	notes, err := p.find(ctx, notesTopic, 1, nil)
	if err != nil {
		return nil, p.problem(err)
	}
	for {
		r, err := p.takeUp(ctx, o, t, notes, looks)
		if !errors.Is(err, errTaken) {
			return r, err
		}
	}
}

// errTaken: another run has written a note meanwhile.
var errTaken = errors.New("another run has begun at the same moment")

// takeUp makes the ID the run's own by a note, and then finds out what is in the log.
func (p *Producer) takeUp(ctx context.Context, o *Options, t, notes *target, looks []look) (*resumption, error) {
	last, upTo, err := p.lastNote(ctx, notes, t.name+"/"+o.ID)
	if err != nil {
		return nil, err
	}
	r := &resumption{}
	r.note = note{Version: 1, Topic: t.name, TopicID: t.id, ID: o.ID, Run: rand.Text(), Input: looks, era: era{Partitions: t.partitions, At: map[int32]mark{}}}
	if last == nil || last.TopicID != t.id { // new, or the topic was made anew
		ends, err := p.ends(ctx, t.name)
		if err != nil {
			return nil, err
		}
		for part, end := range ends {
			r.note.At[part] = mark{Offset: end}
		}
		return r, p.own(ctx, notes, r, upTo, nil)
	}
	if !slices.Equal(last.Input, looks) {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("the input is not what it was when --id %s began", o.ID), Hint: "give the same files in the same order, or another id"}
	}
	if last.Partitions > t.partitions {
		return nil, &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("the brokers say that the topic has %d partitions, and it had %d when --id %s was at work", t.partitions, last.Partitions, o.ID), Hint: "wait until the cluster's brokers agree, and run it again"}
	}
	r.note.era, r.note.Before = last.era, last.Before
	look := func() error { return p.catchUp(ctx, o, t, r, last) }
	if last.Done { // there is nothing to send
		return r, look()
	}
	return r, p.own(ctx, notes, r, upTo, look)
}

// catchUp finds the run's lines in the log.
func (p *Producer) catchUp(ctx context.Context, o *Options, t *target, r *resumption, last *note) error {
	if err := p.scan(ctx, o, t, r, last.Done); err != nil {
		return err
	}
	r.have = append(slices.Clone(r.note.Before), era{r.note.Partitions, maps.Clone(r.note.At)})
	if last.Partitions == t.partitions {
		return nil
	}
	r.turn(t.partitions)
	_, err := p.write(ctx, &r.note)
	return err
}

// own writes the run's first note, which ends what others send, and then does what must be done before this one sends, if it is
// not nil; upTo is how far the notes had been read. Errors: errTaken if another run's note came between.
func (p *Producer) own(ctx context.Context, notes *target, r *resumption, upTo int64, then func() error) error {
	at, err := p.write(ctx, &r.note)
	if err != nil {
		return err
	}
	between := false
	key := r.note.Topic + "/" + r.note.ID
	if err := p.read(ctx, notes.name, schemas.Frontier{0: upTo}, schemas.Frontier{0: at}, func(rec *schemas.Record) {
		between = between || string(rec.Key) == key
	}); err != nil {
		return err
	}
	if between {
		return errTaken
	}
	if then != nil {
		if err := then(); err != nil {
			return err
		}
	}
	p.o.owner.arm(p.log, &r.note, at)
	return nil
}

func looksOf(ctx context.Context, in *input) ([]look, error) {
	type answer struct {
		looks []look
		err   error
	}
	got := make(chan answer, 1)
	go func() { // standard input may have nothing to say yet
		l, err := in.looks()
		got <- answer{l, err}
	}()
	select {
	case a := <-got:
		return a.looks, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// scan reads the topic from the marks to its end, until the end stands still, and moves the marks on.
func (p *Producer) scan(ctx context.Context, o *Options, t *target, r *resumption, done bool) error {
	prefix := []byte(o.ID + "@")
	for {
		ends, err := p.ends(ctx, t.name)
		if err != nil {
			return err
		}
		from := schemas.Frontier{}
		for part, m := range r.note.At {
			if from[part] = m.Offset; m.Offset > ends[part] {
				return &schemas.Problem{Message: fmt.Sprintf("%s[%d] ends at %d, and lines of --id %s were acknowledged below %d: the log has lost some", t.name, part, ends[part], o.ID, m.Offset),
					Hint: "restore the log; or give another id, which sends every line again"}
			}
		}
		err = p.read(ctx, t.name, from, ends, func(rec *schemas.Record) {
			m := r.note.At[rec.Partition]
			m.Offset = rec.Offset + 1
			for _, h := range rec.Headers {
				if h.Key != lineHeader || !bytes.HasPrefix(h.Value, prefix) {
					continue
				}
				if line, err := strconv.ParseInt(string(h.Value[len(prefix):]), 10, 64); err == nil {
					m.Line = max(m.Line, line)
				}
			}
			r.note.At[rec.Partition] = m
		})
		if err != nil {
			return err
		}
		if done {
			return nil
		}
		select {
		case <-time.After(o.Settle):
		case <-ctx.Done():
			return ctx.Err()
		}
		now, err := p.ends(ctx, t.name)
		if err != nil {
			return err
		}
		if now.AtMost(ends) {
			return nil
		}
	}
}

// read gives every record in [from, to) to each, one partition after the other. Retention may have taken some, and a
// transaction of another producer that has not ended does not hold it up.
func (p *Producer) read(ctx context.Context, topic string, from, to schemas.Frontier, each func(*schemas.Record)) error {
	for _, rg := range from.Ranges(to) {
		if err := p.readRange(ctx, topic, rg, each); err != nil {
			return p.problem(err)
		}
	}
	return nil
}

func (p *Producer) readRange(ctx context.Context, topic string, rg schemas.Range, each func(*schemas.Record)) error {
	reader := p.log.Read(topic, rg, kafkalog.ReadOptions{Want: kafkalog.Keys | kafkalog.Headers, Uncommitted: true})
	defer reader.Close()
	for {
		c, err := reader.Next(ctx)
		var lost *kafkalog.RangeError
		switch {
		case errors.Is(err, kafkalog.ErrEnd):
			return nil
		case errors.As(err, &lost):
			rg.From = lost.Lost.To
			return p.readRange(ctx, topic, rg, each)
		case err != nil:
			return err
		}
		for i := range c.Records {
			each(&c.Records[i])
		}
		c.Release()
	}
}

// lastNote is the run's newest note, and the end of what was read.
func (p *Producer) lastNote(ctx context.Context, t *target, key string) (last *note, upTo int64, err error) {
	ends, err := p.ends(ctx, t.name)
	if err != nil {
		return nil, 0, err
	}
	err = p.read(ctx, t.name, schemas.Frontier{0: 0}, ends, func(r *schemas.Record) {
		var n note
		if string(r.Key) == key && json.Unmarshal(r.Value, &n) == nil && n.Version == 1 {
			last = &n
		}
	})
	return last, ends[0], err
}

// write makes a note durable, at an offset.
func (p *Producer) write(ctx context.Context, n *note) (at int64, err error) {
	data, err := json.Marshal(n)
	if err != nil {
		return 0, err
	}
	limited, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	rec := &kgo.Record{Topic: notesTopic, Key: []byte(n.Topic + "/" + n.ID), Value: data}
	err = waited(ctx, p.problem(p.produce(limited, rec)), p.o.Timeout)
	return rec.Offset, err
}

// note writes how far the run is; after its last line that is the end.
func (s *send) note(ctx context.Context, done bool) error {
	r := s.resume
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	data, err := json.Marshal(r.note)
	r.mu.Unlock()
	if err != nil {
		return err
	}
	var n note
	if err := json.Unmarshal(data, &n); err != nil {
		return err
	}
	n.Done = done
	_, err = s.p.write(ctx, &n)
	return err
}
