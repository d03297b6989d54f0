package batch

import (
	"context"
	"math"
	"time"

	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas/manifest"
)

// sampleOffsets is how much of a range an estimate is made from.
const sampleOffsets = 256 << 10

// Estimate is what a view's partials over all that is committed would be, as far as a sample shows.
type Estimate struct {
	Records int64   `json:"records"` // committed
	Sample  int64   `json:"sample"`  // records that partials were made from
	Rows    int64   `json:"rows"`    // of all partials
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"` // that making them takes
}

// Estimate makes a view's partials over a sample of what is committed, keeps none of them, and reckons from how they grow
// what all of them come to. Without anything committed it says so by Records. Errors: as Build's.
func (in *Input) Estimate(ctx context.Context, v *views.View) (*Estimate, error) {
	w, err := in.walk(ctx, Pace{})
	if err != nil {
		return nil, err
	}
	e := &Estimate{}
	if w.manifest == nil {
		return e, nil
	}
	bare := *w.manifest
	bare.Partials = nil
	all := in.missing(&bare, []versions.Era{{View: v}})
	var largest *Missing
	for i := range all {
		e.Records += all[i].records()
		if largest == nil || all[i].records() > largest.records() {
			largest = &all[i]
		}
	}
	if e.Records == 0 {
		return e, nil
	}
	whole := part(largest, sampleOffsets)
	half := part(largest, whole.Range.Len()/2)
	began := time.Now()
	big, err := in.size(ctx, w.root, whole)
	took := time.Since(began).Seconds()
	if err != nil {
		return nil, err
	}
	small, err := in.size(ctx, w.root, half)
	if err != nil {
		return nil, err
	}
	var rows, bytes, offsets float64
	n, more := float64(half.Range.Len()), float64(whole.Range.Len())
	for i := range all {
		if all[i].records() == 0 { // a range that was lost may be of any length
			continue
		}
		length := float64(all[i].Range.Len())
		rows += growth(n, float64(small.Rows), more, float64(big.Rows), length)
		bytes += growth(n, float64(small.Bytes), more, float64(big.Bytes), length)
		offsets += length
	}
	e.Sample = int64(math.Round(float64(largest.records()) * more / float64(largest.Range.Len())))
	e.Rows, e.Bytes, e.Seconds = int64(math.Round(rows)), int64(math.Round(bytes)), took*offsets/more
	return e, nil
}

// growth is what something comes to at x that is a at n and b at m, as a power of the length: 0 for groups that are all
// there soon, 1 for a group a record.
func growth(n, a, m, b, x float64) float64 {
	power := 0.0
	if a > 0 && b > a && m > n {
		power = min(1, math.Log(b/a)/math.Log(m/n))
	}
	return b * math.Pow(x/m, power)
}

// part is the beginning of a range, so many offsets of it.
func part(m *Missing, offsets int64) Missing {
	r := m.Range
	r.To = min(r.To, r.From+max(1, offsets))
	return Missing{m.View, r, over(m.Files, r), m.References}
}

// size makes a partial and forgets it.
func (in *Input) size(ctx context.Context, root string, lack Missing) (p manifest.Partial, err error) {
	done, err := turn.take(ctx)
	if err != nil {
		return p, err
	}
	defer done()
	if err = in.fromFiles(ctx, root, lack, func(_ *scratch, _ *kernel.Session, m *made) error {
		p = m.Partials[0]
		return nil
	}); err != nil {
		return p, in.of(ctx, "try "+lack.View.Name+" over", lack.Range, err)
	}
	return p, nil
}
