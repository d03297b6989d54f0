package views

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/schemas"
)

const lawTopic = `
fields:
  g: VARCHAR
  b: BOOLEAN
  i: INTEGER
  l: BIGINT
  h: HUGEINT
  ut: UTINYINT
  d: DOUBLE
  x: DOUBLE
  dc: DECIMAL(18,3)
  big: DECIMAL(38,2)
  s: VARCHAR
  ts: TIMESTAMP
  tz: TIMESTAMPTZ
  dt: DATE
  u: UUID
  iv: INTERVAL
  bt: BIT
  j: JSON
  tags: VARCHAR[]
  st: STRUCT(a HUGEINT, b VARCHAR)
  m: MAP(VARCHAR, INTEGER)
`

// literals are the values a column may take, in SQL; NULL is added to each.
var literals = map[string][]string{
	"g":    {"'a'", "'b'", "'ü'", "''", "'日本'"},
	"b":    {"true", "false"},
	"i":    {"0", "1", "-1", "1073741823", "-1073741824", "7", "42"}, // the corpus doubles it, and a view that overflows has no answer
	"l":    {"0", "9223372036854775807", "-9223372036854775808", "5"},
	"h":    {"0", "1701411834604692317316873037158841057", "-1701411834604692317316873037158841057", "3"},
	"ut":   {"0", "1", "2", "255"},
	"d":    {"0.1", "0.2", "0.3", "12.5", "1e3", "999.999", "3.0000001"},
	"x":    {"'inf'", "'-inf'", "'nan'", "1.5", "-0.0", "0.0", "1e300"},
	"dc":   {"0.001", "-999999999999999.999", "999999999999999.999", "1.5"},
	"big":  {"0.01", "99999999999999999999999999999999.99", "-1.00"},
	"s":    {"'a'", "'A'", "'ab'", "'ß'", "'🙂'", "''''"},
	"ts":   {"'2024-02-29 23:59:59.999999'", "'1969-12-31 00:00:00'", "'2024-03-01 00:00:00'"},
	"tz":   {"'2024-02-29 23:59:59+00'", "'2001-01-01 00:00:00+05'"},
	"dt":   {"'2024-02-29'", "'0001-01-01'", "'9999-12-31'"},
	"u":    {"'00000000-0000-0000-0000-000000000001'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"},
	"iv":   {"'1 month 2 days 3 microseconds'", "'-1 year'", "'0 seconds'"},
	"bt":   {"'0101'", "'1111'", "'0000'"},
	"j":    {`'{"k": "v"}'`, `'{"k": 1}'`, `'[]'`},
	"tags": {"['a', 'b']", "[]", "['a', NULL]", "['ü']"},
	"st":   {"{'a': 1, 'b': 'x'}", "{'a': NULL, 'b': 'x'}", "{'a': 1701411834604692317316873037158841057, 'b': NULL}"},
	"m":    {"map {'k': 1}", "map {'k': 2, 'l': NULL}"},
}

const lawReference = `SELECT * FROM (VALUES ('a', 'Anna', 1), ('a', 'Alf', 2), ('b', 'Béla', 2), (NULL, 'Nemo', 3), ('c', 'Carl', NULL)) AS r(g, name, w)`

type lawView struct {
	*View
	name string
	ties bool
}

type law struct {
	db     *sql.DB
	fields []schemas.Field
	views  []lawView
}

func newLaw(t *testing.T) *law {
	t.Helper()
	topic, problems := schemas.ParseTopic("t", "topics/t.yaml", []byte(lawTopic))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cat := &Catalog{
		Topics: map[string]*schemas.Topic{"t": topic},
		References: map[string]*Reference{"r": {Name: "r", SQL: lawReference, Hash: "1",
			Columns: []Column{{Name: "g", Type: "VARCHAR"}, {Name: "name", Type: "VARCHAR"}, {Name: "w", Type: "INTEGER"}}}},
	}
	l := &law{fields: append(slices.Clone(topic.Fields), schemas.SystemFields()...)}
	text, err := os.ReadFile("testdata/law.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(text), ";\n") {
		name := regexp.MustCompile(`(?m)^-- (.*)\n[^-]`).FindStringSubmatch(part)
		if name == nil {
			continue
		}
		v, err := c.Compile(name[1], "testdata/law.sql", part, cat)
		if err != nil {
			t.Fatalf("%s: %v", name[1], err)
		}
		if !v.Class.FromPartials() {
			t.Fatalf("%s: %s %v", name[1], v.Class, v.Reasons)
		}
		l.views = append(l.views, lawView{throughJSON(t, v), name[1], strings.HasSuffix(name[1], " ties")})
	}
	l.db, err = sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.db.Close() })
	l.db.SetMaxOpenConns(1)
	for _, q := range []string{"SET threads = 1", "SET TimeZone = 'UTC'", "CREATE TABLE r AS " + lawReference} {
		if _, err := l.db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func throughJSON(t *testing.T, v *View) *View {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out := new(View)
	if err := json.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	if again, _ := json.Marshal(out); string(again) != string(b) {
		t.Fatalf("%s does not go through JSON", v.Name)
	}
	return out
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func (l *law) exec(t fataler, q string) {
	t.Helper()
	if _, err := l.db.Exec(q); err != nil {
		t.Fatalf("%v\n%s", err, q)
	}
}

// fill makes the table t of the rows, each a list of literals in the order of fields, system columns added.
func (l *law) fill(t fataler, rows [][]string) {
	var defs []string
	for _, f := range l.fields {
		defs = append(defs, schemas.QuoteIdent(f.Name)+" "+f.Type.String())
	}
	l.exec(t, "CREATE OR REPLACE TABLE t ("+strings.Join(defs, ", ")+")")
	var values []string
	for _, r := range rows {
		values = append(values, "("+strings.Join(r, ", ")+")")
	}
	if len(values) > 0 {
		l.exec(t, "INSERT INTO t VALUES "+strings.Join(values, ", "))
	}
}

// check compares one view over table t, cut into parts by the row numbers in cuts, merged in the given groups.
func (l *law) check(t fataler, v lawView, total int, cuts []int, group func(n int) int) {
	t.Helper()
	var state []string
	for _, c := range v.State {
		state = append(state, c.Name+" "+c.Type)
	}
	table := "(" + strings.Join(state, ", ") + ")"
	wanted := make([]string, len(v.Wanted["t"]))
	for i, c := range v.Wanted["t"] {
		wanted[i] = schemas.QuoteIdent(c)
	}
	l.exec(t, "CREATE OR REPLACE TABLE parts "+table)
	from, parts := 0, 0
	var groups []int
	for _, to := range append(slices.Clone(cuts), total) {
		l.exec(t, fmt.Sprintf("CREATE OR REPLACE TEMP TABLE chunk AS SELECT %s FROM t LIMIT %d OFFSET %d", strings.Join(wanted, ", "), to-from, from))
		g := group(parts)
		if !slices.Contains(groups, g) {
			groups = append(groups, g)
			l.exec(t, fmt.Sprintf("CREATE OR REPLACE TABLE group%d %s", g, table))
		}
		l.exec(t, fmt.Sprintf("INSERT INTO group%d %s", g, v.PartialSQL("chunk")))
		from = to
		parts++
	}
	for _, g := range groups {
		l.exec(t, fmt.Sprintf("INSERT INTO parts SELECT * FROM group%d", g))
	}
	want := l.rows(t, v.RawSQL(nil))
	l.same(t, v, "answer over partials", l.rows(t, v.FinalSQL("parts")), want)
	l.exec(t, "DELETE FROM parts")
	for _, g := range groups {
		l.exec(t, fmt.Sprintf("INSERT INTO parts %s", v.MergeSQL(fmt.Sprintf("group%d", g))))
	}
	l.exec(t, "CREATE OR REPLACE TABLE merged AS "+v.MergeSQL("parts"))
	l.same(t, v, "final over merges of merges", l.rows(t, v.FinalSQL("merged")), want)
	if !v.ties && !strings.Contains(v.SQL, "LIMIT") {
		l.same(t, v, "the SELECT itself", l.rows(t, v.SQL), want)
	}
}

func (l *law) same(t fataler, v lawView, what string, got, want [][]any) {
	t.Helper()
	if !ordered.MatchString(v.SQL) {
		sortRows(got)
		sortRows(want)
	}
	if !slices.EqualFunc(got, want, func(a, b []any) bool { return slices.EqualFunc(a, b, sameValue) }) {
		t.Fatalf("%s: %s:\n got %v\nwant %v\n%s\npartial %s\nmerge %s\nfinal %s", v.name, what, got, want, v.SQL, v.Plans.Partial, v.Plans.Merge, v.Plans.Final)
	}
}

// sameValue allows floating sums 1e-12 of the magnitudes that went into them; the doubles of these tests stay below 1e3.
func sameValue(a, b any) bool {
	x, ok1 := a.(float64)
	y, ok2 := b.(float64)
	if !ok1 || !ok2 {
		return reflect.DeepEqual(a, b)
	}
	return x == y || math.IsNaN(x) && math.IsNaN(y) || math.Abs(x-y) <= 1e-12*(math.Abs(x)+math.Abs(y)+1e3)
}

// ordered matches an ORDER BY of the whole, not of a subquery.
var ordered = regexp.MustCompile(`ORDER BY [^)]*$`)

func sortRows(rows [][]any) {
	key := func(r []any) string {
		var b strings.Builder
		for _, v := range r {
			if f, ok := v.(float64); ok {
				v = float32(f) // rows that differ by rounding sort alike
			}
			fmt.Fprintf(&b, "%v|", v)
		}
		return b.String()
	}
	sort.SliceStable(rows, func(i, j int) bool { return key(rows[i]) < key(rows[j]) })
}

func (l *law) rows(t fataler, q string) [][]any {
	t.Helper()
	rows, err := l.db.QueryContext(context.Background(), q)
	if err != nil {
		t.Fatalf("%v\n%s", err, q)
	}
	defer rows.Close()
	cols, err := rows.Columns()
	if err != nil {
		t.Fatalf("%v", err)
	}
	var out [][]any
	for rows.Next() {
		values, into := make([]any, len(cols)), make([]any, len(cols))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatalf("%v", err)
		}
		for i, v := range values {
			if _, ok := v.(float64); !ok {
				values[i] = fmt.Sprint(v)
			}
		}
		out = append(out, values)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%v\n%s", err, q)
	}
	return out
}

func (l *law) drawRow(t *rapid.T, offset int) []string {
	var row []string
	for _, f := range l.fields {
		switch f.Name {
		case "_partition":
			row = append(row, fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "partition")))
		case "_offset":
			row = append(row, fmt.Sprint(offset))
		case "_timestamp":
			row = append(row, fmt.Sprintf("make_timestamptz(%d)", rapid.IntRange(0, 3).Draw(t, "timestamp")))
		case "_key", "_headers", "_extra":
			row = append(row, "NULL")
		default:
			row = append(row, rapid.SampledFrom(append(slices.Clip(literals[f.Name]), "NULL")).Draw(t, f.Name))
		}
	}
	return row
}

// The law: for random rows in random parts, some of them empty, merged in random groups, the answer is the SELECT's.
func TestMergedIsRecomputed(t *testing.T) {
	l := newLaw(t)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "rows")
		var rows [][]string
		for i := range n {
			rows = append(rows, l.drawRow(t, i))
		}
		l.fill(t, rows)
		cuts := rapid.SliceOfN(rapid.IntRange(0, n), 0, 5).Draw(t, "cuts")
		slices.Sort(cuts)
		groups := rapid.SliceOfN(rapid.IntRange(0, 2), 6, 6).Draw(t, "groups")
		for range 5 {
			v := l.views[rapid.IntRange(0, len(l.views)-1).Draw(t, "view")]
			l.check(t, v, n, cuts, func(i int) int { return groups[i] })
		}
	})
}

// Every view once, over rows made of all literals, so that none is left out by chance.
func TestEveryViewMerges(t *testing.T) {
	l := newLaw(t)
	const n = 60
	var rows [][]string
	for i := range n {
		var row []string
		for k, f := range l.fields {
			values := append(slices.Clip(literals[f.Name]), "NULL")
			switch f.Name {
			case "_partition":
				values = []string{fmt.Sprint(i % 3)}
			case "_offset":
				values = []string{fmt.Sprint(i)}
			case "_timestamp":
				values = []string{fmt.Sprintf("make_timestamptz(%d)", i/7%3)}
			}
			row = append(row, values[(i*(k+3)+i/5)%len(values)])
		}
		rows = append(rows, row)
	}
	for _, v := range l.views {
		t.Run(v.name, func(t *testing.T) {
			for _, total := range []int{n, 0} {
				l.fill(t, rows[:total])
				l.check(t, v, total, []int{0, total / 4, total / 2, total / 2}, func(i int) int { return i % 2 })
			}
		})
	}
}
