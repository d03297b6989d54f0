package batch

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// patience is how often new records interrupt the build of a partial before it is made as if it were of new ones.
const patience = 3

// rounding is by how much, of the larger one, floating state may differ that was summed in another order.
const rounding = 1e-9

// Differed is a partial that did not come out as it was stored.
type Differed struct {
	schemas.Range
	What string `json:"what"` // a sentence's end: 3 of 120 rows
}

// build makes one partial in its turn, and says whether the store and so the manifest must have it for what they have.
func (w *walk) build(ctx context.Context, u *unit, done *Rebuilt) (made manifest.Partial, changed bool, err error) {
	work := func(ctx context.Context) (err error) {
		made, changed, err = w.make(ctx, u, done)
		return err
	}
	for tries := 0; w.pace.Gentle && tries < patience; tries++ {
		lent, end, err := turn.lend(ctx)
		if err != nil {
			return made, false, err
		}
		kernel.Gently(func() { err = work(lent) })
		interrupted := errors.Is(context.Cause(lent), errYield)
		end()
		if err == nil || !interrupted {
			return made, changed, err
		}
	}
	end, err := turn.take(ctx)
	if err != nil {
		return made, false, err
	}
	defer end()
	return made, changed, work(ctx)
}

// make makes one partial, compares it with the one that is stored, and stores it if it is another.
func (w *walk) make(ctx context.Context, u *unit, done *Rebuilt) (out manifest.Partial, changed bool, err error) {
	if err := w.in.prove(ctx, w.root, u.Files, w.proven); err != nil {
		return out, false, err
	}
	err = w.in.fromFiles(ctx, w.root, u.Missing, func(_ *scratch, s *kernel.Session, m *made) error {
		out = m.Partials[0]
		if u.old == nil {
			changed = true
			return w.in.put(ctx, w.root, m)
		}
		what, err := w.compare(ctx, s, u, out, m.local[out.Path])
		if err != nil {
			return err
		}
		if what == "" {
			out = *u.old
			done.Same++
			return nil
		}
		changed = out != *u.old // else its bytes were not those the manifest names, and are now
		done.Differed = append(done.Differed, Differed{u.Range, what})
		return w.in.put(ctx, w.root, m)
	})
	return out, changed, err
}

// prove reads data files through and compares their checksums; those that are proven already are passed over.
func (in *Input) prove(ctx context.Context, root string, files []manifest.File, proven map[string]bool) error {
	for _, f := range files {
		if proven[f.Path] || f.Path == "" {
			continue
		}
		if err := dataset.Whole(ctx, in.Store, root+f.Path, f.Bytes, f.CRC32C); err != nil {
			return &schemas.Problem{Message: "a data file is not as it was written: " + root + f.Path, Err: err, Hint: "run `millrace fsck --repair`, then this again"}
		}
		proven[f.Path] = true
	}
	return nil
}

// compare says how a partial differs from the one that is stored, nothing if it does not but for rounding.
func (w *walk) compare(ctx context.Context, s *kernel.Session, u *unit, made manifest.Partial, local string) (what string, err error) {
	old := u.old
	switch {
	case old.Failed != made.Failed && made.Failed == "":
		return "the view's SQL had failed over it", nil
	case old.Failed != made.Failed:
		return "the view's SQL fails over it now", nil
	case old.Path != "":
		if err := dataset.Whole(ctx, w.in.Store, w.root+old.Path, old.Bytes, old.CRC32C); errors.Is(err, store.ErrNotExist) {
			return "its file was gone", nil
		} else if err != nil {
			return "its file was damaged", nil
		}
	}
	if old.CRC32C == made.CRC32C {
		return "", nil
	}
	n := max(old.Rows, made.Rows)
	if old.Path != "" && local != "" {
		path, err := w.in.Store.Local(ctx, w.root+old.Path)
		if err != nil {
			return "", err
		}
		if n, err = differing(ctx, s, u.View, path, local); err != nil {
			return "", err
		}
	}
	if n == 0 {
		return "", nil
	}
	return fmt.Sprintf("%d of %d rows", n, max(old.Rows, made.Rows)), nil
}

// differing counts the groups that two files of a view's state do not share. What floats lie within lists and the like is
// taken for rounding.
func differing(ctx context.Context, s *kernel.Session, v *views.View, a, b string) (n int64, err error) {
	on, same := []string{"a.here = b.here"}, []string{"a.here = b.here"}
	for i, c := range v.State {
		name := schemas.QuoteIdent(c.Name)
		equal := fmt.Sprintf("a.%s IS NOT DISTINCT FROM b.%[1]s", name)
		switch floats := strings.Contains(c.Type, "DOUBLE") || strings.Contains(c.Type, "FLOAT"); {
		case i < v.Keys:
			on = append(on, equal)
			continue
		case c.Type == "DOUBLE" || c.Type == "FLOAT":
			equal = fmt.Sprintf("(%s OR isfinite(a.%s - b.%[2]s) AND abs(a.%[2]s - b.%[2]s) <= %g * greatest(abs(a.%[2]s), abs(b.%[2]s)))", equal, name, rounding)
		case floats:
			equal = fmt.Sprintf("(a.%s IS NULL) = (b.%[1]s IS NULL)", name)
		}
		same = append(same, equal)
	}
	read := func(path string) string {
		return "(SELECT *, 1 AS here FROM read_parquet(" + schemas.QuoteText(path) + "))"
	}
	rows, err := s.Query(ctx, fmt.Sprintf("SELECT count(*) FROM %s AS a FULL JOIN %s AS b ON %s WHERE NOT coalesce(%s, false)", read(a), read(b),
		strings.Join(on, " AND "), strings.Join(same, " AND ")))
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&n); err != nil {
			return 0, err
		}
	}
	return n, rows.Err()
}
