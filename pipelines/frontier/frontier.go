// Package frontier is the arithmetic of what is covered: which of the partials or slices at hand answer for a range,
// and what is left to be computed from raw.
package frontier

import (
	"cmp"
	"slices"

	"github.com/millrace/millrace/schemas"
)

// Cover chooses among the ranges at hand those that lie wholly inside r, do not overlap, and cover as many offsets as
// can be covered; use are their indexes, in order. The gaps are the rest of r: use and gaps together tile it exactly.
// Ranges of other partitions and empty ones are left out. Of equal choices the one with fewer ranges is taken.
func Cover(r schemas.Range, have []schemas.Range) (use []int, gaps []schemas.Range) {
	var fit []int
	for i, h := range have {
		if h.Partition == r.Partition && h.From < h.To && h.From >= r.From && h.To <= r.To {
			fit = append(fit, i)
		}
	}
	slices.SortStableFunc(fit, func(a, b int) int { return cmp.Compare(have[a].To, have[b].To) })
	// best[i] is the best choice among the first i of fit: weighted interval scheduling.
	type choice struct {
		covered int64
		count   int
		last    int // index into fit of the range taken last, -1: none
		before  int // the choice it stands on
	}
	best := make([]choice, len(fit)+1)
	best[0].last = -1
	for i, at := range fit {
		from := have[at].From
		before, _ := slices.BinarySearchFunc(fit[:i], from+1, func(j int, bound int64) int { return cmp.Compare(have[j].To, bound) })
		take := choice{best[before].covered + have[at].Len(), best[before].count + 1, i, before}
		best[i+1] = best[i]
		if take.covered > best[i].covered || take.covered == best[i].covered && take.count < best[i].count {
			best[i+1] = take
		}
	}
	for c := best[len(fit)]; c.last >= 0; c = best[c.before] {
		use = append(use, fit[c.last])
	}
	slices.Reverse(use)
	at := r.From
	for _, i := range use {
		if have[i].From > at {
			gaps = append(gaps, schemas.Range{Partition: r.Partition, From: at, To: have[i].From})
		}
		at = have[i].To
	}
	if at < r.To {
		gaps = append(gaps, schemas.Range{Partition: r.Partition, From: at, To: r.To})
	}
	return use, gaps
}
