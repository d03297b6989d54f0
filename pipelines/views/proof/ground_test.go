// Package proof_test holds how views are proven: what an analyst would write and its answers (testdata/views), whole sets
// of queries that others wrote (testdata/queries), and SELECTs made at random. Whatever the compiler says of a view, its
// answer is what DuckDB gives for the view's own text over all rows: from raw, and from partials of the rows cut in any
// way and merged in any order.
package proof_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// ground is a compiler, its catalog, and one DuckDB connection that holds the tables the catalog tells of.
type ground struct {
	compiler *views.Compiler
	catalog  views.Catalog
	conn     *sql.Conn
}

// reporter is *testing.T or *rapid.T.
type reporter interface {
	Helper()
	Errorf(string, ...any)
	Fatalf(string, ...any)
}

func newGround(t *testing.T) *ground {
	t.Helper()
	g := &ground{catalog: views.Catalog{Topics: map[string]*schemas.Topic{}, References: map[string]*views.Reference{}, ViewTexts: map[string]views.ViewText{}}}
	var err error
	if g.compiler, err = views.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.compiler.Close() })
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if g.conn, err = db.Conn(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.conn.Close() })
	g.exec(t, "SET threads = 1")
	g.exec(t, "SET TimeZone = 'UTC'")
	g.exec(t, readFile(t, "../internal/expand/builtin.sql"))
	return g
}

func (g *ground) exec(t reporter, query string) {
	t.Helper()
	if err := g.try(query); err != nil {
		t.Fatalf("%v\n%s", err, query)
	}
}

func (g *ground) try(query string) error {
	_, err := g.conn.ExecContext(context.Background(), query)
	return err
}

// places gives the system columns of the record at each index from 0. Records are in append order as DuckDB reads them:
// several have one append time, where the partition decides, and some of those one partition, where the offset does.
const places = `SELECT i, CASE i % 4 WHEN 2 THEN 1 WHEN 3 THEN 2 ELSE 0 END AS _partition,
	CASE i % 4 WHEN 0 THEN i // 4 * 2 WHEN 1 THEN i // 4 * 2 + 1 ELSE i // 4 END AS _offset,
	make_timestamptz(1704067200000000 + i // 4 * 1000000) AS _timestamp,
	NULL::BLOB AS _key, NULL::STRUCT(key VARCHAR, value BLOB)[] AS _headers, NULL::JSON AS _extra
	FROM range((SELECT count(*) FROM given)) AS r(i)`

// topic makes a topic's table of the rows that a SELECT gives, in their order. The SELECT gives the fields by name, and
// may give system columns too; the others are made up.
func (g *ground) topic(t reporter, topic *schemas.Topic, rows string) {
	t.Helper()
	g.catalog.Topics[topic.Name] = topic
	var columns, given []string
	for _, f := range topic.Fields {
		columns = append(columns, fmt.Sprintf("CAST(r.%s AS %s) AS %[1]s", schemas.QuoteIdent(f.Name), f.Type))
	}
	g.exec(t, "CREATE OR REPLACE TEMP TABLE given AS "+rows)
	for _, c := range g.columns(t, "given") {
		given = append(given, c.Name)
	}
	for _, f := range schemas.SystemFields() {
		from := "p"
		for _, name := range given {
			if name == f.Name {
				from = "r"
			}
		}
		columns = append(columns, fmt.Sprintf("CAST(%s.%s AS %s) AS %[2]s", from, f.Name, f.Type))
	}
	g.exec(t, fmt.Sprintf("CREATE OR REPLACE TABLE %s AS SELECT %s FROM given AS r POSITIONAL JOIN (%s) AS p ORDER BY p.i",
		schemas.QuoteIdent(topic.Name), strings.Join(columns, ", "), places))
}

// reference makes a reference's table of the rows that a SELECT gives.
func (g *ground) reference(t reporter, name, rows string) {
	t.Helper()
	g.exec(t, fmt.Sprintf("CREATE OR REPLACE TABLE %s AS %s", schemas.QuoteIdent(name), rows))
	g.catalog.References[name] = &views.Reference{Name: name, SQL: rows, Hash: "1", Columns: g.columns(t, name)}
}

// macros makes the project's macros.
func (g *ground) macros(t reporter, text string) {
	t.Helper()
	g.exec(t, text)
	var problems []*schemas.Problem
	if g.catalog.Macros, problems = g.compiler.ReadMacros("_macros.sql", text); len(problems) > 0 {
		t.Fatalf("%v", problems[0])
	}
}

func (g *ground) columns(t reporter, table string) []views.Column {
	t.Helper()
	rows, err := g.conn.QueryContext(context.Background(), "SELECT column_name, column_type FROM (DESCRIBE "+schemas.QuoteIdent(table)+")")
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer rows.Close()
	var out []views.Column
	for rows.Next() {
		var c views.Column
		if err := rows.Scan(&c.Name, &c.Type); err != nil {
			t.Fatalf("%v", err)
		}
		out = append(out, c)
	}
	return out
}

// compile compiles a view and gives what is left of it after a journey as JSON, as engines get it. Its SELECT without the
// macros and the views that were put in, as the store keeps it for certificates, must be the same definition.
func (g *ground) compile(t reporter, name, text string) (*views.View, error) {
	t.Helper()
	v, err := g.compiler.Compile(name, name+".sql", text, &g.catalog)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%v", err)
	}
	out := new(views.View)
	if err := json.Unmarshal(b, out); err != nil {
		t.Fatalf("%v", err)
	}
	kept, err := g.compiler.Compile(name, "", v.SQL, &views.Catalog{Topics: g.catalog.Topics, References: g.catalog.References})
	if err != nil {
		t.Fatalf("%s\nkept as %s: %v", text, v.SQL, err)
	}
	if kept.Definition != v.Definition && !strings.Contains(v.SQL, "(VALUES ") { // DuckDB prints one SELECT more around VALUES
		t.Fatalf("%s\nis kept as   %s\nwhich means %s", text, v.SQL, kept.SQL)
	}
	return out, nil
}

// answer is the rows of an answer, each value as DuckDB's text of it; nil is NULL.
type answer struct {
	columns []views.Column
	rows    [][]*string
}

// ask runs a SELECT as it stands.
func (g *ground) ask(t reporter, query string) (answer, error) {
	t.Helper()
	if err := g.try("CREATE OR REPLACE TEMP TABLE answer AS " + query); err != nil {
		return answer{}, fmt.Errorf("%w\n%s", err, query)
	}
	a, err := g.text(t, "FROM answer")
	a.columns = g.columns(t, "answer")
	return a, err
}

// text runs a SELECT within another and leaves out the columns' types, which is cheaper.
func (g *ground) text(t reporter, query string) (answer, error) {
	t.Helper()
	rows, err := g.conn.QueryContext(context.Background(), "SELECT CAST(COLUMNS(*) AS VARCHAR) FROM ("+query+")")
	if err != nil {
		return answer{}, fmt.Errorf("%w\n%s", err, query)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatalf("%v", err)
	}
	var a answer
	for _, name := range names {
		a.columns = append(a.columns, views.Column{Name: name})
	}
	for rows.Next() {
		row, into := make([]*string, len(names)), make([]any, len(names))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatalf("%v", err)
		}
		a.rows = append(a.rows, row)
	}
	return a, rows.Err()
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
