package frontier_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/pipelines/frontier"
	"github.com/millrace/millrace/schemas"
)

func span(from, to int64) schemas.Range { return schemas.Range{From: from, To: to} }

func TestCoverExamples(t *testing.T) {
	for _, c := range []struct {
		name string
		r    schemas.Range
		have []schemas.Range
		use  []int
		gaps []schemas.Range
	}{
		{"nothing at hand", span(5, 9), nil, nil, []schemas.Range{span(5, 9)}},
		{"a chain", span(0, 30), []schemas.Range{span(0, 10), span(10, 30)}, []int{0, 1}, nil},
		{"a slice that straddles the start costs its own range", span(5, 30), []schemas.Range{span(0, 10), span(10, 30)}, []int{1}, []schemas.Range{span(5, 10)}},
		{"a missing slice is a gap", span(0, 30), []schemas.Range{span(0, 10), span(20, 30)}, []int{0, 1}, []schemas.Range{span(10, 20)}},
		{"published twice, used once", span(0, 10), []schemas.Range{span(0, 10), span(0, 10)}, []int{0}, nil},
		{"the longer of two that overlap", span(0, 20), []schemas.Range{span(0, 5), span(2, 20)}, []int{1}, []schemas.Range{span(0, 2)}},
		{"one wide rather than many narrow", span(0, 9), []schemas.Range{span(0, 3), span(3, 6), span(6, 9), span(0, 9)}, []int{3}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			use, gaps := frontier.Cover(c.r, c.have)
			if !slices.Equal(use, c.use) || !slices.Equal(gaps, c.gaps) {
				t.Errorf("Cover(%v, %v) = %v, %v; want %v, %v", c.r, c.have, use, gaps, c.use, c.gaps)
			}
		})
	}
}

// Whatever is at hand, what is used and the gaps tile the range, and no other choice covers more.
func TestCoverTiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := schemas.Range{Partition: 1, From: rapid.Int64Range(0, 10).Draw(t, "from"), To: rapid.Int64Range(0, 30).Draw(t, "to")}
		have := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) schemas.Range {
			from := rapid.Int64Range(0, 30).Draw(t, "from")
			return schemas.Range{Partition: rapid.Int32Range(0, 1).Draw(t, "partition"), From: from, To: from + rapid.Int64Range(0, 9).Draw(t, "len")}
		}), 0, 9).Draw(t, "have")
		use, gaps := frontier.Cover(r, have)
		tiles := slices.Clone(gaps)
		var covered int64
		for _, i := range use {
			tiles = append(tiles, have[i])
			covered += have[i].Len()
		}
		slices.SortFunc(tiles, func(a, b schemas.Range) int { return int(a.From - b.From) })
		at := r.From
		for _, tile := range tiles {
			if tile.Partition != r.Partition || tile.From != at || tile.Len() == 0 {
				t.Fatalf("tiles %v of %v break at %d", tiles, r, at)
			}
			at = tile.To
		}
		if r.Len() > 0 && at != r.To {
			t.Fatalf("tiles %v of %v end at %d", tiles, r, at)
		}
		for set := range 1 << len(have) {
			if n := coveredBy(r, have, set); n > covered {
				t.Fatalf("%b of %v covers %d of %v, Cover found %d", set, have, n, r, covered)
			}
		}
	})
}

// coveredBy is how much a choice of ranges covers, 0 if it is not allowed.
func coveredBy(r schemas.Range, have []schemas.Range, set int) (n int64) {
	for i, a := range have {
		if set>>i&1 == 0 {
			continue
		}
		if a.Partition != r.Partition || a.From < r.From || a.To > r.To {
			return 0
		}
		for j, b := range have[:i] {
			if set>>j&1 == 1 && a.From < b.To && b.From < a.To {
				return 0
			}
		}
		n += a.Len()
	}
	return n
}
