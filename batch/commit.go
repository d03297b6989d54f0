package batch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// Commit creates the manifest that follows on the newest one. What has been committed since the plan was made does not
// matter as long as it is no cycle's: partials may have come or gone, the frontier must be where the plan begins. Errors: a
// Problem over store.ErrExist if another has moved it, or has made all that was to be made.
func (in *Input) Commit(ctx context.Context, p *Plan, results []result) error {
	var partials []manifest.Partial
	var built []*Built
	var folds []result
	for _, hole := range p.Lost {
		partials = append(partials, in.without(p, hole)...)
	}
	for _, r := range results {
		switch {
		case r.Built != nil:
			built = append(built, r.Built)
			partials = append(partials, r.Built.Partials...)
		case len(r.Parts) > 0:
			folds = append(folds, r)
		default:
			partials = append(partials, r.Partials...)
		}
	}
	err := in.amend(ctx, p.Root, p.Cycle, p.Sequence, func(m *manifest.Manifest) (*manifest.Manifest, error) {
		next, err := in.follow(p, m, len(built)+len(p.Lost) > 0)
		if err != nil {
			return nil, err
		}
		giveUp(next, p.Lost)
		for _, b := range built {
			next.Files, next.Rejects = append(next.Files, b.Data), append(next.Rejects, b.Rejects)
		}
		add := lacking(next, partials)
		next.Partials = append(next.Partials, add...)
		changed := len(built)+len(p.Lost)+len(add) > 0
		for _, f := range folds {
			if !slices.ContainsFunc(f.Parts, func(p manifest.Partial) bool { return !names(m, p) }) { // else it is of what was replaced
				next.Partials, changed = append(unfolded(next.Partials, f.Partials), f.Partials...), true
			}
		}
		if fresh := comeIntoForce(next, p.Fresh); !changed && !fresh {
			return nil, dataset.Late(m)
		}
		sortManifest(next)
		return next, nil
	})
	if err != nil {
		return fmt.Errorf("commit %s: %w", in.Topic.Name, err)
	}
	return nil
}

// names says whether a manifest names a partial's file, whatever it says beside it.
func names(m *manifest.Manifest, p manifest.Partial) bool {
	return slices.ContainsFunc(m.Partials, func(named manifest.Partial) bool { return samePartial(named, p) })
}

// samePartial says whether two entries are of one partial: whether parts of it were removed meanwhile makes no difference.
func samePartial(a, b manifest.Partial) bool {
	a.Spent = b.Spent
	return a == b
}

// follow is the manifest that comes after m when the plan is done, without what was built. Moves says that the frontier
// moves.
func (in *Input) follow(p *Plan, m *manifest.Manifest, moves bool) (*manifest.Manifest, error) {
	if m == nil {
		return &manifest.Manifest{Topic: in.Topic.Name, TopicID: p.TopicID, Schema: in.Topic.Hash(), Sequence: 1, Start: p.Start, Frontier: p.To, Cycle: p.Cycle,
			Files: []manifest.File{}, Rejects: []manifest.File{}, Partials: []manifest.Partial{}, Versions: slices.Clone(p.Versions)}, nil
	}
	next := after(m, p.Cycle)
	if !moves {
		return next, nil
	}
	for part, at := range m.Frontier {
		if p.From[part] != at || p.Start[part] != m.Start[part] {
			return nil, dataset.Late(m)
		}
	}
	next.Start, next.Frontier = p.Start, p.To
	return next, nil
}

// after is a copy of the manifest with the next number.
func after(m *manifest.Manifest, cycle string) *manifest.Manifest {
	next := *m
	next.Sequence, next.Cycle = m.Sequence+1, cycle
	next.Start, next.Frontier = maps.Clone(m.Start), maps.Clone(m.Frontier)
	next.Files, next.Rejects, next.Partials = slices.Clone(m.Files), slices.Clone(m.Rejects), slices.Clone(m.Partials)
	next.Retired, next.Versions, next.Lost = slices.Clone(m.Retired), slices.Clone(m.Versions), slices.Clone(m.Lost)
	return &next
}

// amend commits what change makes of the newest manifest, nil if there is none, and does so again on a newer one that
// another process creates first. With a name it is committed once: an engine may run a commit again that had succeeded, and
// then one of the manifests since has that name. Change gives nil for nothing to commit. Errors: change's.
func (in *Input) amend(ctx context.Context, root, name string, since int64, change func(*manifest.Manifest) (*manifest.Manifest, error)) error {
	for {
		m, err := dataset.Newest(ctx, in.Store, root)
		if err != nil {
			return err
		}
		if name != "" && m != nil {
			if mine, err := named(ctx, in.Store, root, name, since, m.Sequence); mine != nil || err != nil {
				return err
			}
		}
		next, err := change(m)
		if err != nil || next == nil {
			return err
		}
		if err = dataset.Commit(ctx, in.Store, root, next); !errors.Is(err, store.ErrExist) {
			return err
		}
	}
}

// named is the manifest of a cycle among those after one number and up to another, nil if there is none.
func named(ctx context.Context, s store.Store, root, cycle string, after, to int64) (*manifest.Manifest, error) {
	for n := to; n > after; n-- {
		m, err := dataset.Read(ctx, s, root, root+manifest.Name(n))
		if err != nil {
			return nil, err
		}
		if m.Cycle == cycle {
			return m, nil
		}
	}
	return nil, nil
}

// lacking are those partials whose range the manifest has none over of their definition: two processes may have made them.
func lacking(m *manifest.Manifest, partials []manifest.Partial) []manifest.Partial {
	have := spansOf(m.Partials)
	return slices.DeleteFunc(slices.Clone(partials), func(p manifest.Partial) bool { return have[p.Definition].hold(p.Range()) })
}

// sortManifest puts what a manifest names in one order: results come in any, and the same cycle makes the same manifest.
func sortManifest(m *manifest.Manifest) {
	slices.SortFunc(m.Files, func(a, b manifest.File) int { return byRange(a.Range(), b.Range()) })
	slices.SortFunc(m.Rejects, func(a, b manifest.File) int { return byRange(a.Range(), b.Range()) })
	slices.SortFunc(m.Lost, byRange)
	slices.SortFunc(m.Partials, func(a, b manifest.Partial) int {
		return cmp.Or(cmp.Compare(a.View, b.View), cmp.Compare(a.Definition, b.Definition), byRange(a.Range(), b.Range()), cmp.Compare(a.To, b.To))
	})
}

func byRange(a, b schemas.Range) int {
	return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.From, b.From))
}
