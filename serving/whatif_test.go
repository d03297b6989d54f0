package serving_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/serving"
)

// change compiles two SELECTs as one view before and after.
func (h *house) change(t *testing.T, before, after string) serving.Change {
	t.Helper()
	compiler, err := views.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer compiler.Close()
	compile := func(sql string) *views.View {
		if sql == "" {
			return nil
		}
		v, err := compiler.Compile("v", "v.sql", sql, h.defs.Catalog)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return v
	}
	return serving.Change{Old: compile(before), New: compile(after), Limit: 2}
}

// said is an outcome in a line.
func said(o *serving.Outcome) string {
	by := "whole rows"
	if o.MatchedBy != nil {
		by = strings.Join(o.MatchedBy, ",")
	}
	text := fmt.Sprintf("by %q: +%d -%d ~%d =%d", by, o.Added, o.Removed, o.Changed, o.Same)
	for _, c := range o.NewColumns {
		text += " +" + c
	}
	for _, c := range o.GoneColumns {
		text += " -" + c
	}
	for _, d := range o.Differences {
		text += fmt.Sprintf("; %s %d", d.Column, d.Rows)
		if d.Largest != nil {
			text += fmt.Sprintf(" by %g", *d.Largest)
		}
		if d.OldSum != nil && d.NewSum != nil {
			text += fmt.Sprintf(" %g->%g", *d.OldSum, *d.NewSum)
		}
	}
	return text
}

func TestWhatIf(t *testing.T) {
	var records []string
	for _, r := range [][3]any{{"AAA", 1, 100}, {"AAA", 5, 200}, {"BBB", -3, 100}, {"CCC", 0, 300}} {
		records = append(records, fmt.Sprintf(`{"date":"2001-01-01","origin":%q,"destination":"X","delay":%d,"distance":%d}`, r[0], r[1], r[2]))
	}
	h := open(t, 0, records...)
	for _, c := range []struct {
		name, before, after, want string
		keys                      []string
	}{
		{"a filter", "SELECT origin, count(*) AS n, sum(delay) AS d FROM flights GROUP BY origin", "SELECT origin, count(*) AS n, sum(delay) AS d FROM flights WHERE delay > 0 OR origin = 'BBB' AND delay < 0 GROUP BY origin",
			`by "origin": +0 -1 ~0 =2`, nil},
		{"numbers", "SELECT origin, count(*) AS n, sum(delay) AS d FROM flights GROUP BY origin", "SELECT origin, count(*) AS n, sum(delay + 1) AS d FROM flights GROUP BY origin",
			`by "origin": +0 -0 ~3 =0; d 3 by 2 3->7`, nil},
		{"columns", "SELECT origin, count(*) AS n, max(delay) AS m FROM flights GROUP BY origin", "SELECT origin, count(*) AS n, min(delay) AS l FROM flights GROUP BY origin",
			`by "origin": +0 -0 ~0 =3 +l -m`, nil},
		{"another type", "SELECT origin, count(*) AS n, max(delay) AS m FROM flights GROUP BY origin", "SELECT origin, count(*)::HUGEINT AS n, max(delay)::VARCHAR AS m FROM flights GROUP BY origin",
			`by "origin": +0 -0 ~0 =3`, nil},
		{"one row", "SELECT count(*) AS n, avg(delay) AS a FROM flights", "SELECT count(*) AS n, avg(delay) * 2 AS a FROM flights",
			`by "": +0 -0 ~1 =0; a 1 by 0.75 0.75->1.5`, nil},
		{"other groups", "SELECT origin, count(*) AS n FROM flights GROUP BY origin", "SELECT origin, distance, count(*) AS n FROM flights GROUP BY ALL",
			`by "whole rows": +2 -1 ~0 =2 +distance`, nil},
		{"rows that are alike", "SELECT destination FROM flights", "SELECT destination FROM flights WHERE delay > 0",
			`by "whole rows": +0 -2 ~0 =2`, nil},
		{"the first ones", "SELECT origin, count(*) AS n FROM flights GROUP BY origin ORDER BY n DESC LIMIT 1", "SELECT origin, count(*) AS n FROM flights GROUP BY origin ORDER BY n, origin LIMIT 1",
			`by "": +0 -0 ~1 =0; origin 1; n 1 by -1 2->1`, nil},
		{"keys", "SELECT origin, count(*) AS n FROM flights GROUP BY origin ORDER BY n DESC LIMIT 1", "SELECT origin, count(*) AS n FROM flights GROUP BY origin ORDER BY n, origin LIMIT 1",
			`by "origin": +1 -1 ~0 =0`, []string{"origin"}},
		{"large ones", "SELECT origin, sum(delay::HUGEINT) + 170141183460469231731687303715884000000 AS h, 9007199254740993 AS b FROM flights GROUP BY origin",
			"SELECT origin, sum(delay::HUGEINT) - 170141183460469231731687303715884000000 AS h, 9007199254740994 AS b FROM flights GROUP BY origin",
			`by "origin": +0 -0 ~3 =0; h 3 by -3.402823669209385e+38 5.104235503814077e+38->-5.104235503814077e+38; b 3 by 1 2.7021597764222976e+16->2.7021597764222984e+16`, nil},
		{"decimals", "SELECT origin, sum(delay)::DECIMAL(38,2) AS d FROM flights GROUP BY origin", "SELECT origin, (sum(delay) + 0.25)::DECIMAL(38,2) AS d FROM flights GROUP BY origin",
			`by "origin": +0 -0 ~3 =0; d 3 by 0.25 3->3.75`, nil},
		{"not finite", "SELECT origin, 'NaN'::DOUBLE AS f FROM flights GROUP BY origin", "SELECT origin, 'Infinity'::DOUBLE AS f FROM flights GROUP BY origin",
			`by "origin": +0 -0 ~3 =0; f 3`, nil},
		{"rounding", "SELECT origin, sum(delay / 3) AS d FROM flights GROUP BY origin", "SELECT origin, sum(delay / 3) * 1.0000000000001::DOUBLE AS d FROM flights GROUP BY origin",
			`by "origin": +0 -0 ~0 =3`, nil},
		{"from raw", "SELECT origin, delay, lag(delay) OVER (ORDER BY _offset) AS l FROM flights WHERE origin < 'C'", "SELECT origin, delay, lag(delay) OVER (ORDER BY _offset DESC) AS l FROM flights WHERE origin < 'C'",
			`by "origin,delay": +0 -0 ~3 =0; l 3 by -4 6->2`, nil},
		{"nothing in common", "SELECT origin AS a FROM flights", "SELECT origin AS b FROM flights", `by "whole rows": +4 -4 ~0 =0 +b -a`, nil},
		{"a new one", "", "SELECT origin, count(*) AS n FROM flights GROUP BY origin", `by "whole rows": +3 -0 ~0 =0`, nil},
		{"a mended one", "SELECT sum(destination::INTEGER) AS n FROM flights", "SELECT sum(TRY_CAST(destination AS INTEGER)) AS n FROM flights", `by "whole rows": +1 -0 ~0 =0`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			change := h.change(t, c.before, c.after)
			change.Keys = c.keys
			o, err := h.server.WhatIf(t.Context(), h.defs, change)
			if err != nil {
				t.Fatal(err)
			}
			if got := said(o); got != c.want {
				t.Errorf("%s\nwant %s", got, c.want)
			}
			if o.View != "v" || o.Certificate.Views["v"] != change.New.Definition || len(o.Certificate.Views) != 1 || o.New.Rows != o.Added+o.Changed+o.Same {
				t.Errorf("%+v", o)
			}
			if want := min(2, o.Changed); int64(len(o.Examples)) != want {
				t.Errorf("%d of %d changed rows are shown", len(o.Examples), o.Changed)
			}
		})
	}
}

// The biggest differences come first, and what an answer took is told.
func TestWhatIfExamples(t *testing.T) {
	h := open(t, 3000)
	change := h.change(t, "SELECT origin, count(*) AS n FROM flights GROUP BY origin", "SELECT origin, count(*) AS n FROM flights WHERE origin <> 'ATL' AND delay < 200 GROUP BY origin")
	change.Limit = 3
	o, err := h.server.WhatIf(t.Context(), h.defs, change)
	if err != nil {
		t.Fatal(err)
	}
	last := 1 << 30
	for _, x := range o.Examples {
		var before, after struct {
			Origin string
			N      int
		}
		if err := errors.Join(json.Unmarshal(x.Old, &before), json.Unmarshal(x.New, &after)); err != nil {
			t.Fatal(err)
		}
		if before.Origin != after.Origin || before.N-after.N > last || before.N == after.N {
			t.Errorf("%s -> %s", x.Old, x.New)
		}
		last = before.N - after.N
	}
	if len(o.Examples) != 3 || len(o.RemovedRows) < 1 || !strings.Contains(string(o.RemovedRows[0]), "ATL") {
		t.Errorf("%+v", o)
	}
	if o.New.Offsets != 3000 || o.Old.Offsets != 3000 || o.New.Class != views.Merged || o.New.Seconds <= 0 {
		t.Errorf("%+v, %+v", o.Old, o.New)
	}
	change.AsOf = &serving.AsOf{Offsets: map[string]schemas.Frontier{"flights": {0: 10}}}
	if o, err = h.server.WhatIf(t.Context(), h.defs, change); err != nil || o.New.Offsets != 10 {
		t.Errorf("as of ten records: %+v, %v", o, err)
	}
}

func TestWhatIfRefuses(t *testing.T) {
	h := open(t, 100)
	const plain = "SELECT origin, 1 AS n FROM flights GROUP BY origin"
	for want, c := range map[string]struct {
		after string
		keys  []string
	}{
		`do not share a column "orgin"`:        {plain, []string{"orgin"}},
		"several rows of an answer have the s": {plain, []string{"n"}},
		"view v has no answer over these reco": {"SELECT sum(origin::INTEGER) AS n FROM flights", nil},
	} {
		change := h.change(t, "SELECT origin, 2 AS n FROM flights GROUP BY origin", c.after)
		change.Keys = c.keys
		var p *schemas.Problem
		if _, err := h.server.WhatIf(t.Context(), h.defs, change); !errors.As(err, &p) || p.Kind != schemas.Usage || !strings.Contains(p.Message, want) || p.Hint == "" {
			t.Errorf("%s: %v", want, err)
		}
	}
}
