package views

import (
	"database/sql"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// truth is a DuckDB with the tables of corpusCatalog in it, which answers SELECTs as they are written.
type truth struct{ db *sql.DB }

func newTruth(t *testing.T) truth {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	d := truth{db}
	d.exec(t, "SET threads = 1")
	d.exec(t, "SET TimeZone = 'UTC'")
	d.fill(t, 0, 0)
	return d
}

func (d truth) exec(t *testing.T, q string) {
	t.Helper()
	if _, err := d.db.Exec(q); err != nil {
		t.Fatalf("%v\n%s", err, q)
	}
}

// tables are the statements that make the tables of so many rows: the same for the same seed.
func (d truth) tables(rows, seed int) []string {
	pick := func(what string, of ...string) string {
		return fmt.Sprintf("([%s])[1 + (hash(i, '%s', %d) %% %d)::INTEGER]", strings.Join(of, ", "), what, seed, len(of))
	}
	system := fmt.Sprintf("(i %% 3)::INTEGER AS _partition, i AS _offset, make_timestamptz(i * 1000000) AS _timestamp, NULL::BLOB AS _key, NULL::STRUCT(key VARCHAR, value BLOB)[] AS _headers, NULL::JSON AS _extra FROM range(%d) AS r(i)", rows)
	return []string{
		"CREATE OR REPLACE TABLE flights AS SELECT " + strings.Join([]string{
			pick("date", "NULL", "'1969-12-31 23:59:59'", "'2026-03-29 01:30:00'", "'2026-03-30 00:00:00'", "'2026-04-01 12:00:00'", "'2026-10-25 02:30:00'") + "::TIMESTAMP AS date",
			pick("delay", "NULL", "-3", "0", "15", "16", "40", "200") + "::INTEGER AS delay",
			pick("origin", "NULL", "'AAA'", "'BBB'", "'CCC'", "'ddd'") + " AS origin",
			pick("dest", "'AAA'", "'BBB'", "'x'") + " AS dest",
			pick("tags", "NULL", "[]::VARCHAR[]", "['a', NULL]", "['b', 'cccccccccccccccccc']") + " AS tags",
			pick("wait", "NULL", "INTERVAL 1 DAY", "INTERVAL 2 HOURS") + " AS wait",
			pick("where_at", "NULL", "{'a': 1}", "{'a': NULL}") + " AS where_at"}, ", ") + ", " + system,
		"CREATE OR REPLACE TABLE events AS SELECT " +
			pick("ts", "NULL", "'2026-03-29 01:30:00'", "'2026-04-01 12:00:00'", "'1970-01-01'") + "::TIMESTAMP AS ts, " +
			pick("what", "NULL", "'AAA'", "'Anna'", "'z'") + " AS what, " + system,
		`CREATE OR REPLACE TABLE "odd name" AS SELECT ` + pick("a", "NULL", "1", "2") + "::INTEGER AS a, " + system,
		"CREATE OR REPLACE TABLE airports AS SELECT * FROM (VALUES ('AAA', 'Anna'), ('BBB', NULL), ('BBB', 'Béla'), (NULL, 'Nemo')) AS a(iata, city)",
	}
}

// answer is the names of a SELECT's columns and its rows, sorted.
func (d truth) answer(t *testing.T, q string) []string {
	t.Helper()
	rows, err := d.db.Query(q)
	if err != nil {
		t.Errorf("%v\n%s", err, q)
		return nil
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for rows.Next() {
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%v", values))
	}
	if err := rows.Err(); err != nil {
		t.Errorf("%v\n%s", err, q)
	}
	slices.Sort(out)
	return append([]string{strings.Join(names, "|")}, out...)
}

// fill makes the tables anew.
func (d truth) fill(t *testing.T, rows, seed int) {
	t.Helper()
	for _, q := range d.tables(rows, seed) {
		d.exec(t, q)
	}
}

// same compares the answers to two SELECTs over several sets of rows, one of them empty.
func (d truth) same(t *testing.T, a, b string) {
	t.Helper()
	for seed, rows := range []int{0, 1, 30, 200} {
		d.fill(t, rows, seed)
		if !d.agree(t, a, b) {
			return
		}
	}
}

// agree compares the answers to two SELECTs over the rows that there are.
func (d truth) agree(t *testing.T, a, b string) bool {
	t.Helper()
	x, y := d.answer(t, a), d.answer(t, b)
	if !slices.Equal(x, y) {
		t.Errorf("%s\n%s\nanswers %.2000s\nand     %.2000s", a, b, x, y)
		return false
	}
	return true
}

func readText(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// compiled says what the compiler makes of a SELECT. DuckDB must answer it as it does the SELECT itself, or what stands
// after "-- as:".
func compiled(t *testing.T, c *Compiler, cat *Catalog, d truth, sql string) string {
	t.Helper()
	v, err := c.Compile("v", "v.sql", sql, cat)
	if err != nil {
		return problemText(t, err)
	}
	like := sql
	if _, as, ok := strings.Cut(sql, "-- as: "); ok {
		like, _, _ = strings.Cut(as, "\n")
	}
	d.same(t, like, v.SQL)
	return v.SQL
}

// rewritten has a DuckDB with the macros and views of testdata in it, and a compiler that knows them too.
func rewritten(t *testing.T) (*Compiler, *Catalog, truth) {
	t.Helper()
	c, cat, d := openCompiler(t), corpusCatalog(t), newTruth(t)
	text := readText(t, "testdata/macros.sql")
	macros, problems := c.ReadMacros("views/_macros.sql", text)
	problems = append(problems, c.CheckMacros(macros, Tables{Catalog: *cat})...)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	cat.Macros = macros
	d.exec(t, readText(t, "internal/expand/builtin.sql"))
	d.exec(t, text)
	for _, part := range strings.Split(readText(t, "testdata/nested.sql"), ";\n") {
		if m := regexp.MustCompile(`(?m)^-- (\w+)\n([^-](?s:.*))`).FindStringSubmatch(part); m != nil {
			cat.ViewTexts[m[1]] = ViewText{File: "views/" + m[1] + ".sql", SQL: m[2]}
			d.exec(t, "CREATE VIEW "+m[1]+" AS "+m[2])
		}
	}
	return c, cat, d
}

func testRewrites(t *testing.T, file string) {
	t.Helper()
	c, cat, d := rewritten(t)
	runCorpus(t, file, func(sql string) string { return compiled(t, c, cat, d, sql) })
}

func TestMacros(t *testing.T) { testRewrites(t, "testdata/macros.txt") }

func TestPivot(t *testing.T) { testRewrites(t, "testdata/pivot.txt") }

func TestStars(t *testing.T) { testRewrites(t, "testdata/stars.txt") }

func TestBadMacros(t *testing.T) {
	c, cat := openCompiler(t), corpusCatalog(t)
	runCorpus(t, "testdata/badmacros.txt", func(text string) string {
		macros, problems := c.ReadMacros("m.sql", text)
		problems = append(problems, c.CheckMacros(macros, Tables{Catalog: *cat})...)
		var said []string
		for _, p := range problems {
			said = append(said, problemText(t, p))
		}
		return strings.Join(said, "\n")
	})
}

func TestNestedViews(t *testing.T) {
	c, cat, d := rewritten(t)
	for name, sql := range map[string]string{
		"v": "SELECT 1", "reads_v": "SELECT * FROM v", "around": "SELECT *\nFROM late, around", "clock": "SELECT origin\nFROM flights WHERE date < now()",
		"broken": "SELECT origin, delai FROM flights", "bad_syntax": "SELECT origin\nFRM flights", "large_0": "SELECT delay FROM flights",
	} {
		cat.ViewTexts[name] = ViewText{File: "views/" + name + ".sql", SQL: sql}
	}
	for i := range 10 {
		name := fmt.Sprint("large_", i+1)
		cat.ViewTexts[name] = ViewText{File: "views/" + name + ".sql", SQL: fmt.Sprintf("SELECT a.delay FROM large_%d AS a, large_%[1]d AS b", i)}
	}
	runCorpus(t, "testdata/nested.txt", func(sql string) string { return compiled(t, c, cat, d, sql) })
}
