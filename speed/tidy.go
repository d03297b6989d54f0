package speed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/frontier"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
	"github.com/millrace/millrace/schemas/slice"
)

// foldAt is how many slices of one tier that lie side by side are folded into one of the next: a question reads up to one
// less of each tier.
const foldAt = 4

// frontierEvery is how often the batch layer's frontier is looked at, which moves with cycles.
const frontierEvery = 30 * time.Second

// tidier keeps the slices' topic short, so that a question reads few slices however many were published: it folds those
// that lie side by side, publishes what comes of them, and drops from the topic's beginning what is below the batch layer's
// frontier, folded, or no slice at all. A slice is a cache: a fold that is lost, made twice or by two processes at once does
// no harm, and a question that misses slices for it reads the records.
type tidier struct {
	in      *Input
	topicID string
	folder  *kernel.Folder // nil until something is folded
	below   schemas.Frontier
	looked  time.Time
	first   schemas.Frontier  // of the slices' topic
	next    schemas.Frontier  // offset to read on from
	have    map[int32][]entry // what is needed of each partition, in order of offsets
	tried   map[string]bool   // folds that came to nothing since then
}

// entry is a slice in the log.
type entry struct {
	offset int64
	slice.Slice
}

func newTidier(in *Input, topicID string) *tidier {
	return &tidier{in: in, topicID: topicID, next: schemas.Frontier{}, have: map[int32][]entry{}, tried: map[string]bool{}}
}

func (t *tidier) close() {
	if t.folder != nil {
		t.folder.Close()
	}
}

// Tidy folds what can be folded of the topic's slices, and drops what nobody needs.
func (in *Input) Tidy(ctx context.Context) error {
	info, err := in.Log.Topic(ctx, in.Topic.Name)
	if err != nil {
		return fmt.Errorf("tidy slices of %s: %w", in.Topic.Name, err)
	}
	t := newTidier(in, info.ID)
	defer t.close()
	return t.tidy(ctx)
}

func (t *tidier) tidy(ctx context.Context) error {
	err := t.look(ctx)
	for again := err == nil; again; {
		if err = t.read(ctx); err != nil {
			break
		}
		if again, err = t.fold(ctx); err != nil {
			break
		}
	}
	if err == nil {
		err = t.drop(ctx)
	}
	if errors.Is(err, kafkalog.ErrNoTopic) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("tidy slices of %s: %w", t.in.Topic.Name, err)
	}
	return nil
}

// look reads the batch layer's frontier.
func (t *tidier) look(ctx context.Context) error {
	if time.Since(t.looked) < frontierEvery {
		return nil
	}
	m, err := dataset.Newest(ctx, t.in.Store, manifest.Root(t.in.Topic.Name, t.topicID, t.in.Topic.Hash()))
	if err != nil {
		return err
	}
	if t.looked = time.Now(); m != nil {
		t.below = m.Frontier
	}
	clear(t.tried)
	return nil
}

// read reads on to the topic's end, and forgets what is not needed.
func (t *tidier) read(ctx context.Context) error {
	first, end, err := t.in.Log.Offsets(ctx, slice.Topic(t.in.Topic.Name))
	if err != nil {
		return err
	}
	t.first = first
	for _, p := range end.Partitions() {
		r := schemas.Range{Partition: p, From: max(first[p], t.next[p]), To: end[p]}
		if err := slicelog.Each(ctx, t.in.Log, t.in.Topic.Name, r, func(offset int64, s *slice.Slice) {
			if s != nil && s.TopicID == t.topicID && s.Partition == p {
				s.Payload = nil
				t.have[p] = append(t.have[p], entry{offset, *s})
			}
		}); err != nil {
			return err
		}
		t.next[p] = end[p]
		t.have[p] = slices.DeleteFunc(t.have[p], func(e entry) bool { return e.offset < first[p] || e.To <= t.below[p] })
		t.have[p] = needed(t.have[p])
	}
	return nil
}

// needed leaves out the slices that a fold of theirs stands for.
func needed(all []entry) []entry {
	folds := map[string][]entry{}
	for _, e := range all {
		if e.Tier > 0 {
			folds[e.Definition] = append(folds[e.Definition], e)
		}
	}
	return slices.DeleteFunc(all, func(e entry) bool {
		return slices.ContainsFunc(folds[e.Definition], func(f entry) bool { return f.Tier > e.Tier && f.Range().Holds(e.Range()) })
	})
}

// fold folds every run of slices that is long enough, and says whether it has published any.
func (t *tidier) fold(ctx context.Context) (done bool, err error) {
	of := map[string]*views.View{} // one a definition
	for _, v := range t.in.Views {
		of[v.Definition] = v
	}
	for _, p := range slices.Sorted(maps.Keys(t.have)) {
		for _, definition := range slices.Sorted(maps.Keys(of)) {
			for _, run := range runs(t.have[p], definition) {
				key := fmt.Sprint(definition, run[0].Range(), run[len(run)-1].Range())
				if t.tried[key] {
					continue
				}
				published, err := t.replace(ctx, of[definition], run)
				if err != nil {
					return done, err
				}
				if published {
					done = true
				} else {
					t.tried[key] = true
				}
			}
		}
	}
	return done, nil
}

// replace publishes what a run of slices comes to, if it comes to something.
func (t *tidier) replace(ctx context.Context, v *views.View, run []entry) (published bool, err error) {
	made, err := t.merge(ctx, v, run)
	if err != nil || made == nil {
		return false, err
	}
	err = t.in.Log.Publish(ctx, slice.Topic(t.in.Topic.Name), []kafkalog.Message{message(named{v.Name, *made})})
	if errors.Is(err, kafkalog.ErrTooLarge) {
		return false, nil
	}
	return err == nil, err
}

// runs are stretches of foldAt slices of a definition that follow on each other in one tier, with rows all or none.
func runs(have []entry, definition string) (out [][]entry) {
	mine := slices.DeleteFunc(slices.Clone(have), func(e entry) bool { return e.Definition != definition })
	if len(mine) < foldAt {
		return nil
	}
	all, ranges := mine[0].Range(), make([]schemas.Range, len(mine))
	for i, e := range mine {
		ranges[i] = e.Range()
		all.From, all.To = min(all.From, e.From), max(all.To, e.To)
	}
	use, _ := frontier.Cover(all, ranges)
	var run []entry
	for _, i := range use {
		e := mine[i]
		if n := len(run); n > 0 && (run[n-1].To != e.From || run[0].Tier != e.Tier || run[0].Withheld != e.Withheld) {
			run = nil
		}
		if run = append(run, e); len(run) == foldAt {
			out = append(out, run)
			run = nil
		}
	}
	return out
}

// merge folds slices into one; nil: one of them is gone or cannot be read, their merge fails, or it is too large.
func (t *tidier) merge(ctx context.Context, v *views.View, run []entry) (*slice.Slice, error) {
	out := run[0].Slice
	out.To, out.Records, out.Rejects, out.Tier = run[len(run)-1].To, 0, 0, out.Tier+1
	for _, e := range run {
		out.Records += e.Records
		out.Rejects += e.Rejects
	}
	if out.Withheld != slice.Given {
		return &out, nil
	}
	if t.folder == nil {
		var err error
		if t.folder, err = kernel.NewFolder(ctx, spec(t.in).Limits); err != nil {
			return nil, err
		}
	}
	schema, err := t.folder.Schema(ctx, v)
	if err != nil {
		return nil, err
	}
	var rows []arrow.RecordBatch
	defer func() { slicelog.ReleaseRows(rows) }()
	for _, e := range run {
		payload, err := t.payload(ctx, e)
		if err != nil {
			return nil, err
		}
		more, err := slicelog.DecodeRows(payload, schema)
		if err != nil {
			return nil, nil //nolint:nilerr // a question passes it over, too
		}
		rows = append(rows, more...)
	}
	merged, err := t.folder.Fold(ctx, v, rows, maxRows)
	if merged == nil || err != nil {
		if err != nil && (kernel.OfRecords(err) || kernel.OutOfMemory(err)) {
			err = nil
		}
		return nil, err
	}
	defer merged.Release()
	out.Payload, err = slicelog.EncodeRows(merged)
	return &out, err
}

// payload reads a slice's rows again; nothing if it is gone.
func (t *tidier) payload(ctx context.Context, e entry) (payload []byte, err error) {
	r := schemas.Range{Partition: e.Partition, From: e.offset, To: e.offset + 1}
	err = slicelog.Each(ctx, t.in.Log, t.in.Topic.Name, r, func(_ int64, s *slice.Slice) {
		if s != nil {
			payload = s.Payload
		}
	})
	return payload, err
}

// drop deletes the beginning of each partition of the topic up to the first message that is needed. Each keeps its last
// one.
func (t *tidier) drop(ctx context.Context) error {
	keep := schemas.Frontier{}
	for p, end := range t.next {
		at := end - 1
		for _, e := range t.have[p] {
			at = min(at, e.offset)
		}
		if at > t.first[p] {
			keep[p] = at
		}
	}
	if len(keep) == 0 {
		return nil
	}
	return t.in.Log.DeleteBefore(ctx, slice.Topic(t.in.Topic.Name), keep)
}
