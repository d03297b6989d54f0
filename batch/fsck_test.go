package batch

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas/manifest"
)

// committed is a bed with one cycle done, and the dataset's folder in the store.
func committed(t *testing.T, records int) (*bed, string) {
	t.Helper()
	b := newBed(t, mixedTopic, mixedViews)
	b.send(t, mixed(records))
	if _, err := b.Cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b, b.root(t)
}

func (b *bed) root(t testing.TB) string {
	t.Helper()
	info, err := b.Log.Topic(t.Context(), b.Topic.Name)
	if err != nil {
		t.Fatal(err)
	}
	return manifest.Root(b.Topic.Name, info.ID, b.Topic.Hash())
}

func (b *bed) newest(t testing.TB) *manifest.Manifest {
	t.Helper()
	m, err := dataset.Newest(t.Context(), b.Store, b.root(t))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (b *bed) clean(t testing.TB) {
	t.Helper()
	if f, err := b.Fsck(t.Context()); err != nil || len(f.Damage) > 0 || len(f.Orphans) > 0 || f.Files == 0 {
		t.Errorf("fsck is not clean: %+v, %v", f, err)
	}
	empty(t, b.Scratch)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Whichever file is damaged, however: fsck finds it, --repair gives back the same bytes.
func TestRepairGivesTheSameBytes(t *testing.T) {
	b, _ := committed(t, 5000)
	b.clean(t)
	want := b.files(t)
	damages := []func(path string) error{
		os.Remove,
		func(path string) error { return os.Truncate(path, 100) },
		func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			data[len(data)/2] ^= 1
			return os.WriteFile(path, data, 0o644)
		},
	}
	n := 0
	for name := range want {
		if strings.Contains(name, "manifests") {
			continue
		}
		must(t, damages[n%len(damages)](filepath.Join(b.dir, name)))
		n++
		if f, err := b.Fsck(t.Context()); err != nil || len(f.Damage) != 1 || !strings.Contains(f.Damage[0], filepath.Base(name)) {
			t.Errorf("%s: fsck %+v, %v", name, f, err)
		}
		f, err := b.Repair(t.Context(), time.Now())
		if err != nil || len(f.Repaired) != 1 || len(f.Lost) > 0 || f.Manifest != 1 {
			t.Errorf("%s: repair %+v, %v", name, f, err)
		}
	}
	if n != 2+len(mixedViews) {
		t.Fatalf("%d files", n)
	}
	// All at once.
	must(t, os.RemoveAll(filepath.Join(b.dir, b.root(t), "data")))
	must(t, os.RemoveAll(filepath.Join(b.dir, b.root(t), "partials")))
	if f, err := b.Repair(t.Context(), time.Now()); err != nil || len(f.Repaired) != 1+len(mixedViews) || len(f.Lost) > 0 {
		t.Errorf("repair of all: %+v, %v", f, err)
	}
	for name, data := range b.files(t) {
		if !bytes.Equal(data, want[name]) {
			t.Errorf("%s has other bytes", name)
		}
	}
	b.clean(t)
}

// What Kafka has not any more is lost, and said; partials come from the data file all the same.
func TestRepairOfWhatKafkaDropped(t *testing.T) {
	b, root := committed(t, 500)
	gone := kadm.Offsets{}
	gone.AddOffset("events", 0, 1, -1)
	if _, err := kadm.NewClient(b.producer).DeleteRecords(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	m := b.newest(t)
	must(t, os.Remove(filepath.Join(b.dir, root, m.Rejects[0].Path)))
	must(t, os.Remove(filepath.Join(b.dir, root, m.Partials[0].Path)))
	f, err := b.Repair(t.Context(), time.Now())
	if err != nil || len(f.Repaired) != 1 || len(f.Lost) != 1 || !strings.Contains(f.Lost[0], "Kafka has only [1, 500)") {
		t.Errorf("repair: %+v, %v", f, err)
	}
}

// A file that comes out with other bytes is named by the next manifest; a partial is dropped and made by the next cycle.
func TestRepairOfOtherBytes(t *testing.T) {
	b, root := committed(t, 500)
	m := b.newest(t)
	m.Sequence++
	m.Files[0].CRC32C, m.Partials[0].CRC32C, m.Partials[1].Definition = "00000000", "00000000", strings.Repeat("f", 64)
	m.Partials[1].CRC32C = "00000000"
	must(t, dataset.Commit(t.Context(), b.Store, root, m))
	f, err := b.Repair(t.Context(), time.Now())
	if err != nil || len(f.Repaired) != 3 || len(f.Lost) > 0 || f.Manifest != 3 {
		t.Fatalf("repair: %+v, %v", f, err)
	}
	if m := b.newest(t); m.Sequence != 3 || len(m.Partials) != len(mixedViews)-2 || m.Files[0].CRC32C == "00000000" {
		t.Errorf("manifest %+v", m)
	}
	if made, err := b.CatchUp(t.Context(), Pace{}); err != nil || len(made) != 2 || made[0].New+made[1].New != 2 {
		t.Errorf("%s, %v", mustJSON(t, made), err)
	}
	b.clean(t)
}

// A manifest that says other rows or another range than its files hold is found out, though every checksum is right.
func TestFsckReadsWhatIsInTheFiles(t *testing.T) {
	b, root := committed(t, 300)
	b.send(t, mixed(300))
	if _, err := b.Cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.clean(t)
	for name, c := range map[string]struct {
		lie  func(m *manifest.Manifest)
		want string
	}{
		"rows of data":     {func(m *manifest.Manifest) { m.Files[0].Records-- }, "rows, the manifest says"},
		"rows of rejects":  {func(m *manifest.Manifest) { m.Rejects[1].Records-- }, "rows, the manifest says"},
		"rows of partials": {func(m *manifest.Manifest) { m.Partials[0].Rows++ }, "rows, the manifest says"},
		"another range": {func(m *manifest.Manifest) {
			m.Files[0].From, m.Files[0].To, m.Files[1].From, m.Files[1].To = 300, 600, 0, 300
		}, "offset"},
	} {
		m := b.newest(t)
		honest := *m
		honest.Files, honest.Rejects, honest.Partials = append([]manifest.File(nil), m.Files...), append([]manifest.File(nil), m.Rejects...), append([]manifest.Partial(nil), m.Partials...)
		m.Sequence++
		c.lie(m)
		must(t, dataset.Commit(t.Context(), b.Store, root, m))
		if f, err := b.Fsck(t.Context()); err != nil || len(f.Damage) == 0 || !strings.Contains(f.Damage[0], c.want) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
		honest.Sequence = m.Sequence + 1
		must(t, dataset.Commit(t.Context(), b.Store, root, &honest))
	}
	b.clean(t)
}

// Repair removes old orphans that no cycle can name, and none that one can.
func TestRepairRemovesDeadOrphans(t *testing.T) {
	b, root := committed(t, 500)
	m := b.newest(t)
	old, young := 2*time.Hour, time.Minute
	orphans := map[string]struct {
		age  time.Duration
		stay bool
	}{
		"data/0/00000000000000000000-00000000000000000100.parquet":                      {old, false},
		"data/0/00000000000000000000-00000000000000000200.parquet":                      {young, true},
		"data/0/00000000000000000500-00000000000000000600.parquet":                      {old, true}, // a long cycle may be making it
		"rejects/0/00000000000000000499-00000000000000000600.parquet":                   {old, false},
		"partials/new-0123456789ab/0/00000000000000000000-00000000000000000500.parquet": {old, true}, // so may it this, of a new view
		"partials/new-0123456789ab/0/00000000000000000000-00000000000000000400.parquet": {old, false},
		"data/notes.txt": {old, false},
	}
	for name, o := range orphans {
		must(t, b.Store.Put(t.Context(), root+name, []byte("x")))
		at := time.Now().Add(-o.age)
		must(t, os.Chtimes(filepath.Join(b.dir, root, name), at, at))
	}
	f, err := b.Repair(t.Context(), time.Now())
	if err != nil || len(f.Lost) > 0 || f.Manifest != m.Sequence {
		t.Fatalf("repair: %+v, %v", f, err)
	}
	files := b.files(t)
	for name, o := range orphans {
		if _, there := files[root+name]; there != o.stay {
			t.Errorf("%s, %v old: there is %v, want %v", name, o.age, there, o.stay)
		}
	}
	if len(f.Orphans) != 3 || len(f.Removed) != 4 {
		t.Errorf("%+v", f)
	}
}

// racing is a store in which another cycle commits just before the first look at the manifests.
type racing struct {
	store.Store
	commit func()
	once   sync.Once
}

func (r *racing) List(ctx context.Context, prefix string) ([]store.Info, error) {
	r.once.Do(r.commit)
	return r.Store.List(ctx, prefix)
}

// A cycle that commits while another one plans, or while fsck begins, is no log that lost records.
func TestAFrontierThatMovesMeanwhileIsNoLoss(t *testing.T) {
	b, _ := committed(t, 100)
	mine := *b.Input
	for name, look := range map[string]func(*Input) error{
		"plan": func(in *Input) error { _, err := in.Plan(t.Context()); return err },
		"fsck": func(in *Input) error {
			f, err := in.Fsck(t.Context())
			if err == nil && len(f.Damage) > 0 {
				err = errors.New(f.Damage[0])
			}
			return err
		},
	} {
		other := mine
		other.Store = &racing{Store: mine.Store, commit: func() {
			b.send(t, mixed(50))
			if _, err := mine.Cycle(t.Context()); err != nil {
				t.Error(err)
			}
		}}
		if err := look(&other); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Two views of one SELECT have one definition and partials of their own: each is repaired under its own name.
func TestRepairOfTwins(t *testing.T) {
	const sql = "SELECT count(*) AS n FROM events"
	b := newBed(t, mixedTopic, map[string]string{"one": sql, "two": sql})
	b.send(t, mixed(100))
	if _, err := b.Cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range b.newest(t).Partials {
		path, err := b.Store.Local(t.Context(), b.root(t)+p.Path)
		must(t, err)
		must(t, os.Truncate(path, 10))
		if f, err := b.Repair(t.Context(), time.Now()); err != nil || len(f.Repaired) != 1 {
			t.Errorf("%s: %+v, %v", p.Path, f, err)
		}
		b.clean(t)
	}
}
