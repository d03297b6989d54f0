package kafkaio

import (
	"fmt"
	"math"
	"slices"

	"github.com/millrace/millrace/schemas"
)

// Follow is the end of a range that is read for ever.
const Follow = math.MaxInt64

// Restriction is what one source reads: at most one range a partition. Ranges that are read are empty.
type Restriction struct {
	Ranges []schemas.Range
}

// clone shares nothing with r.
func (r Restriction) clone() Restriction { return Restriction{Ranges: slices.Clone(r.Ranges)} }

// done says that nothing is left.
func (r Restriction) done() bool {
	return !slices.ContainsFunc(r.Ranges, func(p schemas.Range) bool { return p.From < p.To })
}

// bounded says that no range is followed for ever.
func (r Restriction) bounded() bool {
	return !slices.ContainsFunc(r.Ranges, func(p schemas.Range) bool { return p.To == Follow })
}

// size is how many offsets are left; a range that is followed counts for one.
func (r Restriction) size() float64 {
	var n float64
	for _, p := range r.Ranges {
		if p.To == Follow {
			n++
		} else {
			n += float64(p.Len())
		}
	}
	return n
}

// position is claimed for each chunk: the partition is read up to an offset.
type position struct {
	partition int32
	to        int64
}

// tracker implements sdf.RTracker. Concurrency: sdf.LockRTracker guards it.
type tracker struct {
	rest    Restriction
	stopped bool // by a checkpoint
	err     error
}

func newTracker(r Restriction) *tracker { return &tracker{rest: r.clone()} }

// TryClaim moves a partition's beginning to the position.
func (t *tracker) TryClaim(claim any) bool {
	p, ok := claim.(position)
	if !ok {
		t.err = fmt.Errorf("kafkaio: claim of %T", claim)
		return false
	}
	if t.stopped {
		return false
	}
	for i := range t.rest.Ranges {
		r := &t.rest.Ranges[i]
		if r.Partition == p.partition && p.to >= r.From && p.to <= r.To {
			r.From = p.to
			return true
		}
	}
	t.err = fmt.Errorf("kafkaio: partition %d up to %d lies outside of %v", p.partition, p.to, t.rest.Ranges)
	return false
}

// TrySplit gives all that was not claimed to the residual when fraction is 0, a checkpoint, and refuses otherwise.
func (t *tracker) TrySplit(fraction float64) (primary, residual any, err error) {
	if fraction > 0 || t.stopped || t.rest.done() {
		return t.rest.clone(), nil, nil
	}
	rest := t.rest.clone()
	for i := range t.rest.Ranges {
		t.rest.Ranges[i].To = t.rest.Ranges[i].From
	}
	t.stopped = true
	return t.rest.clone(), rest, nil
}

// GetProgress is unknown for a log that grows; half is what runners take for that.
func (t *tracker) GetProgress() (done, remaining float64) { return 1, t.rest.size() }

// GetError is what broke a claim.
func (t *tracker) GetError() error { return t.err }

// IsDone says that everything was claimed or handed to a residual.
func (t *tracker) IsDone() bool { return t.stopped || t.rest.done() }

// IsBounded says that the restriction has an end.
func (t *tracker) IsBounded() bool { return t.rest.bounded() }

// GetRestriction is what is left, a copy.
func (t *tracker) GetRestriction() any { return t.rest.clone() }
