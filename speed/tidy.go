package speed

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/scratch"
	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
	"github.com/millrace/millrace/schemas/slice"
)

// foldAt is how many slices of one tier that lie side by side are folded, at least, into one of the next: a question reads
// up to one less of each tier. foldBytes is how much of their rows is in memory at once.
const (
	foldAt    = 4
	foldBytes = 64 << 20
)

// partsStay is how long slices stay that were folded: the frontier of a cycle that is being built may come to lie within the
// fold, which is of no use then.
const partsStay = 2 * time.Minute

// tidier keeps the slices' topic short, so that a question reads few slices however many were published: it folds those
// that lie side by side, publishes what comes of them, and drops from the topic's beginning what is below the batch layer's
// frontier, folded, or no slice at all. A slice is a cache: a fold that is lost, made twice or by two processes at once does
// no harm, and a question that misses slices for it reads the records.
type tidier struct {
	in      *Input
	topicID string
	slices  *slicelog.Follower
	folder  *kernel.Folder // nil until something is folded
	spill   *scratch.Folder
	known   dataset.Known
	stuck   map[*slicelog.Entry]bool // whose fold came to nothing: they are left alone
}

// run is slices of a view that are to be folded.
type run struct {
	view  *views.View
	parts []*slicelog.Entry
}

func (r run) bytes() (n int) {
	for _, e := range r.parts {
		n += e.Size
	}
	return n
}

func newTidier(in *Input, topicID string) *tidier {
	return &tidier{in: in, topicID: topicID, slices: slicelog.Follow(in.Log, in.Topic.Name, topicID, nil), stuck: map[*slicelog.Entry]bool{}}
}

func (t *tidier) close() {
	if t.folder != nil {
		t.folder.Close()
	}
	if t.spill != nil {
		t.spill.Close()
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
	return t.tidy(ctx, time.Time{})
}

// tidy folds and drops; parts of folds stay if they were published after a moment, zero: none does.
func (t *tidier) tidy(ctx context.Context, after time.Time) error {
	m, err := t.known.Newest(ctx, t.in.Store, manifest.Root(t.in.Topic.Name, t.topicID, t.in.Topic.Hash()))
	below := schemas.Frontier{}
	if m != nil {
		below = m.Frontier
	}
	for again := err == nil; again; {
		if err = t.slices.Read(ctx, below, nil); err == nil {
			again, err = t.fold(ctx)
		}
		again = again && err == nil
	}
	if err == nil {
		err = t.slices.Drop(ctx, after)
	}
	maps.DeleteFunc(t.stuck, func(e *slicelog.Entry, _ bool) bool { return e.Gone })
	if err != nil {
		return fmt.Errorf("tidy slices of %s: %w", t.in.Topic.Name, err)
	}
	return nil
}

// fold folds the runs of slices that are long enough, and says whether it has published any.
func (t *tidier) fold(ctx context.Context) (done bool, err error) {
	for _, p := range t.slices.Partitions() {
		for all := t.runs(t.slices.Of(p)); len(all) > 0; {
			n, size := 1, all[0].bytes()
			for ; n < len(all) && size+all[n].bytes() <= foldBytes; n++ {
				size += all[n].bytes()
			}
			published, err := t.replace(ctx, all[:n])
			if err != nil {
				return done, err
			}
			done, all = done || published, all[n:]
		}
	}
	if t.folder != nil && done {
		err = t.folder.Checkpoint(ctx)
	}
	return done, err
}

// runs are stretches of a partition's slices, foldAt or more, that follow on each other in one tier, with rows all or none.
func (t *tidier) runs(have []*slicelog.Entry) (out []run) {
	mine := map[string][]*slicelog.Entry{}
	for _, e := range have {
		mine[e.Definition] = append(mine[e.Definition], e)
	}
	for _, v := range t.in.Views {
		chain := chain(mine[v.Definition])
		delete(mine, v.Definition) // another view may have the same one
		for len(chain) > 0 {
			r := run{view: v, parts: chain[:1]}
			for n := 1; n < len(chain) && t.adjoin(chain[n-1], chain[n]) && r.bytes() < foldBytes; n++ {
				r.parts = chain[:n+1]
			}
			if chain = chain[len(r.parts):]; len(r.parts) >= foldAt {
				out = append(out, r)
			}
		}
	}
	return out
}

// adjoin says whether a slice follows on one of its kind, and both may be folded.
func (t *tidier) adjoin(a, b *slicelog.Entry) bool {
	return !t.stuck[a] && !t.stuck[b] && a.To == b.From && a.Tier == b.Tier && a.Withheld == b.Withheld
}

// chain picks slices of one definition as a question would.
func chain(have []*slicelog.Entry) []*slicelog.Entry {
	if len(have) < foldAt {
		return nil
	}
	all := have[0].Range()
	for _, e := range have {
		all.From, all.To = min(all.From, e.From), max(all.To, e.To)
	}
	use, _ := slicelog.Choose([]schemas.Range{all}, have)
	return use
}

// replace publishes what runs of one partition come to, and says whether any came to something.
func (t *tidier) replace(ctx context.Context, all []run) (published bool, err error) {
	var parts []*slicelog.Entry
	for _, r := range all {
		parts = append(parts, r.parts...)
	}
	if err := t.slices.Load(ctx, parts); err != nil {
		return false, err
	}
	defer func() {
		for _, e := range parts {
			e.Payload = nil
		}
	}()
	var made []named
	var of []run
	for _, r := range all {
		folded, err := t.merge(ctx, r)
		if err != nil {
			return false, err
		}
		if folded == nil {
			t.leave(r)
			continue
		}
		made, of = append(made, named{r.view.Name, *folded}), append(of, r)
	}
	if len(made) == 0 {
		return false, nil
	}
	refused, err := publish(ctx, t.in.Log, t.in.Topic.Name, made)
	for _, i := range refused {
		t.leave(of[i])
	}
	return len(refused) < len(made), err
}

// open opens the folder if it is not yet.
func (t *tidier) open(ctx context.Context) (err error) {
	if t.spill == nil {
		if t.spill, err = spill(t.in.Scratch); err != nil {
			return err
		}
	}
	if t.folder == nil {
		t.folder, err = kernel.NewFolder(ctx, kernel.Limits{Memory: t.in.Memory, TempDir: t.spill.Path})
	}
	return err
}

// leave leaves a run's slices alone.
func (t *tidier) leave(r run) {
	for _, e := range r.parts {
		t.stuck[e] = true
	}
}

// merge folds a run into one slice; nil: one of its parts is gone or cannot be read, their merge fails, or is too large.
func (t *tidier) merge(ctx context.Context, r run) (*slice.Slice, error) {
	out := r.parts[0].Slice
	out.Payload, out.To, out.Records, out.Rejects, out.Tier = nil, r.parts[len(r.parts)-1].To, 0, 0, out.Tier+1
	for _, e := range r.parts {
		out.Records += e.Records
		out.Rejects += e.Rejects
	}
	if out.Withheld != slice.Given {
		return &out, nil
	}
	if err := t.open(ctx); err != nil {
		return nil, err
	}
	schema, err := t.folder.Schema(ctx, r.view)
	if err != nil {
		return nil, err
	}
	var rows []arrow.RecordBatch
	defer func() { slicelog.ReleaseRows(rows) }()
	for _, e := range r.parts {
		more, err := slicelog.DecodeRows(e.Payload, schema)
		if err != nil {
			return nil, nil //nolint:nilerr // a question passes it over, too
		}
		rows = append(rows, more...)
	}
	merged, err := t.folder.Fold(ctx, r.view, rows, packed*maxRows)
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
