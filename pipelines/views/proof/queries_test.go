package proof_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/testdata"
)

// coverage is the page whose tables say what becomes of each query.
const coverage = "../../../docs/views-coverage.md"

// querySet is queries that others wrote, over tables made for them. Of the tables that a query reads the largest is the
// topic and the others are references.
type querySet struct {
	name string // of its folder
	make func(t *testing.T, g *ground)
}

var querySets = []querySet{
	{"tpch", func(t *testing.T, g *ground) { g.tpch(t, "main") }},
	{"ssb", func(t *testing.T, g *ground) {
		g.tpch(t, "tpch")
		g.exec(t, readFile(t, queriesDir+"ssb/data.sql"))
	}},
	{"nexmark", func(t *testing.T, g *ground) { g.exec(t, readFile(t, queriesDir+"nexmark/data.sql")) }},
}

const queriesDir = "../../../testdata/queries/"

// tpch makes the tables of TPC-H in a schema.
func (g *ground) tpch(t *testing.T, schema string) {
	t.Helper()
	g.exec(t, "CREATE SCHEMA IF NOT EXISTS "+schema)
	for _, table := range []string{"lineitem", "orders", "customer", "part", "partsupp", "supplier", "nation", "region"} {
		g.exec(t, fmt.Sprintf("CREATE TABLE %s.%s AS SELECT * FROM '%stpch/data/%[2]s.parquet'", schema, table, queriesDir))
	}
}

// query is one of a set.
type query struct {
	file, title, sql string
	plain            string // the same in DuckDB's own words, if sql has others
}

func readQueries(t *testing.T, dir string) []query {
	t.Helper()
	files, err := filepath.Glob(queriesDir + dir + "/[0-9]*.sql")
	if err != nil {
		t.Fatal(err)
	}
	var out []query
	for _, f := range files {
		if strings.HasSuffix(f, ".plain.sql") {
			continue
		}
		text := readFile(t, f)
		title, _, ok := strings.Cut(strings.TrimPrefix(text, "-- "), "\n")
		if !ok || !strings.HasPrefix(text, "-- ") {
			t.Fatalf("%s does not begin with a comment that says what it asks", f)
		}
		q := query{file: strings.TrimSuffix(filepath.Base(f), ".sql"), title: title, sql: text}
		if plain, err := os.ReadFile(strings.TrimSuffix(f, ".sql") + ".plain.sql"); err == nil {
			q.plain = string(plain)
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		out = append(out, q)
	}
	return out
}

// TestQueries compiles the queries of each set and holds every answer to DuckDB's, and the page's tables to the classes.
func TestQueries(t *testing.T) {
	for _, set := range querySets {
		t.Run(set.name, func(t *testing.T) {
			g := newGround(t)
			set.make(t, g)
			made := g.tables(t)
			var lines []string
			for _, q := range readQueries(t, set.name) {
				t.Run(q.file, func(t *testing.T) { lines = append(lines, g.query(t, made, q)) })
			}
			holdTable(t, set.name, lines)
		})
	}
}

// tables is the tables of the main schema, each with its number of rows.
func (g *ground) tables(t *testing.T) map[string]int {
	t.Helper()
	names, err := g.ask(t, "SELECT table_name, estimated_size FROM duckdb_tables() WHERE schema_name = 'main' AND NOT temporary")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for _, row := range names.rows {
		if out[*row[0]], err = strconv.Atoi(*row[1]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// query proves one query and gives its line of the page.
func (g *ground) query(t *testing.T, made map[string]int, q query) string {
	topic := g.arrange(t, made, q.sql)
	v, err := g.compile(t, "v", q.sql)
	if err == nil {
		text := q.sql
		if q.plain != "" {
			text = q.plain
		}
		want, err := g.ask(t, text)
		if err != nil {
			t.Fatal(err)
		}
		if len(want.rows) == 0 || !slices.ContainsFunc(want.rows[0], func(v *string) bool { return v != nil }) {
			t.Errorf("its answer over this data is empty, which proves nothing:\n%s", want)
		}
		g.prove(t, v, want, g.rounding(t, v), q.title, 4)
	}
	_, says := classText(t, v, err)
	return pageLine(q.file+" "+q.title, topic, says)
}

// arrange makes a catalog of the tables that a query reads: the largest is the topic.
func (g *ground) arrange(t *testing.T, made map[string]int, sql string) string {
	t.Helper()
	g.catalog = views.Catalog{Topics: map[string]*schemas.Topic{}, References: map[string]*views.Reference{}}
	topic := ""
	for name, size := range made {
		columns := g.columns(t, name)
		if !reads(sql, name) {
			continue
		}
		if topic == "" || size > made[topic] {
			topic = name
		}
		g.catalog.References[name] = &views.Reference{Name: name, SQL: "FROM " + schemas.QuoteIdent(name), Hash: "1", Columns: columns}
	}
	if topic == "" {
		t.Fatalf("it reads no table:\n%s", sql)
	}
	columns := slices.DeleteFunc(g.catalog.References[topic].Columns, func(c views.Column) bool { return strings.HasPrefix(c.Name, "_") })
	delete(g.catalog.References, topic)
	if len(columns) == len(g.columns(t, topic)) { // no topic yet
		g.topic(t, declare(t, topic, columns), "FROM "+schemas.QuoteIdent(topic))
	} else {
		g.catalog.Topics[topic] = declare(t, topic, columns)
	}
	return topic
}

// reads says whether a table's name stands in a query as a word.
func reads(sql, table string) bool {
	return slices.Contains(strings.FieldsFunc(sql, func(r rune) bool {
		return r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}), table)
}

func pageLine(what, topic, says string) string {
	class, why, _ := strings.Cut(strings.TrimPrefix(says, "refused "), ": ")
	if strings.HasPrefix(says, "refused") {
		class, why = "refused", strings.TrimPrefix(says, "refused ")
	}
	if class == "raw" {
		class = "from raw"
	}
	return fmt.Sprintf("| %s | %s | %s | %s |", what, topic, class, strings.ReplaceAll(why, "|", "\\|"))
}

// holdTable compares the lines of the page's table of that name, or makes them anew.
func holdTable(t *testing.T, name string, lines []string) {
	t.Helper()
	if t.Failed() {
		return
	}
	page := readFile(t, coverage)
	begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->\n"
	before, rest, ok1 := strings.Cut(page, begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no table between %s and %s", coverage, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	table := "| query | topic | answered | why |\n|---|---|---|---|\n" + strings.Join(lines, "\n") + "\n"
	if !*rewrite && old != table {
		t.Errorf("%s says of %s\n%s\nnot\n%s\n-rewrite makes it anew", coverage, name, old, table)
	}
	if *rewrite {
		if err := os.WriteFile(coverage, []byte(before+begin+table+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestExampleQueries does the same for the ten views of the flights example, over its 60,000 flights.
func TestExampleQueries(t *testing.T) {
	example, err := testdata.Example("flights")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, example); err != nil {
		t.Fatal(err)
	}
	p, problems := project.Open(dir)
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	g := newGround(t)
	for _, r := range p.References {
		loaded, err := views.LoadReference(r.Name, r.Path, r.Fields)
		if err != nil {
			t.Fatal(err)
		}
		g.reference(t, r.Name, loaded.SQL)
	}
	file := filepath.Join(dir, "flights.ndjson")
	payloads, err := testdata.Flights()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, b := range payloads {
		text.Write(append(b, '\n'))
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	g.topic(t, p.Topics["flights"], fmt.Sprintf("SELECT * FROM read_json('%s', format = 'newline_delimited', columns = {date: 'TIMESTAMP', delay: 'INTEGER', distance: 'INTEGER', origin: 'VARCHAR', destination: 'VARCHAR'})", file))
	var lines []string
	for _, view := range p.Views {
		t.Run(view.Name, func(t *testing.T) {
			v, err := g.compile(t, view.Name, view.SQL)
			if err != nil {
				t.Fatal(err)
			}
			want, err := g.ask(t, strings.TrimRight(view.SQL, "; \n"))
			if err != nil {
				t.Fatal(err)
			}
			g.prove(t, v, want, g.rounding(t, v), view.Name, 4)
			_, says := classText(t, v, nil)
			lines = append(lines, pageLine(view.Name, v.Topic, says))
		})
	}
	holdTable(t, "flights", lines)
}
