package speed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/millrace/millrace/pipelines/carry"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/runner"
	"github.com/millrace/millrace/pipelines/scratch"
	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas/slice"
)

// maxSlice is how many records one slice covers at most: what is lost to a crash, and what a question can skip at once.
const maxSlice = 1 << 20

// A slice is a cache of its records, and the log pays for it: its rows may take a part of the bytes of the records' values.
// What a slice takes that has hardly a row must not count.
const (
	clearlySmaller = 2 // times
	smallBytes     = 16 << 10
	packed         = 8 // times that rows in memory may be larger than their payload
)

// Published is what one flush put into the log.
type Published struct {
	Partition        int32
	From, To         int64
	Records, Rejects int64
	Bytes            int64 // of the records' values
	Slices           int   // one a view, those without rows not counted
	Withheld         int   // those
}

// limit is how many bytes a slice's rows may take on the log.
func (p *Published) limit() int64 {
	return min(max(p.Bytes/clearlySmaller, smallBytes), maxRows)
}

// work is what a worker must know.
type work struct {
	Config  kafkalog.Config
	Spec    kernel.Spec
	TopicID string
	Scratch string // folder for what the kernel spills
	Build   string // of the binary that made the pipeline
}

// sliceFn turns chunks into slices. It is one DoFn for Slice and Publish: a partial never crosses a stage.
type sliceFn struct {
	Work []byte // JSON of a work: Beam's schemas cannot describe a type that contains itself, as a topic's do

	work work

	mu     sync.Mutex // held while a method runs, for the worker may end meanwhile
	ended  bool
	log    *kafkalog.Log
	spill  *scratch.Folder
	kernel *kernel.Kernel
	open   map[int32]*Published // what the kernel has of each partition and is not published
	failed []kernel.Partial     // of views whose SQL fails on what is flushed
	hints  hints
}

// Setup opens the kernel and the log. Beam's workers in Go end without a Teardown, so both go with Setup's context, which
// is the worker's.
func (fn *sliceFn) Setup(ctx context.Context) (err error) {
	return carry.Pack(fn.setup(ctx))
}

func (fn *sliceFn) setup(ctx context.Context) (err error) {
	fn.open = map[int32]*Published{}
	if err = json.Unmarshal(fn.Work, &fn.work); err != nil {
		return err
	}
	if err = runner.CheckBuild(fn.work.Build); err != nil {
		return err
	}
	if fn.log, err = kafkalog.Open(fn.work.Config); err != nil {
		return err
	}
	// A view whose SQL fails on these records gets no rows, and the others do; a question to it reads the records itself and
	// says why it fails.
	fn.work.Spec.Skip = func(v *views.View, partition int32, _ error) {
		fn.failed = append(fn.failed, kernel.Partial{View: v, Partition: partition})
	}
	if fn.spill, err = spill(fn.work.Scratch); err != nil {
		return errors.Join(err, fn.log.Close())
	}
	fn.work.Spec.Limits.TempDir = fn.spill.Path
	if fn.kernel, err = kernel.New(ctx, fn.work.Spec); err != nil {
		fn.spill.Close()
		return errors.Join(err, fn.log.Close())
	}
	context.AfterFunc(ctx, fn.end)
	go fn.hints.keep(ctx, fn.log, fn.work.Spec.Topic.Name)
	return nil
}

// end frees them.
func (fn *sliceFn) end() {
	fn.mu.Lock()
	defer fn.mu.Unlock()
	fn.ended = true
	fn.kernel.Close()
	fn.spill.Close()
	fn.log.Close()
}

// errEnded is what a bundle gets when its worker has ended.
var errEnded = errors.New("the worker has ended")

// enter begins a method; leave is called at its end.
func (fn *sliceFn) enter() (leave func(), err error) {
	fn.mu.Lock()
	if fn.ended {
		fn.mu.Unlock()
		return nil, errEnded
	}
	return fn.mu.Unlock, nil
}

// StartBundle forgets what a bundle that failed has left: the source reads it again.
func (fn *sliceFn) StartBundle(ctx context.Context, _ func(Published)) error {
	leave, err := fn.enter()
	if err != nil {
		return err
	}
	defer leave()
	if len(fn.open) == 0 {
		return nil
	}
	left, err := fn.kernel.FlushWithin(ctx, func(int32) int64 { return 0 })
	for _, p := range left {
		p.Release()
	}
	fn.failed = nil
	if err != nil {
		return carry.Pack(fmt.Errorf("slice %s: forget a bundle that failed: %w", fn.work.Spec.Topic.Name, err))
	}
	clear(fn.open)
	return nil
}

// ProcessElement adds a chunk to the slices of its partition.
func (fn *sliceFn) ProcessElement(ctx context.Context, c *kafkalog.Chunk, emit func(Published)) error {
	defer c.Release()
	leave, err := fn.enter()
	if err != nil {
		return err
	}
	defer leave()
	o := fn.open[c.Partition]
	if o != nil && (o.To != c.From || o.To-o.From >= maxSlice) {
		if err := fn.publish(ctx, emit); err != nil {
			return carry.Pack(err)
		}
		o = nil
	}
	if o == nil {
		o = &Published{Partition: c.Partition, From: c.From}
		fn.open[c.Partition] = o
	}
	rejects, err := fn.kernel.Add(ctx, c)
	if err != nil {
		return carry.Pack(fmt.Errorf("slice %s %s: %w", c.Topic, c.Range, err))
	}
	o.To = c.To
	o.Records += int64(len(c.Records) - len(rejects))
	o.Rejects += int64(len(rejects))
	for i := range c.Records {
		o.Bytes += int64(len(c.Records[i].Value))
	}
	return nil
}

// FinishBundle publishes what the bundle has read.
func (fn *sliceFn) FinishBundle(ctx context.Context, emit func(Published)) error {
	leave, err := fn.enter()
	if err != nil {
		return err
	}
	defer leave()
	return carry.Pack(fn.publish(ctx, emit))
}

// publish appends the slices of every partition.
func (fn *sliceFn) publish(ctx context.Context, emit func(Published)) error {
	if len(fn.open) == 0 {
		return nil
	}
	partials, err := fn.kernel.FlushWithin(ctx, func(partition int32) int64 { return packed * fn.open[partition].limit() })
	made := map[int32][]named{}
	for _, p := range partials {
		if err == nil {
			var s slice.Slice
			s, err = fn.slice(p)
			made[p.Partition] = append(made[p.Partition], named{p.View.Name, s})
		}
		p.Release()
	}
	if err != nil {
		return fmt.Errorf("slice %s: %w", fn.work.Spec.Topic.Name, err)
	}
	for _, p := range fn.failed {
		s := fn.cover(p)
		s.Withheld = slice.Failed
		made[p.Partition] = append(made[p.Partition], named{p.View.Name, s})
	}
	fn.failed = nil
	for _, part := range slices.Sorted(maps.Keys(fn.open)) {
		o := fn.open[part]
		if err = fn.append(ctx, o, made[part]); err != nil {
			return fmt.Errorf("publish slices of %s[%d]@[%d,%d): %w", fn.work.Spec.Topic.Name, part, o.From, o.To, err)
		}
		fn.hints.cover(part, o.To)
		emit(*o)
	}
	clear(fn.open)
	return nil
}

// cover is a slice without rows over what is open of the partial's partition.
func (fn *sliceFn) cover(p kernel.Partial) slice.Slice {
	o := fn.open[p.Partition]
	return slice.Slice{Definition: p.View.Definition, TopicID: fn.work.TopicID, Partition: p.Partition, From: o.From, To: o.To, Records: o.Records, Rejects: o.Rejects}
}

// slice is the partial as a slice, without its rows where they are not clearly smaller than the records.
func (fn *sliceFn) slice(p kernel.Partial) (s slice.Slice, err error) {
	s = fn.cover(p)
	if p.Rows != nil {
		s.Payload, err = slicelog.EncodeRows(p.Rows)
	}
	if p.Rows == nil || int64(len(s.Payload)) > fn.open[p.Partition].limit() {
		s.Payload, s.Withheld = nil, slice.Bulky
	}
	return s, err
}

// named is a slice and its view's name.
type named struct {
	view string
	slice.Slice
}

// append publishes a partition's slices, those that are too large for the broker without their rows.
func (fn *sliceFn) append(ctx context.Context, o *Published, made []named) error {
	refused, err := publish(ctx, fn.log, fn.work.Spec.Topic.Name, made)
	var bare []named
	for _, i := range refused {
		made[i].Payload, made[i].Withheld = nil, slice.Bulky
		bare = append(bare, made[i])
	}
	if err == nil && len(bare) > 0 {
		_, err = publish(ctx, fn.log, fn.work.Spec.Topic.Name, bare)
	}
	for _, n := range made {
		if n.Withheld == slice.Given {
			o.Slices++
		} else {
			o.Withheld++
		}
	}
	return err
}

// publish appends slices of one partition, and gives the indexes of those that are too large for the broker.
func publish(ctx context.Context, log *kafkalog.Log, topic string, made []named) (refused []int, err error) {
	messages := make([]kafkalog.Message, len(made))
	for i := range made {
		messages[i] = message(made[i])
	}
	if err = log.Publish(ctx, slice.Topic(topic), messages); !errors.Is(err, kafkalog.ErrTooLarge) {
		return nil, err
	}
	for i := range messages {
		if err := log.Publish(ctx, slice.Topic(topic), messages[i:i+1]); errors.Is(err, kafkalog.ErrTooLarge) {
			refused = append(refused, i)
		} else if err != nil {
			return refused, err
		}
	}
	return refused, nil
}

func message(n named) kafkalog.Message {
	return kafkalog.Message{Partition: n.Partition, Key: []byte(n.view), Value: slice.Encode(&n.Slice)}
}

// spill makes a folder for what an engine has no memory for.
func spill(parent string) (*scratch.Folder, error) {
	if _, err := os.Stat(parent); err != nil {
		parent = "" // it is of another machine
	}
	f, err := scratch.New(parent, "millrace-slice-")
	if err != nil {
		return nil, scratch.Refused(err)
	}
	return f, nil
}

// spec is the kernel of the topic's views.
func spec(in *Input) kernel.Spec {
	return kernel.Spec{Topic: in.Topic, Views: in.Views, References: views.Joined(in.Views, in.References), Limits: kernel.Limits{Memory: in.Memory}}
}
