package schemas

import (
	"fmt"
	"maps"
	"slices"
)

// Range is the half-open offsets [From, To) of one partition.
type Range struct {
	Partition int32 `json:"partition"`
	From      int64 `json:"from"`
	To        int64 `json:"to"`
}

// Len is the number of offsets in the range; the number of records may be smaller, for a log can have holes.
func (r Range) Len() int64 { return max(0, r.To-r.From) }

// Holds says whether all of o lies in the range.
func (r Range) Holds(o Range) bool {
	return r.Partition == o.Partition && r.From <= o.From && o.To <= r.To
}

func (r Range) String() string { return fmt.Sprintf("%d@[%d,%d)", r.Partition, r.From, r.To) }

// Frontier is an exclusive offset bound for each partition: a record is covered iff its offset is below the bound of
// its partition. A partition that is absent has the bound 0. Its JSON is an object: {"0":1200,"1":1180}.
type Frontier map[int32]int64

// Covers says whether the record at the offset lies below the frontier.
func (f Frontier) Covers(partition int32, offset int64) bool { return offset < f[partition] }

// Partitions lists the partitions in ascending order.
func (f Frontier) Partitions() []int32 { return slices.Sorted(maps.Keys(f)) }

// Clone returns a copy that shares nothing.
func (f Frontier) Clone() Frontier { return maps.Clone(f) }

// Min is the pointwise minimum over the partitions of both.
func (f Frontier) Min(g Frontier) Frontier {
	out := Frontier{}
	for p := range f {
		out[p] = min(f[p], g[p])
	}
	for p := range g {
		out[p] = min(f[p], g[p])
	}
	return out
}

// AtMost says whether f lies nowhere above g.
func (f Frontier) AtMost(g Frontier) bool {
	for p, o := range f {
		if o > g[p] {
			return false
		}
	}
	return true
}

// Ranges is what lies in [f, to), one range a partition that has any, in order of partitions.
func (f Frontier) Ranges(to Frontier) []Range {
	var out []Range
	for _, p := range to.Partitions() {
		if f[p] < to[p] {
			out = append(out, Range{Partition: p, From: f[p], To: to[p]})
		}
	}
	return out
}
