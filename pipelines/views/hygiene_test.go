package views

import (
	"fmt"
	"strings"
	"testing"
)

// Arguments mean the caller's columns whatever a body's tables, common table expressions and lambdas are named. DuckDB's
// own macros get columns with names that nobody else has.
func TestArgumentsAreTheCallers(t *testing.T) {
	c, cat, d := openCompiler(t), corpusCatalog(t), newTruth(t)
	bodies := []string{
		"(SELECT count(*) FROM flights WHERE flights.origin = x OR flights.dest = y)",
		"(SELECT max(a.city || x) FROM airports AS a WHERE a.iata = y)",
		"(SELECT string_agg(origin || x, '-' ORDER BY origin) FROM (SELECT DISTINCT f.origin FROM flights AS f WHERE f.dest = y))",
		"(WITH c AS (SELECT origin FROM flights WHERE dest = y), e AS (SELECT x AS what FROM c) SELECT max(what) FROM e)",
		"(SELECT count(*) FROM airports AS c, events AS e WHERE c.iata = x AND EXISTS (SELECT 1 FROM flights AS c WHERE c.origin = e.what OR c.dest = y))",
		"list_transform([x, y], lambda e: e || list_reduce(list_transform(['-', x], lambda origin: origin || y), lambda a, c: a || c))",
		"(SELECT count(flights) FROM flights JOIN airports AS origin ON iata = y WHERE flights.origin > x)",
		"coalesce(x, (SELECT min(iata) FROM airports WHERE iata > y), (SELECT max(a.what || x || y) FROM events AS a))",
	}
	callers := []struct {
		from string
		args []string
	}{
		{"flights", []string{"origin", "dest", "flights.origin", "lower(dest) || 'x'", "(SELECT max(what) FROM events WHERE what <> origin)", "tags[1]"}},
		{"flights AS a", []string{"origin", "a.dest", "(SELECT min(a.iata) FROM airports AS a WHERE a.city > dest)"}},
		{"airports AS flights", []string{"iata", "flights.city", "(SELECT max(origin) FROM (FROM flights) AS f WHERE f.dest = iata)"}},
		{"airports AS c JOIN events AS e ON e.what = c.iata", []string{"what", "c.city", "iata", "e.what || c.iata"}},
		{"(SELECT iata AS origin, city AS e FROM airports)", []string{"origin", "e", "list_transform([e], lambda origin: origin || e)[1]"}},
		{"airports AS flights LEFT JOIN (SELECT iata, city AS town FROM airports) AS a USING (iata)", []string{"iata", "a.town", "flights.city"}},
		{"events AS where_", []string{"what", "where_.what"}},
	}
	d.fill(t, 30, 1)
	for i, body := range bodies {
		d.exec(t, fmt.Sprintf("CREATE MACRO m%d(x, y) AS %s", i, body))
	}
	var problems []any
	text := strings.Builder{}
	for i, body := range bodies {
		fmt.Fprintf(&text, "CREATE MACRO m%d(x, y) AS %s;\n", i, body)
	}
	macros, found := c.ReadMacros("m.sql", text.String())
	for _, p := range append(found, c.CheckMacros(macros, Tables{Catalog: *cat})...) {
		problems = append(problems, p)
	}
	if len(problems) > 0 {
		t.Fatal(problems...)
	}
	cat.Macros = macros
	for _, caller := range callers {
		for i := range bodies {
			for k, x := range caller.args {
				y := caller.args[(k+1)%len(caller.args)]
				if strings.Contains(bodies[i], "lambda") && strings.Contains(x+y, "SELECT") {
					continue // DuckDB takes no SELECT in a lambda
				}
				v, err := c.Compile("v", "v.sql", fmt.Sprintf("SELECT m%d(%s, %s) AS r FROM %s", i, x, y, caller.from), cat)
				if err != nil {
					t.Errorf("%s\n%s, %s FROM %s: %v", bodies[i], x, y, caller.from, err)
					continue
				}
				d.agree(t, fmt.Sprintf("SELECT m%d(millrace_x, millrace_y) AS r FROM (SELECT %s AS millrace_x, %s AS millrace_y FROM %s)", i, x, y, caller.from), v.SQL)
			}
		}
	}
}
