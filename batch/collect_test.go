package batch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas/manifest"
)

// partialsOf counts the manifest's partials and the store's files of a view.
func (b *bed) partialsOf(t *testing.T, v *views.View) (named, files int) {
	t.Helper()
	for _, p := range b.newest(t).Partials {
		if p.Definition == v.Definition {
			named++
		}
	}
	for name := range b.files(t) {
		if strings.Contains(name, manifest.Folder(v.Name, v.Definition)) {
			files++
		}
	}
	return named, files
}

// age makes all of the store's files older.
func (b *bed) age(t *testing.T, by time.Duration) {
	t.Helper()
	for name := range b.files(t) {
		at := time.Now().Add(-by)
		must(t, os.Chtimes(filepath.Join(b.dir, name), at, at))
	}
}

func (b *bed) collect(t *testing.T, now time.Time) Collected {
	t.Helper()
	c, err := b.Collect(t.Context(), now)
	must(t, err)
	b.clean(t)
	return c
}

// What no view has any more leaves the manifest after Keep and the store after Keep again, parts of folds with it; the
// others stay.
func TestCollect(t *testing.T) {
	b := newBed(t, mixedTopic, mixedViews)
	b.FoldAt, b.Keep = 2, time.Hour
	b.cycles(t, 4, 50)
	b.age(t, 3*time.Hour)
	b.collect(t, time.Now()) // parts that need much room
	gone, all := b.named(t, "sums")[0], b.Views
	_, had := b.partialsOf(t, gone)
	now := time.Now()
	if c := b.collect(t, now); c != (Collected{Manifest: 5}) {
		t.Errorf("nothing is gone: %+v", c)
	}
	b.Views = slices.DeleteFunc(slices.Clone(all), func(v *views.View) bool { return v == gone })
	if c := b.collect(t, now); c != (Collected{Retired: 1, Manifest: 6}) {
		t.Errorf("it is gone: %+v", c)
	}
	if c := b.collect(t, now.Add(59*time.Minute)); c != (Collected{Manifest: 6}) {
		t.Errorf("within the hour: %+v", c)
	}
	if named, files := b.partialsOf(t, gone); named == 0 || files != had {
		t.Errorf("%d partials, %d files are left of %d", named, files, had)
	}
	dropped := now.Add(time.Hour)
	if c := b.collect(t, dropped); c != (Collected{Dropped: 1, Manifest: 7}) {
		t.Errorf("after an hour: %+v", c)
	}
	if named, files := b.partialsOf(t, gone); named != 0 || files != had || had < 3 {
		t.Errorf("%d partials, %d files are left of %d", named, files, had)
	}
	b.send(t, mixed(50))
	_, err := b.Cycle(t.Context()) // its manifest knows what the one before knew
	must(t, err)
	b.age(t, 3*time.Hour)
	if c := b.collect(t, dropped.Add(59*time.Minute)); c.Files != 0 {
		t.Errorf("within the second hour: %+v", c)
	}
	others := len(b.files(t)) - had
	if c := b.collect(t, dropped.Add(time.Hour)); c.Files != had || c.Bytes == 0 || c.Manifest != 10 {
		t.Errorf("after two hours: %+v", c)
	}
	if named, files := b.partialsOf(t, gone); named != 0 || files != 0 || len(b.newest(t).Retired) != 0 || len(b.files(t)) != others+1 {
		t.Errorf("%d partials, %d files are left; retired %v", named, files, b.newest(t).Retired)
	}
	if c := b.collect(t, dropped.Add(100*time.Hour)); c != (Collected{Manifest: 10}) {
		t.Errorf("later: %+v", c)
	}
}

// A view that gets its definition back keeps its partials, or has them made again, whenever that is.
func TestCollectAndAViewThatComesBack(t *testing.T) {
	for _, steps := range []int{1, 2, 3} {
		b, _ := committed(t, 500)
		b.Keep = time.Hour
		all, now := b.Views, time.Now()
		b.Views = nil
		b.age(t, 10*time.Hour)
		for i := range steps {
			b.collect(t, now.Add(time.Duration(i)*time.Hour))
		}
		b.Views = all
		made, err := b.CatchUp(t.Context(), Pace{})
		must(t, err)
		if want := steps > 1; want != (len(made) == len(all)) {
			t.Errorf("after %d steps %d views are made again", steps, len(made))
		}
		c := b.collect(t, now.Add(time.Duration(steps)*time.Hour))
		if c.Retired+c.Dropped+c.Files > 0 || len(b.newest(t).Retired) > 0 {
			t.Errorf("after %d steps: %+v, %v", steps, c, b.newest(t).Retired)
		}
		b.covered(t)
	}
}

// Files that are young stay: someone may be about to name them.
func TestCollectLeavesYoungFiles(t *testing.T) {
	b, _ := committed(t, 100)
	b.Keep = time.Hour
	b.Views = nil
	now := time.Now()
	for i := range 2 {
		b.collect(t, now.Add(time.Duration(i)*time.Hour))
	}
	before := len(b.files(t))
	due := now.Add(2 * time.Hour)
	b.age(t, -2*time.Hour+time.Minute) // a minute before it is due
	if c := b.collect(t, due); c.Files != 0 || len(b.newest(t).Retired) != len(mixedViews) || len(b.files(t)) != before {
		t.Errorf("%+v, %v", c, b.newest(t).Retired)
	}
	if c := b.collect(t, due.Add(time.Hour)); c.Files != len(mixedViews) || len(b.newest(t).Retired) != 0 {
		t.Errorf("an hour later: %+v, %v", c, b.newest(t).Retired)
	}
}
