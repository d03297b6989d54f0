package proof_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// TestRandomViews writes SELECTs at random and holds each to what DuckDB gives for its text over random rows: from raw, and
// merged under random cuts. They are 2,000, the same each time, unless -rapid.checks and -rapid.seed
// say otherwise: 0 draws others.
func TestRandomViews(t *testing.T) {
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{"rapid.checks": "2000", "rapid.seed": "1"} {
		if !given[name] {
			old := flag.Lookup(name).Value.String()
			flag.Set(name, value)
			t.Cleanup(func() { flag.Set(name, old) })
		}
	}
	r := &random{ground: newGround(t), classes: map[string]int{}, reasons: map[string]int{}}
	columns, none, err := columnsAndRows([]string{randomFields})
	if err != nil {
		t.Fatal(err)
	}
	r.fields = declare(t, "t", columns).Fields
	r.topic(t, declare(t, "t", columns), none)
	r.macros(t, randomMacros)
	r.reference(t, "r", randomReference)
	rapid.Check(t, r.check)
	total := 0
	for _, n := range r.classes {
		total += n
	}
	t.Logf("%d views: %v; raw for %v", total, r.classes, r.reasons)
	if from := r.classes[string(views.Merged)] + r.classes[string(views.Sketched)]; from*3 < total {
		t.Errorf("only %d of %d views are merged", from, total)
	}
	if r.classes["without an answer"]*20 > total {
		t.Errorf("%d of %d views have no answer", r.classes["without an answer"], total)
	}
}

type random struct {
	*ground
	fields  []schemas.Field
	classes map[string]int
	reasons map[string]int
}

func (r *random) check(t *rapid.T) {
	w := &writer{t: t}
	text, plain := w.view()
	if plain == "" {
		plain = text
	}
	rows := r.fill(t)
	pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") }
	cut := drawCutting(len(rows), pick)
	defer r.forget(t, w.views)
	r.catalog.ViewTexts = map[string]views.ViewText{}
	for _, name := range slices.Sorted(maps.Keys(w.views)) {
		r.exec(t, "CREATE TEMP VIEW "+name+" AS "+w.views[name])
		r.catalog.ViewTexts[name] = views.ViewText{File: name + ".sql", SQL: w.views[name]}
	}
	want, err := r.ask(t, plain)
	if err != nil {
		r.classes["without an answer"]++
		return
	}
	v, err := r.compile(t, "v", text)
	if err != nil {
		var p *schemas.Problem
		if errors.As(err, &p) {
			t.Fatalf("DuckDB answers what is refused: %v\n%s", err, text)
		}
		t.Fatalf("%v\n%s", err, text)
	}
	if w.settled || w.byOrder && w.joins {
		if want, err = r.ask(t, v.RawSQL(nil)); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	r.classes[string(v.Class)]++
	for _, reason := range v.Reasons {
		r.reasons[reason]++
	}
	within := r.rounding(t, v)
	check := func(what string, got answer, err error) {
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if !within.same(got, want, isOrdered(text)) {
			t.Fatalf("%s\n%s\n%s\n%s gives\n%s\nnot\n%s\n%s", text, viewsText(w.views), rowsText(r.fields, rows, text+viewsText(w.views)), what, got, want, plans(v))
		}
	}
	got, err := r.ask(t, v.RawSQL(nil))
	check("the raw plan", got, err)
	if !v.Class.FromPartials() {
		return
	}
	overParts, overMerged, err := r.cut(t, v, cut)
	check("the answer over partials, "+cut.String()+",", overParts, err)
	check("the final plan over merges, "+cut.String()+",", overMerged, err)
}

// forget drops the views of a run.
func (r *random) forget(t *rapid.T, made map[string]string) {
	for name := range made {
		r.exec(t, "DROP VIEW IF EXISTS "+name)
	}
}

func (r *random) row(t *rapid.T) []string {
	var row []string
	for _, f := range r.fields {
		row = append(row, rapid.SampledFrom(values[f.Name]).Draw(t, f.Name))
	}
	return row
}

// fill draws the topic's rows.
func (r *random) fill(t *rapid.T) [][]string {
	defs := make([]string, 0, len(r.fields))
	for _, f := range append(r.fields[:len(r.fields):len(r.fields)], schemas.SystemFields()...) {
		defs = append(defs, schemas.QuoteIdent(f.Name)+" "+f.Type.String())
	}
	var tuples []string
	some := rapid.SliceOfN(rapid.Custom(r.row), 0, 14)
	rows := slices.Concat(some.Draw(t, "rows"), some.Draw(t, "rows"), some.Draw(t, "rows"))
	for i, row := range rows {
		tuples = append(tuples, fmt.Sprintf("(%s, %d, %d, make_timestamptz(%d), NULL, NULL, NULL)", strings.Join(row, ", "), []int{0, 0, 1, 2}[i%4], []int{i / 4 * 2, i/4*2 + 1, i / 4, i / 4}[i%4], i/4))
	}
	r.exec(t, "CREATE OR REPLACE TABLE t ("+strings.Join(defs, ", ")+")")
	if len(tuples) > 0 {
		r.exec(t, "INSERT INTO t VALUES "+strings.Join(tuples, ", "))
	}
	return rows
}

func viewsText(views map[string]string) string {
	text := ""
	for _, name := range slices.Sorted(maps.Keys(views)) {
		text += name + ": " + views[name] + "\n"
	}
	return text
}

// rowsText is the columns of the rows that a text names, and all for a star.
func rowsText(fields []schemas.Field, rows [][]string, text string) string {
	shown := func(name string) bool { return reads(text, name) || strings.Contains(text, "*,") }
	header := []string{"row"}
	for _, f := range fields {
		if shown(f.Name) {
			header = append(header, f.Name)
		}
	}
	var cells [][]*string
	for n, r := range rows {
		number := fmt.Sprint(n)
		row := []*string{&number}
		for i := range r {
			if !shown(fields[i].Name) {
				continue
			}
			if r[i] == "NULL" {
				row = append(row, nil)
			} else {
				row = append(row, &r[i])
			}
		}
		cells = append(cells, row)
	}
	return table(header, cells)
}
