package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// clearlySmaller is how many times smaller than the data files of its range a part of a fold must be to stay for good.
const clearlySmaller = 4

// spend removes parts of folds that are not clearly smaller than the data files of their range: a question as of offsets
// within such a fold reads the data files. Only folds are looked at that were made longer than Keep ago, for a question that
// pinned a manifest before may be reading their parts, and of definitions that are in use. It returns the folds that it is done
// with.
func (in *Input) spend(ctx context.Context, root string, m *manifest.Manifest, now time.Time, has map[string]bool, out *Collected) (done []manifest.Partial, err error) {
	for _, p := range m.Partials {
		if p.Tier == 0 || p.Path == "" || p.Spent || !has[p.Definition] {
			continue
		}
		info, err := in.Store.Stat(ctx, root+p.Path)
		if errors.Is(err, store.ErrNotExist) { // fsck says so
			continue
		}
		if err == nil && now.Sub(info.Modified) >= in.Keep {
			if err = in.spendParts(ctx, root, m, p, out); err == nil {
				done = append(done, p)
			}
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// spendParts removes what is too large among the parts of a fold and among their own parts.
func (in *Input) spendParts(ctx context.Context, root string, m *manifest.Manifest, fold manifest.Partial, out *Collected) error {
	local, err := in.Store.Local(ctx, root+fold.Path)
	if err != nil {
		return err
	}
	parts, err := partsOf(local, fold)
	if err != nil {
		return fmt.Errorf("%s%s: %w", root, fold.Path, err)
	}
	for _, p := range parts {
		if p.Path == "" {
			continue
		}
		if _, err := in.Store.Stat(ctx, root+p.Path); errors.Is(err, store.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if p.Tier > 0 && !p.Spent {
			if err := in.spendParts(ctx, root, m, p, out); err != nil {
				return err
			}
		}
		if p.Bytes*clearlySmaller <= dataBytes(m, p.Range()) {
			continue
		}
		if err := in.Store.Delete(ctx, root+p.Path); err != nil {
			return err
		}
		out.Parts++
	}
	return nil
}

// dataBytes is the size of the data files of a range.
func dataBytes(m *manifest.Manifest, r schemas.Range) (n int64) {
	for _, f := range m.Files {
		if r.Holds(f.Range()) {
			n += f.Bytes
		}
	}
	return n
}

// markSpent notes which folds are done with, of those that are still named, and says whether any is.
func markSpent(m *manifest.Manifest, done []manifest.Partial) (changed bool) {
	for i, p := range m.Partials {
		if slices.Contains(done, p) {
			m.Partials[i].Spent, changed = true, true
		}
	}
	return changed
}
