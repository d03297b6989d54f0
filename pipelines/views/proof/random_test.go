package proof_test

import (
	"errors"
	"flag"
	"fmt"
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
	columns, _, err := columnsAndRows([]string{randomFields})
	if err != nil {
		t.Fatal(err)
	}
	r.fields = declare(t, "t", columns).Fields
	r.topic(t, declare(t, "t", columns), "SELECT NULL::VARCHAR AS k, NULL::INTEGER AS g, NULL::INTEGER AS i, NULL::BIGINT AS l, NULL::DECIMAL(18,3) AS dc, NULL::DOUBLE AS d, NULL::DOUBLE AS x, NULL::BOOLEAN AS b, NULL::VARCHAR AS s, NULL::TIMESTAMP AS ts, NULL::TIMESTAMPTZ AS tz, NULL::VARCHAR[] AS tags, NULL::STRUCT(a INTEGER, b VARCHAR) AS st")
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
	text := w.view()
	rows := r.fill(t)
	pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") }
	cuts := []cutting{drawCutting(len(rows), pick), drawCutting(len(rows), pick)}
	want, err := r.ask(t, text)
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
	if w.settled {
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
			t.Fatalf("%s\n\n%s\n%s gives\n%s\nnot\n%s\n%s", text, rowsText(r.fields, rows), what, got, want, plans(v))
		}
	}
	got, err := r.ask(t, v.RawSQL(nil))
	check("the raw plan", got, err)
	if !v.Class.FromPartials() {
		return
	}
	for _, c := range cuts {
		overParts, overMerged, err := r.cut(t, v, c)
		check("the answer over partials, "+c.String()+",", overParts, err)
		check("the final plan over merges, "+c.String()+",", overMerged, err)
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

func rowsText(fields []schemas.Field, rows [][]string) string {
	var header []string
	for _, f := range fields {
		header = append(header, f.Name)
	}
	var cells [][]*string
	for _, r := range rows {
		var row []*string
		for i := range r {
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
