package serving

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

const (
	// sampleOffsets is what a sample costs at most on average: a range that is so many times longer is picked as many times
	// more rarely.
	sampleOffsets = 8 << 20
	// sampleTries is how many pieces are looked at for one that is not too long this time.
	sampleTries = 32
)

// Origin is where a recompute reads records.
type Origin string

// The origins.
const (
	FromLog   Origin = "log"
	FromFiles Origin = "data files"
)

// What a sample finds stored.
const (
	ofPartial = "a partial"
	ofFold    = "a folded partial"
	ofSlice   = "a slice"
)

// Sample is a comparison of what is stored of a view over one range with what the range's records come to.
type Sample struct {
	Topic, View string
	schemas.Range
	Root    string // of the topic's dataset in the store
	Stored  string // a partial, a folded partial or a slice
	Against Origin
	Rows    int64
	Why     string // it could not be made; empty: it was
	Drift   *Drift // nil: both agree

	differing int64
}

// probe is one comparison of a view's.
type probe struct {
	*question
	view   *views.View
	pinned *pinned
	eras   []versions.Era

	era   *versions.Era // that the range lies in
	cover *cover        // what is stored over it
	read  *cover        // what is read again
}

// probe begins a comparison, which the caller closes.
func (s *Server) probe(ctx context.Context, defs *Definitions, v *views.View) (p *probe, err error) {
	p = &probe{view: v}
	if p.question, err = s.begin(ctx, defs); err != nil {
		return nil, err
	}
	if p.pinned, err = p.pin(ctx, defs.Catalog.Topics[v.Topic], nil); err == nil {
		p.eras, err = p.question.eras(ctx, p.pinned, v)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// Sample picks something that is stored of a merged view and that an answer of now would be made of, or one of the parts
// that a fold was made of, and compares it with what its records come to, read from the log or from data files. pick gives a
// number from 0 on below its argument. Nil: nothing is stored, or all that was looked at is too long for now.
//
// Compared are state rows, floating ones to verify's tolerance of what they are rounded by. Memory is bounded by the server's
// limits. Errors: a Problem where broker, store or definitions are at fault; the context's. A range that cannot be read any more,
// and a view whose SQL fails on its records, are none: Why says it.
func (s *Server) Sample(ctx context.Context, defs *Definitions, v *views.View, pick func(n int) int) (*Sample, error) {
	p, err := s.probe(ctx, defs, v)
	if err != nil {
		return nil, err
	}
	defer p.close()
	r, err := p.pick(ctx, pick)
	if r == nil || err != nil {
		return nil, err
	}
	return p.compare(ctx, *r, pick)
}

// Again compares a drift's range as it is stored now, and what larger piece answers for it now. Nil: they agree, or nothing is
// stored there any more. A sample with Why: it could not be made.
func (s *Server) Again(ctx context.Context, defs *Definitions, v *views.View, d *Drift, pick func(n int) int) (*Sample, error) {
	ranges := []schemas.Range{d.Range}
	for i := 0; i < len(ranges); i++ {
		p, err := s.probe(ctx, defs, v)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			if ranges, err = p.holding(ctx, d.Range); err != nil {
				p.close()
				return nil, err
			}
		}
		found, err := p.compare(ctx, ranges[i], pick)
		p.close()
		if err != nil || found != nil && (found.Why != "" || found.Drift != nil) {
			return found, err
		}
	}
	return nil, nil
}

// holding is a range and those of the pieces that answer for a part of it.
func (p *probe) holding(ctx context.Context, r schemas.Range) ([]schemas.Range, error) {
	out := []schemas.Range{r}
	partials, slices, err := p.pieces(ctx)
	for _, part := range partials {
		slices = append(slices, part.Range())
	}
	for _, of := range slices {
		if of != r && of.Partition == r.Partition && of.From < r.To && of.To > r.From {
			out = append(out, of)
		}
	}
	return out, err
}

// pieces are the partials that an answer of now is made of, and the ranges of the slices.
func (p *probe) pieces(ctx context.Context) (partials []manifest.Partial, slices []schemas.Range, err error) {
	for i := range p.eras {
		c, err := p.coverView(ctx, p.pinned.within(&p.eras[i]), p.eras[i].View)
		if err != nil {
			return nil, nil, err
		}
		partials = append(partials, c.partials...)
		for _, e := range c.slices {
			slices = append(slices, e.Range())
		}
		p.server.slices.unload(p.pinned, c.slices)
	}
	return partials, slices, nil
}

// pick picks a piece: below the frontier or above it, then any; of a fold, that itself or one of its parts.
func (p *probe) pick(ctx context.Context, pick func(n int) int) (*schemas.Range, error) {
	partials, slices, err := p.pieces(ctx)
	if err != nil || len(partials)+len(slices) == 0 {
		return nil, err
	}
	for range sampleTries {
		var r schemas.Range
		if len(partials) > 0 && (len(slices) == 0 || pick(2) == 0) {
			part := partials[pick(len(partials))]
			for part.Tier > 0 && part.Path != "" && pick(2) == 0 {
				parts, err := p.partsOf(ctx, p.pinned, part)
				if err != nil {
					return nil, err
				}
				if len(parts) == 0 {
					break
				}
				part = parts[pick(len(parts))]
			}
			r = part.Range()
		} else {
			r = slices[pick(len(slices))]
		}
		if pick(int(1+(r.Len()-1)/sampleOffsets)) == 0 {
			return &r, nil
		}
	}
	return nil, nil
}

// over is what is pinned, of one range.
func (p *pinned) over(r schemas.Range) *pinned {
	only := versions.Era{From: p.to.Clone(), To: p.to.Clone()}
	only.From[r.Partition], only.To[r.Partition] = r.From, r.To
	return p.within(&only)
}

// compare compares a range; nil: nothing is stored of just that. Only once with a probe.
func (p *probe) compare(ctx context.Context, r schemas.Range, pick func(n int) int) (*Sample, error) {
	at := slices.IndexFunc(p.eras, func(e versions.Era) bool { return e.Within(r) == r })
	if at < 0 || p.pinned.to[r.Partition] < r.To || p.pinned.from[r.Partition] > r.From {
		return nil, nil
	}
	p.era = &p.eras[at]
	s := &Sample{Topic: p.view.Topic, View: p.view.Name, Range: r, Root: p.pinned.root}
	over := p.pinned.over(r)
	var err error
	if p.cover, err = p.stored(ctx, over, r); err == nil && p.cover == nil {
		return nil, nil
	}
	if err == nil {
		err = p.try(ctx, s, over, pick)
	}
	var lost *kafkalog.RangeError
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case kernel.OfRecords(err), kernel.OutOfMemory(err), errors.Is(err, store.ErrNotExist), errors.Is(err, errNotWhole), errors.As(err, &lost):
		s.Why = kernel.Sentence(err)
	case err != nil:
		return nil, fmt.Errorf("sample %s over %s[%d]@[%d,%d): %w", s.View, s.Topic, r.Partition, r.From, r.To, p.damaged(err))
	}
	return s, nil
}

// stored is the partial of just that range, named by the manifest or a part of a fold, or the slices that a question over the
// range would use; nil: there is neither.
func (p *probe) stored(ctx context.Context, over *pinned, r schemas.Range) (*cover, error) {
	if over.below[r.Partition] < r.To {
		c, err := p.coverView(ctx, over, p.era.View)
		if err != nil || len(c.slices) == 0 {
			return nil, err
		}
		return c, nil
	}
	for look := over.manifest.Partials; len(look) > 0; {
		var parts []manifest.Partial
		for _, part := range look {
			if part.Definition != p.era.View.Definition || part.Failed != "" || !part.Range().Holds(r) {
				continue
			}
			if part.Range() == r {
				return &cover{partials: []manifest.Partial{part}}, nil
			}
			if part.Tier > 0 && part.Path != "" {
				more, err := p.partsOf(ctx, over, part)
				if err != nil {
					return nil, err
				}
				parts = append(parts, more...)
			}
		}
		look = parts
	}
	return nil, nil
}

// try brings both sides into the session and compares them.
func (p *probe) try(ctx context.Context, s *Sample, over *pinned, pick func(n int) int) error {
	err := p.joinNow(ctx, p.era)
	if err == nil {
		err = p.joinThen(ctx, p.era)
	}
	if err != nil {
		return err
	}
	var stored string
	switch {
	case len(p.cover.partials) == 0:
		s.Stored = ofSlice
		a := &eraState{question: p.question, p: over, era: p.era, name: "stored"}
		stored, p.cover, _, err = a.attach(ctx, wanted{})
	case p.cover.partials[0].Tier > 0:
		s.Stored = ofFold
		stored, err = p.union(ctx, over, p.era.View, "stored", "", p.cover)
	default:
		s.Stored = ofPartial
		stored, err = p.union(ctx, over, p.era.View, "stored", "", p.cover)
	}
	if err != nil {
		return err
	}
	from, err := p.origin(ctx, s, over, pick)
	if err != nil {
		return err
	}
	p.read = from.coverRows()
	p.pins[s.Topic] = from
	recomputed, _, err := p.attachRecords(ctx, from, p.era.View, "recomputed", p.read)
	if err != nil {
		return err
	}
	return p.sides(ctx, s, stored, recomputed)
}

// origin chooses where the records are read again: from the log what it still holds, from data files what they hold, one or
// the other where both do.
func (p *probe) origin(ctx context.Context, s *Sample, over *pinned, pick func(n int) int) (*pinned, error) {
	start, _, err := p.server.log.Offsets(ctx, s.Topic)
	if err != nil {
		return nil, err
	}
	s.Against = FromFiles
	if below := over.below[s.Partition]; below < s.To || start[s.Partition] <= s.From && pick(2) == 0 {
		s.Against = FromLog
		log := *over
		log.below = schemas.Frontier{}
		return &log, nil
	}
	return over, nil
}
