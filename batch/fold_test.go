package batch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// cycles runs n cycles over so many records each.
func (b *bed) cycles(t testing.TB, n, records int) (folded int) {
	t.Helper()
	for range n {
		b.send(t, mixed(records))
		r, err := b.Cycle(t.Context())
		must(t, err)
		folded += r.Folded
	}
	return folded
}

// of lists a view's partials that a manifest names, as "TIER@[FROM,TO)".
func of(m *manifest.Manifest, view string) (out []string) {
	for _, p := range m.Partials {
		if p.View == view {
			out = append(out, fmt.Sprintf("%d@[%d,%d)", p.Tier, p.From, p.To))
		}
	}
	slices.Sort(out)
	return out
}

// What cycles commit is folded in tiers by the cycles after them; every file that ever was named is whole, and an idle
// cycle folds what is left.
func TestCyclesFoldPartialsInTiers(t *testing.T) {
	b := newBed(t, mixedTopic, mixedViews)
	b.FoldAt = 2
	if folded := b.cycles(t, 5, 100); folded != 2*len(mixedViews) { // [0,200) by the third, [200,400) by the fifth
		t.Errorf("%d folds", folded)
	}
	if got := fmt.Sprint(of(b.newest(t), "sums")); got != "[0@[400,500) 1@[0,200) 1@[200,400)]" {
		t.Errorf("after five cycles: %s", got)
	}
	if r, err := b.Cycle(t.Context()); err != nil || r.Folded != len(mixedViews) || r.Records != 0 {
		t.Errorf("an idle cycle: %+v, %v", r, err)
	}
	if got := fmt.Sprint(of(b.newest(t), "sums")); got != "[0@[400,500) 2@[0,400)]" {
		t.Errorf("after an idle cycle: %s", got)
	}
	b.clean(t)
	if r, err := b.Cycle(t.Context()); err != nil || r.Folded != 0 || r.Manifest != 6 {
		t.Errorf("nothing to do: %+v, %v", r, err)
	}
}

// The rows of a folded partial are sorted by its key, in row groups that hold few.
func TestFoldedRowsAreSorted(t *testing.T) {
	b := newBed(t, mixedTopic, map[string]string{"each": "SELECT n, count(*) AS c FROM events WHERE n >= 0 GROUP BY n"})
	b.FoldAt = 2
	b.cycles(t, 3, 30_000)
	m := b.newest(t)
	i := slices.IndexFunc(m.Partials, func(p manifest.Partial) bool { return p.Tier == 1 })
	f, err := os.Open(filepath.Join(b.dir, b.root(t), m.Partials[i].Path))
	must(t, err)
	defer f.Close()
	p, err := parquet.OpenFile(f, m.Partials[i].Bytes)
	must(t, err)
	if len(p.RowGroups()) < 2 {
		t.Errorf("%d rows in one row group", p.NumRows())
	}
	last := int64(-1)
	must(t, eachInteger(p, "k0", func(v int64) error {
		if v <= last {
			return fmt.Errorf("%d follows %d", v, last)
		}
		last = v
		return nil
	}))
}

// A fold that was cut short leaves a file that nobody names, and the next cycle writes it again with the same bytes; so does
// one that had another limit of memory.
func TestAFoldThatWasCutShort(t *testing.T) {
	b := newBed(t, mixedTopic, mixedViews)
	b.FoldAt = 2
	b.cycles(t, 2, 20_000)
	p, err := b.Plan(t.Context())
	must(t, err)
	for i, f := range p.Folds {
		b.Memory = []string{"80MiB", "256MiB", "1GiB"}[i%3]
		folded, err := b.Fold(t.Context(), p.Root, f)
		if err != nil || folded.Rows == 0 {
			t.Fatalf("%+v, %v", folded, err)
		}
	}
	cut := b.files(t)
	if f, err := b.Fsck(t.Context()); err != nil || len(f.Damage) > 0 || len(f.Orphans) != len(mixedViews) {
		t.Errorf("fsck: %+v, %v", f, err)
	}
	if f, err := b.Repair(t.Context(), time.Now().Add(2*orphanAge)); err != nil || len(f.Removed) > 0 {
		t.Errorf("repair removes what a cycle may be about to name: %+v, %v", f, err)
	}
	if r, err := b.Cycle(t.Context()); err != nil || r.Folded != len(mixedViews) {
		t.Errorf("%+v, %v", r, err)
	}
	for name, data := range b.files(t) {
		if before, there := cut[name]; there && !bytes.Equal(before, data) {
			t.Errorf("%s has other bytes", name)
		}
	}
	b.clean(t)
}

// Of two that fold the same partials one commits. The other's commit, also of a worker that was believed dead, finds the
// manifest taken; what it wrote is what the winner named.
func TestOfTwoFoldsOneIsCommitted(t *testing.T) {
	b := newBed(t, mixedTopic, mixedViews)
	b.FoldAt = 2
	b.cycles(t, 2, 500)
	zombie, err := b.Plan(t.Context())
	must(t, err)
	errs := make(chan error, 2)
	for range cap(errs) {
		go func() {
			_, err := b.Cycle(t.Context())
			errs <- err
		}()
	}
	won := 0
	for range cap(errs) {
		if err := <-errs; err == nil {
			won++
		} else if !errors.Is(err, store.ErrExist) {
			t.Error(err)
		}
	}
	if won == 0 {
		t.Error("neither of two cycles won")
	}
	b.clean(t)
	var late []result
	for _, f := range zombie.Folds {
		p, err := b.Fold(t.Context(), zombie.Root, f)
		must(t, err)
		late = append(late, result{Partials: []manifest.Partial{p}})
	}
	if err := b.Commit(t.Context(), zombie, late); !errors.Is(err, store.ErrExist) {
		t.Errorf("the late commit: %v", err)
	}
	b.clean(t)
	if got := fmt.Sprint(of(b.newest(t), "whole")); got != "[1@[0,1000)]" {
		t.Errorf("named are %s", got)
	}
}

// A damaged folded partial is dropped and made of the data files. A damaged part is made again from its
// data file, or, if it was folded itself, removed: it is only a cache for questions as of offsets within the fold.
func TestRepairOfFolds(t *testing.T) {
	b := newBed(t, mixedTopic, mixedViews)
	b.FoldAt = 2
	b.cycles(t, 4, 200)
	for range 2 {
		_, err := b.Cycle(t.Context())
		must(t, err)
	}
	root := filepath.Join(b.dir, b.root(t))
	if got := fmt.Sprint(of(b.newest(t), "last")); got != "[2@[0,800)]" {
		t.Fatalf("named are %s", got)
	}
	path := func(from, to int64) string {
		for _, p := range b.newest(t).Partials {
			if p.View == "last" {
				return filepath.Join(root, filepath.Dir(p.Path), filepath.Base(rangeName(schemas.Range{From: from, To: to})))
			}
		}
		return ""
	}
	want := b.files(t)
	for _, c := range []struct {
		from, to int64
		repaired string
		orphans  int // that are there then: parts of what is not there any more, or was not folded
	}{
		{200, 400, "made again from its data file", 0},
		{400, 800, "removed, a question", 2},
		{0, 800, "dropped, the next cycle makes it anew", 5},
	} {
		must(t, os.Truncate(path(c.from, c.to), 50))
		if f, err := b.Fsck(t.Context()); err != nil || len(f.Damage) != 1 {
			t.Errorf("[%d,%d): fsck %+v, %v", c.from, c.to, f, err)
		}
		if f, err := b.Repair(t.Context(), time.Now()); err != nil || len(f.Repaired) != 1 || !strings.Contains(f.Repaired[0], c.repaired) || len(f.Lost) > 0 {
			t.Errorf("[%d,%d): repair %+v, %v", c.from, c.to, f, err)
		}
		for name, data := range b.files(t) {
			if before, there := want[name]; there && c.orphans == 0 && !bytes.Equal(before, data) {
				t.Errorf("[%d,%d): %s has other bytes", c.from, c.to, name)
			}
		}
		_, err := b.CatchUp(t.Context(), Pace{})
		must(t, err)
		if f, err := b.Fsck(t.Context()); err != nil || len(f.Damage) > 0 || len(f.Orphans) != c.orphans {
			t.Errorf("[%d,%d): fsck %+v, %v", c.from, c.to, f, err)
		}
	}
	if got := fmt.Sprint(of(b.newest(t), "last")); got != "[0@[0,800)]" {
		t.Errorf("named are %s", got)
	}
}

// Parts whose merge fails stay named, and the fold is not tried again; every other view is folded.
func TestAFoldThatFails(t *testing.T) {
	b := newBed(t, "fields: {h: HUGEINT}", map[string]string{"high": "SELECT sum(h) AS s FROM events", "n": "SELECT count(*) AS n FROM events"})
	b.FoldAt = 2
	for range 2 {
		b.send(t, [][]byte{[]byte(`{"h":170141183460469231731687303715884105727}`)})
		_, err := b.Cycle(t.Context())
		must(t, err)
	}
	if r, err := b.Cycle(t.Context()); err != nil || r.Folded != 1 || len(r.Failed) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
	m := b.newest(t)
	if got := fmt.Sprint(of(m, "high"), of(m, "n")); got != "[0@[0,1) 0@[1,2) 1@[0,2)] [1@[0,2)]" {
		t.Errorf("named are %s", got)
	}
	if r, err := b.Cycle(t.Context()); err != nil || r.Manifest != m.Sequence {
		t.Errorf("it is tried again: %+v, %v", r, err)
	}
	b.clean(t)
}

// Parts of folds that are not clearly smaller than their data files go when the fold is older than Keep, those of a view
// with few rows stay; a fold is looked at once. What is left is whole, and folds go on.
func TestLargePartsAreSpent(t *testing.T) {
	b := newBed(t, mixedTopic, map[string]string{"each": "SELECT n, k, x, h, count(*) AS c FROM events GROUP BY ALL", "whole": "SELECT count(*) AS c FROM events"})
	b.FoldAt, b.Keep = 2, time.Hour
	b.cycles(t, 4, 3000)
	for range 2 {
		_, err := b.Cycle(t.Context())
		must(t, err)
	}
	files := func(view string) (n int) {
		for name := range b.files(t) {
			if strings.Contains(name, "partials/"+view+"-") {
				n++
			}
		}
		return n
	}
	if files("each") != 7 || files("whole") != 7 {
		t.Fatalf("%d and %d files", files("each"), files("whole"))
	}
	now := time.Now()
	if c := b.collect(t, now.Add(59*time.Minute)); c.Parts != 0 {
		t.Errorf("within the hour: %+v", c)
	}
	if c := b.collect(t, now.Add(61*time.Minute)); c.Parts != 6 || files("each") != 1 || files("whole") != 7 {
		t.Errorf("after an hour: %+v; %d and %d files", c, files("each"), files("whole"))
	}
	before := b.newest(t).Sequence
	if c := b.collect(t, now.Add(100*time.Hour)); c.Parts != 0 || c.Manifest != before {
		t.Errorf("later: %+v", c)
	}
	b.cycles(t, 4, 3000)
	for range 3 {
		_, err := b.Cycle(t.Context())
		must(t, err)
	}
	if got := fmt.Sprint(of(b.newest(t), "each")); got != "[3@[0,24000)]" {
		t.Errorf("named are %s", got)
	}
	// The cycles' records are the same, so that of four of them a quarter is left: those two partials are small enough.
	if c := b.collect(t, now.Add(101*time.Hour)); c.Parts != 6 || files("each") != 3 || files("whole") != 15 {
		t.Errorf("after more folds: %+v; %d and %d files", c, files("each"), files("whole"))
	}
}

// That parts of a fold were removed meanwhile makes no other partial of it, another content does.
func TestASpentPartialIsTheSame(t *testing.T) {
	fold := manifest.Partial{View: "v", Path: "p", To: 9, Tier: 1, CRC32C: "1"}
	spent, other := fold, fold
	spent.Spent, other.CRC32C = true, "2"
	if m := (&manifest.Manifest{Partials: []manifest.Partial{spent}}); !names(m, fold) || !names(m, spent) || names(m, other) {
		t.Errorf("%+v names the fold: %t, the other: %t", m.Partials, names(m, fold), names(m, other))
	}
}
