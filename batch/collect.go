package batch

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/schemas/manifest"
)

// Collected is what Collect did.
type Collected struct {
	Retired int   // definitions found to be gone
	Dropped int   // definitions whose partials have left the manifest
	Files   int   // of them that were removed
	Bytes   int64 // of those files
	Parts   int   // of folds that were removed

	Manifest int64 // the newest then; 0: there is none
}

// Collect lets go of what no view has any more. A definition of partials that none of the Views has is noted in the
// manifest; after Keep its partials leave the manifest, and after Keep again their files leave the store: a question that
// pinned a manifest before may be reading them. A view that gets its definition back in time has its partials, else they
// are made anew. Parts of folds go that need much room: see spend. It may run beside everything else: every step is an
// amendment of the newest manifest, and a file that is younger than Keep, which someone is about to name, stays.
//
// Views must be all merged views of the topic. Errors: the store's; what was done before one stays done.
func (in *Input) Collect(ctx context.Context, now time.Time) (Collected, error) {
	var out Collected
	if in.Keep <= 0 {
		return out, nil
	}
	info, err := in.Log.Topic(ctx, in.Topic.Name)
	if err != nil {
		return out, fmt.Errorf("collect %s: %w", in.Topic.Name, err)
	}
	root := manifest.Root(in.Topic.Name, info.ID, in.Topic.Hash())
	m, err := dataset.Newest(ctx, in.Store, root)
	if err != nil || m == nil {
		return out, err
	}
	eras, err := in.eras(ctx, m.Versions, in.Views)
	if err != nil {
		return out, fmt.Errorf("collect %s: %w", in.Topic.Name, err)
	}
	has := map[string]bool{}
	for _, v := range viewsOf(eras) {
		has[v.Definition] = true
	}
	removed := map[manifest.Retired]bool{}
	for _, r := range m.Retired {
		if r.Dropped == 0 || has[r.Definition] || now.Sub(time.UnixMilli(r.Dropped)) < in.Keep {
			continue
		}
		if removed[r], err = in.removeFolder(ctx, root+manifest.Folder(r.View, r.Definition), now, &out); err != nil {
			return out, fmt.Errorf("collect %s: %w", in.Topic.Name, err)
		}
	}
	spent, err := in.spend(ctx, root, m, now, has, &out)
	if err != nil {
		return out, fmt.Errorf("collect %s: %w", in.Topic.Name, err)
	}
	if err := in.amend(ctx, root, "", 0, func(m *manifest.Manifest) (*manifest.Manifest, error) {
		if m == nil {
			return nil, nil
		}
		out.Retired, out.Dropped, out.Manifest = 0, 0, m.Sequence
		next := after(m, "")
		marked := markSpent(next, spent)
		if !in.retire(next, now, has, removed, &out) && !marked {
			return nil, nil
		}
		out.Manifest = next.Sequence
		return next, nil
	}); err != nil {
		return out, fmt.Errorf("collect %s: %w", in.Topic.Name, err)
	}
	return out, nil
}

// retire brings the retired definitions up to date and says whether anything has changed.
func (in *Input) retire(m *manifest.Manifest, now time.Time, has map[string]bool, removed map[manifest.Retired]bool, out *Collected) (changed bool) {
	before := slices.Clone(m.Retired)
	m.Retired = slices.DeleteFunc(m.Retired, func(r manifest.Retired) bool { return removed[r] || has[r.Definition] })
	ms := now.UnixMilli()
	for i := range m.Retired {
		if r := &m.Retired[i]; r.Dropped == 0 && now.Sub(time.UnixMilli(r.Since)) >= in.Keep {
			r.Dropped = ms
			out.Dropped++
		}
	}
	for _, p := range m.Partials {
		if !has[p.Definition] && retiredAt(m, p) < 0 {
			m.Retired = append(m.Retired, manifest.Retired{View: p.View, Definition: p.Definition, Since: ms})
			out.Retired++
		}
	}
	m.Partials = slices.DeleteFunc(m.Partials, func(p manifest.Partial) bool {
		i := retiredAt(m, p)
		return i >= 0 && m.Retired[i].Dropped != 0
	})
	return !slices.Equal(before, m.Retired)
}

func retiredAt(m *manifest.Manifest, p manifest.Partial) int {
	return slices.IndexFunc(m.Retired, func(r manifest.Retired) bool { return r.View == p.View && r.Definition == p.Definition })
}

// removeFolder removes the files of a definition that are older than Keep, and says whether none is left.
func (in *Input) removeFolder(ctx context.Context, folder string, now time.Time, out *Collected) (empty bool, err error) {
	files, err := in.Store.List(ctx, folder)
	if err != nil {
		return false, err
	}
	empty = true
	for _, f := range files {
		if now.Sub(f.Modified) < in.Keep {
			empty = false
			continue
		}
		if err := in.Store.Delete(ctx, f.Name); err != nil {
			return false, err
		}
		out.Files, out.Bytes = out.Files+1, out.Bytes+f.Size
	}
	return empty, nil
}
