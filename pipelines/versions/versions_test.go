package versions_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// table is a reference file and a store.
type table struct {
	*testing.T
	path   string
	fields []schemas.Field
	store  store.Store
	dir    string
}

func open(t *testing.T, name string, fields []schemas.Field) *table {
	t.Helper()
	d := &table{T: t, path: filepath.Join(t.TempDir(), name), fields: fields, dir: t.TempDir()}
	var err error
	if d.store, err = store.Open(d.dir); err != nil {
		t.Fatal(err)
	}
	return d
}

// load writes the file and loads it.
func (d *table) load(content string) *views.Reference {
	d.Helper()
	if err := os.WriteFile(d.path, []byte(content), 0o600); err != nil {
		d.Fatal(err)
	}
	r, err := views.LoadReference("t", d.path, d.fields)
	if err != nil {
		d.Fatal(err)
	}
	return r
}

func (d *table) keep(r *views.Reference) *views.Reference {
	d.Helper()
	kept, err := versions.Keep(d.Context(), d.store, r, d.path, d.TempDir())
	if err != nil {
		d.Fatal(err)
	}
	return kept
}

// rows are those that a version's SQL gives.
func (d *table) rows(r *views.Reference) string {
	d.Helper()
	s, err := kernel.OpenSession(d.Context(), kernel.Limits{})
	if err != nil {
		d.Fatal(err)
	}
	defer s.Close()
	if err := s.LoadReferences(d.Context(), []*views.Reference{r}); err != nil {
		d.Fatal(err)
	}
	batch, err := s.Arrow(d.Context(), "SELECT string_agg(t::VARCHAR, ';' ORDER BY t) AS all FROM t")
	if err != nil {
		d.Fatal(err)
	}
	defer batch.Release()
	return strings.Clone(batch.Column(0).ValueStr(0)) // it points into the batch
}

func (d *table) files() []string {
	d.Helper()
	list, err := d.store.List(d.Context(), "references/")
	if err != nil {
		d.Fatal(err)
	}
	var out []string
	for _, f := range list {
		out = append(out, f.Name)
	}
	return out
}

// A version is what it was, whatever becomes of the file.
func TestKeptVersions(t *testing.T) {
	d := open(t, "t.csv", nil)
	first := d.load("k,n\na,1\n")
	kept := d.keep(first)
	second := d.keep(d.load("k,n\nb,x\n"))
	if err := os.Remove(d.path); err != nil {
		t.Fatal(err)
	}
	if got := d.rows(kept) + " " + d.rows(second); got != "{'k': a, 'n': 1} {'k': b, 'n': x}" {
		t.Errorf("the rows are %s", got)
	}
	again, err := versions.Load(t.Context(), d.store, "t", first.Hash)
	if err != nil || again.SQL != kept.SQL || again.Hash != first.Hash || fmt.Sprint(again.Columns) != fmt.Sprint(first.Columns) {
		t.Errorf("%+v, %v, want %+v", again, err, kept)
	}
	if n := len(d.files()); n != 4 {
		t.Errorf("%d files: %v", n, d.files())
	}
	for _, hash := range []string{strings.Repeat("0", 64), "", "../x", first.Hash[:12], strings.ToUpper(first.Hash)} {
		if _, err := versions.Load(t.Context(), d.store, "t", hash); !errors.Is(err, versions.ErrNotKept) {
			t.Errorf("version %q: %v", hash, err)
		}
	}
}

// Declared fields are part of a version, and every kind of file can be kept.
func TestKeptKinds(t *testing.T) {
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte("fields: {n: 'DECIMAL(9,2)', at: {type: TIMESTAMP, unit: s}}"))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	for name, content := range map[string]string{"t.csv": "at,n\n60,1.5\n", "t.ndjson": `{"n":1.5,"at":60}`, "t.tsv": "n\tat\n1.5\t60\n"} {
		d := open(t, name, topic.Fields)
		if got := d.rows(d.keep(d.load(content))); got != "{'n': 1.50, 'at': '1970-01-01 00:01:00'}" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// What is damaged is not believed, and kept anew while the file is there; a file that changes on the way is not kept.
func TestDamagedVersions(t *testing.T) {
	d := open(t, "t.csv", nil)
	r := d.load("k\na\n")
	d.keep(r)
	for _, name := range d.files() {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte("k\nz\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var p *schemas.Problem
		if _, err := versions.Load(t.Context(), d.store, "t", r.Hash); !errors.As(err, &p) || !strings.Contains(p.Message, r.Hash[:12]) || p.Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
		if n, wrong, err := versions.Check(t.Context(), d.store); err != nil || n != 0 || len(wrong) != 1 || !strings.Contains(wrong[0], r.Hash[:12]) {
			t.Errorf("%s: %d whole, %v, %v", name, n, wrong, err)
		}
		if got := d.rows(d.keep(r)); got != "{'k': a}" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if n, wrong, err := versions.Check(t.Context(), d.store); err != nil || n != 1 || len(wrong) != 0 {
		t.Errorf("%d whole, %v, %v", n, wrong, err)
	}
	if err := os.WriteFile(d.path, []byte("k\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := *r
	other.Hash = strings.Repeat("0", 64)
	if _, err := versions.Keep(t.Context(), d.store, &other, d.path, t.TempDir()); !errors.Is(err, versions.ErrChanged) {
		t.Errorf("a file that is another version: %v", err)
	}
}
