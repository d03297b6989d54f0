package speed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/millrace/millrace/pipelines/carry"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/runner"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas/slice"
)

// maxSlice is how many records one slice covers at most: what is lost to a crash, and what a question can skip at once.
const maxSlice = 1 << 20

// Published is what one flush put into the log.
type Published struct {
	Partition        int32
	From, To         int64
	Records, Rejects int64
	Slices           int // one a view
}

// work is what a worker must know.
type work struct {
	Config  kafkalog.Config
	Spec    kernel.Spec
	TopicID string
	Build   string // of the binary that made the pipeline
}

// sliceFn turns chunks into slices. It is one DoFn for Slice and Publish: a partial never crosses a stage.
type sliceFn struct {
	Work []byte // JSON of a work: Beam's schemas cannot describe a type that contains itself, as a topic's do

	work work

	mu     sync.Mutex // held while a method runs, for the worker may end meanwhile
	ended  bool
	log    *kafkalog.Log
	kernel *kernel.Kernel
	open   map[int32]*Published // what the kernel has of each partition and is not published
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
	// A view whose SQL fails on these records gets no slice, and the others do; a question to it reads the records itself
	// and says why it fails.
	fn.work.Spec.Skip = func(*views.View, int32, error) {}
	if fn.kernel, err = kernel.New(ctx, fn.work.Spec); err != nil {
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
	left, err := fn.kernel.Flush(ctx)
	for _, p := range left {
		p.Rows.Release()
	}
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
	partials, err := fn.kernel.Flush(ctx)
	if err != nil {
		return fmt.Errorf("slice %s: %w", fn.work.Spec.Topic.Name, err)
	}
	messages := map[int32][]kafkalog.Message{}
	for _, p := range partials {
		if err == nil {
			var m kafkalog.Message
			if m, err = fn.message(p); err == nil {
				messages[p.Partition] = append(messages[p.Partition], m)
			}
		}
		p.Rows.Release()
	}
	if err != nil {
		return fmt.Errorf("slice %s: %w", fn.work.Spec.Topic.Name, err)
	}
	for _, part := range slices.Sorted(maps.Keys(fn.open)) {
		o := fn.open[part]
		if o.Slices, err = fn.append(ctx, messages[part]); err != nil {
			return fmt.Errorf("publish slices of %s[%d]@[%d,%d): %w", fn.work.Spec.Topic.Name, part, o.From, o.To, err)
		}
		fn.hints.cover(part, o.To)
		emit(*o)
	}
	clear(fn.open)
	return nil
}

// append publishes one partition's slices. One too large for the broker is left out: the log's records stand in for it,
// and Published.Slices tells.
func (fn *sliceFn) append(ctx context.Context, messages []kafkalog.Message) (published int, err error) {
	topic := slice.Topic(fn.work.Spec.Topic.Name)
	if err = fn.log.Publish(ctx, topic, messages); !errors.Is(err, kafkalog.ErrTooLarge) {
		return len(messages), err
	}
	for _, m := range messages {
		err := fn.log.Publish(ctx, topic, []kafkalog.Message{m})
		if err == nil {
			published++
		} else if !errors.Is(err, kafkalog.ErrTooLarge) {
			return published, err
		}
	}
	return published, nil
}

func (fn *sliceFn) message(p kernel.Partial) (kafkalog.Message, error) {
	payload, err := encode(p.Rows)
	o := fn.open[p.Partition]
	return kafkalog.Message{Partition: p.Partition, Key: []byte(p.View.Name), Value: slice.Encode(&slice.Slice{
		Definition: p.View.Definition, TopicID: fn.work.TopicID, Partition: p.Partition, From: o.From, To: o.To,
		Records: o.Records, Rejects: o.Rejects, Payload: payload,
	})}, err
}

// encode writes state rows as an Arrow IPC stream.
func encode(rows arrow.RecordBatch) ([]byte, error) {
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(rows.Schema()))
	err := errors.Join(w.Write(rows), w.Close())
	return b.Bytes(), err
}

// spec is the kernel of the topic's views.
func spec(in *Input) kernel.Spec {
	return kernel.Spec{Topic: in.Topic, Views: in.Views, References: views.Joined(in.Views, in.References), Limits: kernel.Limits{Memory: in.Memory}}
}
