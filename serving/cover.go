package serving

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/millrace/millrace/pipelines/frontier"
	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// cover is how one reader of a topic gets at [from, to).
type cover struct {
	partials []manifest.Partial
	history  []schemas.Range // from Parquet files, through the kernel
	slices   []*slicelog.Entry
	raw      []schemas.Range // from the log, through the kernel
}

// coverView chooses partials, slices and raw ranges for a merged view, so that they tile [from, to).
func (q *question) coverView(ctx context.Context, p *pinned, v *views.View) (c *cover, err error) {
	c = &cover{}
	if p.manifest != nil {
		have, err := q.partials(ctx, p, v)
		if err != nil {
			return nil, err
		}
		for _, r := range p.from.Ranges(p.below) {
			use, gaps, err := q.coverRange(ctx, p, r, have)
			if err != nil {
				return nil, err
			}
			c.partials, c.history = append(c.partials, use...), append(c.history, gaps...)
		}
	}
	if len(p.above()) > 0 {
		c.slices, c.raw, err = q.server.slices.choose(ctx, p, v)
	}
	return c, err
}

// coverRange chooses among partials those that tile a range, and says what is left of it. One that is not as it was written is as
// good as missing, and the others are chosen anew.
func (q *question) coverRange(ctx context.Context, p *pinned, r schemas.Range, have []manifest.Partial) (use []manifest.Partial, gaps []schemas.Range, err error) {
	chosen, gaps := frontier.Cover(r, rangesOf(have, manifest.Partial.Range))
	for _, i := range chosen {
		part := have[i]
		if part.Rows > 0 {
			there, err := q.find(ctx, p, part.Path, part.Bytes, part.CRC32C)
			if err != nil {
				return nil, nil, err
			}
			if there.wrong != nil {
				return q.coverRange(ctx, p, r, slices.Delete(slices.Clone(have), i, i+1))
			}
		}
		use = append(use, part)
	}
	return use, gaps, nil
}

// partials lists a view's partials that may be of use below p.below: those that the manifest names, and in the place of a
// folded one that reaches beyond it the parts that are still there.
func (q *question) partials(ctx context.Context, p *pinned, v *views.View) ([]manifest.Partial, error) {
	var have []manifest.Partial
	for look := p.manifest.Partials; len(look) > 0; {
		var parts []manifest.Partial
		for _, part := range look {
			below := p.below[part.Partition]
			switch {
			case part.Definition != v.Definition || part.Failed != "" || part.From >= below:
			case part.To <= below:
				have = append(have, part)
			case part.Tier > 0 && part.Path != "":
				more, err := q.partsOf(ctx, p, part)
				if err != nil {
					return nil, err
				}
				parts = append(parts, more...)
			}
		}
		look = parts
	}
	return have, nil
}

// partsOf reads from a folded partial's file what it was folded of, and leaves out what is not there any more.
func (q *question) partsOf(ctx context.Context, p *pinned, folded manifest.Partial) (parts []manifest.Partial, err error) {
	there, err := q.find(ctx, p, folded.Path, folded.Bytes, folded.CRC32C)
	if err != nil || there.wrong != nil { // the records stand in
		return nil, err
	}
	text := ""
	if err := q.scan(ctx, fmt.Sprintf("SELECT decode(value) FROM parquet_kv_metadata(%s) WHERE decode(key) = %s", schemas.QuoteText(there.path), schemas.QuoteText(manifest.PartsKey)),
		func(r *sql.Rows) error { return r.Scan(&text) }); err != nil {
		return nil, q.damaged(err)
	}
	all, err := manifest.DecodeParts(text, folded)
	if err != nil {
		return nil, &schemas.Problem{Message: "read " + p.root + folded.Path, Err: err, Hint: "run `millrace fsck` to see what is damaged"}
	}
	for _, part := range all {
		if part.Path != "" {
			if _, err := q.server.store.Stat(ctx, p.root+part.Path); errors.Is(err, store.ErrNotExist) {
				continue
			} else if err != nil {
				return nil, err
			}
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// coverRows chooses Parquet files and raw ranges for the rows themselves.
func (p *pinned) coverRows() *cover {
	return &cover{history: p.from.Ranges(p.below), raw: p.above()}
}

// frontier is where the batch layer ends, for each partition; the log's start where it has nothing.
func (p *pinned) frontier() schemas.Frontier {
	at := p.from.Clone()
	for part, offset := range p.below {
		at[part] = max(at[part], offset)
	}
	return at
}

// above is what lies over the frontier and below the end.
func (p *pinned) above() []schemas.Range { return p.frontier().Ranges(p.to) }

func rangesOf[T any](items []T, of func(T) schemas.Range) []schemas.Range {
	out := make([]schemas.Range, len(items))
	for i, it := range items {
		out[i] = of(it)
	}
	return out
}
