package batch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// foldAt is how many adjacent partials of one tier are folded into one of the next. An answer reads up to one less of each
// tier, a state row is written once a tier.
const foldAt = 4

// Fold is partials of one view that a cycle folds into one.
type Fold struct {
	View  *views.View        // one with their definition
	Parts []manifest.Partial // of one name, partition and tier, in order; each begins where the one before it ends
}

// Range is the union of the parts' ranges.
func (f Fold) Range() schemas.Range {
	return schemas.Range{Partition: f.Parts[0].Partition, From: f.Parts[0].From, To: f.Parts[len(f.Parts)-1].To}
}

// partial is what the parts become, without its file.
func (f Fold) partial() manifest.Partial {
	first, r := f.Parts[0], f.Range()
	return manifest.Partial{View: first.View, Definition: first.Definition, Partition: r.Partition, From: r.From, To: r.To, Tier: first.Tier + 1}
}

// folds lists the runs of partials in a manifest that are long enough to be folded: what one cycle has committed the next
// one folds, if they lie in an era of their view. A fold that the view's SQL failed on is noted in the manifest and not tried
// again.
func (in *Input) folds(m *manifest.Manifest, eras []versions.Era) []Fold {
	chains, tried := map[string][]manifest.Partial{}, map[string][]schemas.Range{}
	for _, p := range m.Partials {
		switch key := p.View + " " + p.Definition; {
		case p.Failed == "" && slices.ContainsFunc(eras, func(e versions.Era) bool {
			return e.View.Definition == p.Definition && e.Within(p.Range()) == p.Range()
		}):
			chains[key] = append(chains[key], p)
		case p.Failed != "" && p.Tier > 0:
			tried[key] = append(tried[key], p.Range())
		}
	}
	var out []Fold
	for _, key := range slices.Sorted(maps.Keys(chains)) {
		n := slices.IndexFunc(eras, func(e versions.Era) bool { return e.View.Definition == chains[key][0].Definition })
		for _, parts := range runs(chains[key], cmp.Or(in.FoldAt, foldAt)) {
			if f := (Fold{eras[n].View, parts}); !slices.Contains(tried[key], f.Range()) {
				out = append(out, f)
			}
		}
	}
	return out
}

// runs cuts a view's partials into stretches of n that lie one after the other in one tier; what is left over is in none.
func runs(partials []manifest.Partial, n int) (out [][]manifest.Partial) {
	slices.SortFunc(partials, func(a, b manifest.Partial) int { return byRange(a.Range(), b.Range()) })
	begin := 0
	for i, p := range partials {
		if i > begin {
			if last := partials[i-1]; p.Partition != last.Partition || p.From != last.To || p.Tier != last.Tier {
				begin = i
			}
		}
		if i-begin+1 == n {
			out = append(out, partials[begin:i+1])
			begin = i + 1
		}
	}
	return out
}

// Fold makes one partial of several and stores it. Its rows are those that the view's merge plan makes of the parts' rows,
// sorted by the keys. Its file names the parts, which stay in the store: an answer as of offsets within the range is made
// of them. Like Build it is a function of what it reads, in memory that is bounded as there.
//
// Errors: as of Build. That the view's SQL fails on the rows, a sum that overflows for example, is none: the partial says
// so in Failed, and its parts go on to stand for it. errNotWhole: a part's file has another checksum, which the fold's would hide.
func (in *Input) Fold(ctx context.Context, root string, f Fold) (manifest.Partial, error) {
	s, err := newScratch(in.Scratch)
	if err != nil {
		return manifest.Partial{}, in.of(ctx, "fold "+f.View.Name+" over", f.Range(), err)
	}
	defer s.close()
	p := f.partial()
	local, err := in.fold(ctx, s, root, f)
	if err != nil && ctx.Err() == nil && kernel.OfRecords(err) {
		p.Failed = kernel.Sentence(err)
		return p, nil
	}
	if err == nil && local != "" {
		p.Path, p.Rows, p.Bytes, p.CRC32C, err = newMade().file(partialName(p), local)
		if err == nil && p.Path != "" {
			err = in.Store.PutFile(ctx, root+p.Path, local)
		}
	}
	if err != nil {
		return manifest.Partial{}, in.of(ctx, "fold "+f.View.Name+" over", f.Range(), err)
	}
	return p, nil
}

// errNotWhole: a part is not as it was written.
var errNotWhole = errors.New("it is not as it was written")

// notWhole tells that from what the store says of itself.
func notWhole(path string, err error) error {
	if away := (*schemas.Problem)(nil); errors.As(err, &away) {
		return err
	}
	return fmt.Errorf("%s: %w: %w", path, errNotWhole, err)
}

// fold writes the folded rows to a file in scratch and returns its path, empty if the parts have no row.
func (in *Input) fold(ctx context.Context, s *scratch, root string, f Fold) (local string, err error) {
	var files []string
	for _, part := range f.Parts {
		if part.Path == "" {
			continue
		}
		if err := dataset.Whole(ctx, in.Store, root+part.Path, part.Bytes, part.CRC32C); err != nil {
			return "", notWhole(part.Path, err)
		}
		path, err := in.Store.Local(ctx, root+part.Path)
		if err != nil {
			return "", err
		}
		files = append(files, schemas.QuoteText(path))
	}
	if len(files) == 0 {
		return "", nil
	}
	parts, err := manifest.EncodeParts(f.Parts)
	if err != nil {
		return "", err
	}
	session, err := kernel.OpenSession(ctx, in.limits(s))
	if err != nil {
		return "", err
	}
	defer session.Close()
	if err := session.Exec(ctx, fmt.Sprintf("CREATE VIEW parts AS SELECT %s FROM read_parquet([%s])", kernel.StateList(f.View), strings.Join(files, ", "))); err != nil {
		return "", err
	}
	local = s.path()
	return local, s.writePartial(ctx, session, kernel.MergeSQL(f.View, "parts"), local, fmt.Sprintf(", KV_METADATA {%q: %s}", manifest.PartsKey, schemas.QuoteText(parts)))
}

// unfolded leaves out the partials that new ones were folded of.
func unfolded(before, made []manifest.Partial) []manifest.Partial {
	return slices.DeleteFunc(before, func(p manifest.Partial) bool {
		return slices.ContainsFunc(made, func(f manifest.Partial) bool {
			return f.Tier > p.Tier && f.Failed == "" && f.View == p.View && f.Definition == p.Definition && f.Range().Holds(p.Range())
		})
	})
}

// partsOf reads from a folded partial's file what it was folded of.
func partsOf(path string, folded manifest.Partial) ([]manifest.Partial, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	p, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, err
	}
	text, _ := p.Lookup(manifest.PartsKey)
	return manifest.DecodeParts(text, folded)
}
