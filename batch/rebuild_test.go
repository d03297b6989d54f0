package batch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// history is a bed with some cycles of records behind it, whose views came later.
func history(t *testing.T, cycles, records int) *bed {
	t.Helper()
	b := newBed(t, mixedTopic, mixedViews)
	late := b.Views
	b.Views = nil
	for range cycles {
		b.send(t, mixed(records))
		if _, err := b.Cycle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.Views = late
	return b
}

func (b *bed) cover(t *testing.T) []Coverage {
	t.Helper()
	c, err := b.Cover(t.Context(), b.newest(t))
	must(t, err)
	return c
}

// covered wants every view to have exactly one partial over each offset that is committed.
func (b *bed) covered(t *testing.T) {
	t.Helper()
	m := b.newest(t)
	for _, v := range b.Views {
		at := m.Start[0]
		for _, p := range m.Partials {
			if p.Definition == v.Definition {
				if p.From != at {
					t.Fatalf("%s: a partial of [%d,%d) follows on %d", v.Name, p.From, p.To, at)
				}
				at = p.To
			}
		}
		if at != m.Frontier[0] {
			t.Errorf("%s: partials end at %d, the frontier is %d", v.Name, at, m.Frontier[0])
		}
	}
	b.clean(t)
}

// What new views lack over history is made beside the files that are there, small ones together, and no cycle does it.
func TestCatchUp(t *testing.T) {
	b := history(t, 3, 400)
	b.send(t, mixed(100))
	if r, err := b.Cycle(t.Context()); err != nil || r.Rebuilt != 0 || r.Records == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if c := b.cover(t); c[0].Ranges != 4 || c[0].Covered != 1 || c[0].Ready >= c[0].Records || c[0].Partials != 1 {
		t.Errorf("%+v", c[0])
	}
	var last Progress
	made, err := b.CatchUp(t.Context(), Pace{Watch: func(p Progress) { last = p }})
	if err != nil || len(made) != len(b.Views) {
		t.Fatalf("%s, %v", mustJSON(t, made), err)
	}
	for _, r := range made {
		if r.Partials != 1 || r.New != 1 || r.Records < 1100 || r.Manifest != 5 {
			t.Errorf("%s", mustJSON(t, r))
		}
	}
	if last.Partials != 1 || last.Of != 1 || last.Records != last.OfRecords || last.Rows != made[len(made)-1].Rows {
		t.Errorf("%+v", last)
	}
	b.covered(t)
	if c := b.cover(t); c[0].Covered != 4 || c[0].Ready != c[0].Records || c[0].Partials != 2 {
		t.Errorf("%+v", c[0])
	}
	if made, err := b.CatchUp(t.Context(), Pace{}); err != nil || len(made) != 0 || b.newest(t).Sequence != 5 {
		t.Errorf("a second time: %s, %v", mustJSON(t, made), err)
	}
}

// What was made before it was stopped is committed and not made again.
func TestCatchUpIsStopped(t *testing.T) {
	b := history(t, 4, 60)
	b.fillFiles, b.stepPartials = 1, 3
	total := 4 * len(b.Views)
	for left := total; left > 0; left -= 4 {
		ctx, stop := context.WithCancel(t.Context())
		n := 0
		made, err := b.CatchUp(ctx, Pace{Gentle: true, Watch: func(p Progress) {
			if p.Partials == 0 {
				return
			}
			if n++; n == 4 && left > 4 {
				stop()
			}
		}})
		stop()
		if want := left > 4; want != errors.Is(err, context.Canceled) || !want && err != nil {
			t.Fatalf("%d left: %v", left, err)
		}
		fresh := 0
		for _, r := range made {
			fresh += r.New
		}
		if got := len(b.newest(t).Partials); fresh != 4 || got != total-left+4 {
			t.Fatalf("%d left: %d made, %d committed", left, fresh, got)
		}
	}
	b.covered(t)
}

// Several at once and cycles beside them: each cycle commits, and over each offset there is one partial.
func TestCatchUpBesideCycles(t *testing.T) {
	b := history(t, 4, 60)
	b.fillFiles, b.stepPartials = 1, 1
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			if _, err := b.CatchUp(t.Context(), Pace{Gentle: true}); err != nil {
				t.Error(err)
			}
		})
	}
	for range 3 {
		b.send(t, mixed(50))
		if _, err := b.Cycle(t.Context()); err != nil {
			t.Error(err)
		}
	}
	group.Wait()
	b.covered(t)
}

// A cycle goes by its plan whatever partials were committed since, and gives way to another cycle.
func TestACommitAfterOthers(t *testing.T) {
	b := history(t, 2, 50)
	b.send(t, mixed(50))
	plan, err := b.Plan(t.Context())
	must(t, err)
	late := *plan
	if _, err := b.CatchUp(t.Context(), Pace{}); err != nil {
		t.Fatal(err)
	}
	m, err := b.run(t.Context(), plan, "batch-")
	if err != nil || m.Sequence != 4 || m.Frontier[0] != plan.To[0] {
		t.Fatalf("%+v, %v", m, err)
	}
	if err := b.Commit(t.Context(), plan, nil); err != nil || b.newest(t).Sequence != 4 {
		t.Errorf("the same commit again: %v", err)
	}
	b.covered(t)
	if _, err := b.run(t.Context(), &late, "batch-"); !errors.Is(err, store.ErrExist) {
		t.Errorf("a plan of before: %v", err)
	}
}

// Partials that are made anew come out as they are stored, and nothing is committed; one that was wrong is replaced.
func TestRebuild(t *testing.T) {
	b, root := committed(t, 3000)
	b.send(t, mixed(200))
	if _, err := b.Cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
	rebuild := func(name, want string) *Rebuilt {
		t.Helper()
		made, err := b.Rebuild(t.Context(), b.named(t, name), Pace{})
		if err != nil || len(made) != 1 {
			t.Fatalf("%s, %v", mustJSON(t, made), err)
		}
		r := made[0]
		if got := fmt.Sprintf("%d made, %d new, %d same, %d differed, manifest %d", r.Partials, r.New, r.Same, len(r.Differed), r.Manifest); got != want {
			t.Errorf("%s: %s, want %s: %+v", name, got, want, r.Differed)
		}
		return r
	}
	for name := range mixedViews {
		rebuild(name, "2 made, 0 new, 2 same, 0 differed, manifest 2")
	}
	path := func(name string, from int64) string {
		m := b.newest(t)
		i := slices.IndexFunc(m.Partials, func(p manifest.Partial) bool { return p.View == name && p.From == from })
		return filepath.Join(b.dir, root, m.Partials[i].Path)
	}

	must(t, os.Remove(path("sums", 0)))
	if r := rebuild("sums", "2 made, 0 new, 1 same, 1 differed, manifest 2"); r.Differed[0].What != "its file was gone" || r.Differed[0].From != 0 {
		t.Errorf("%+v", r.Differed)
	}
	must(t, os.Truncate(path("last", 3000), 10))
	if r := rebuild("last", "2 made, 0 new, 1 same, 1 differed, manifest 2"); r.Differed[0].What != "its file was damaged" || r.Differed[0].From != 3000 {
		t.Errorf("%+v", r.Differed)
	}
	b.clean(t)

	// A partial that is whole and wrong: it holds another range's rows.
	wrong, err := os.ReadFile(path("whole", 0))
	must(t, err)
	must(t, os.WriteFile(path("whole", 3000), wrong, 0o600))
	m := b.newest(t)
	for i := range m.Partials {
		if p := &m.Partials[i]; p.View == "whole" && p.From == 3000 {
			p.Bytes, p.CRC32C = int64(len(wrong)), manifest.Checksum(wrong)
		}
	}
	m.Sequence++
	must(t, dataset.Commit(t.Context(), b.Store, root, m))
	b.clean(t)
	if r := rebuild("whole", "2 made, 0 new, 1 same, 1 differed, manifest 4"); r.Differed[0].What != "1 of 1 rows" {
		t.Errorf("%+v", r.Differed)
	}
	rebuild("whole", "2 made, 0 new, 2 same, 0 differed, manifest 4")
	b.covered(t)

	// Nothing is made from a data file that is damaged.
	data := filepath.Join(b.dir, root, b.newest(t).Files[0].Path)
	text, err := os.ReadFile(data)
	must(t, err)
	text[len(text)/2] ^= 1
	must(t, os.WriteFile(data, text, 0o600))
	var p *schemas.Problem
	if _, err := b.Rebuild(t.Context(), b.Views, Pace{}); !errors.As(err, &p) || !strings.Contains(p.Message, b.newest(t).Files[0].Path) || !strings.Contains(p.Hint, "fsck") {
		t.Errorf("over a damaged file: %v", err)
	}
}

// named is the view of that name.
func (b *bed) named(t *testing.T, name string) []*views.View {
	t.Helper()
	i := slices.IndexFunc(b.Views, func(v *views.View) bool { return v.Name == name })
	return b.Views[i : i+1]
}

// Before a cycle has run there is nothing to make.
func TestRebuildOfNothing(t *testing.T) {
	b := newBed(t, mixedTopic, mixedViews)
	made, err := b.Rebuild(t.Context(), b.Views, Pace{})
	if err != nil || len(made) != len(b.Views) || made[0].Partials != 0 || made[0].Manifest != 0 {
		t.Errorf("%s, %v", mustJSON(t, made), err)
	}
	if made, err := b.CatchUp(t.Context(), Pace{}); err != nil || made != nil {
		t.Errorf("%s, %v", mustJSON(t, made), err)
	}
}

// A build of new records interrupts one of old ones and gets the turn; the other waits until nobody wants it.
func TestNewRecordsComeFirst(t *testing.T) {
	q := &turns{free: make(chan struct{}, 1)}
	lent, back, err := q.lend(t.Context())
	must(t, err)
	taken := make(chan func())
	go func() {
		done, err := q.take(t.Context())
		if err != nil {
			t.Error(err)
		}
		taken <- done
	}()
	<-lent.Done()
	if !errors.Is(context.Cause(lent), errYield) {
		t.Errorf("it was interrupted by %v", context.Cause(lent))
	}
	back()
	done := <-taken
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := q.lend(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("lent beside a build: %v", err)
	}
	if _, err := q.take(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("taken beside a build: %v", err)
	}
	done()
	lent, back, err = q.lend(t.Context())
	if must(t, err); lent.Err() != nil {
		t.Errorf("nobody waits, and it is interrupted: %v", context.Cause(lent))
	}
	back()
}

// One that is interrupted again and again is done at last.
func TestPatienceEnds(t *testing.T) {
	b := history(t, 1, 50)
	w, err := b.walk(t.Context(), Pace{Gentle: true})
	must(t, err)
	work, err := w.again(t.Context(), b.Views[0])
	must(t, err)
	u := &work.units[0]
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			done, err := turn.take(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			done()
		}
	})
	made, changed, err := w.build(t.Context(), u, &Rebuilt{})
	close(stop)
	group.Wait()
	if err != nil || !changed || made.Rows == 0 {
		t.Errorf("%+v, %v", made, err)
	}
}
