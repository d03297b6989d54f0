package views

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
	"github.com/millrace/millrace/schemas"
)

// Tables is what an ad-hoc query may read: topics, references, views, and rejects.TOPIC, batch.VIEW and speed.VIEW.
type Tables struct {
	Catalog
	Views map[string][]Column
	// Parameters are the values of $name (or $1 for ?), each one constant written in SQL: 5, 'text',
	// TIMESTAMP '2026-01-01 00:00:00'.
	Parameters map[string]string
}

// TableKind says what a table of a query is.
type TableKind string

// The kinds of table that a query may read.
const (
	TopicTable     TableKind = "topic"
	ViewTable      TableKind = "view"
	ReferenceTable TableKind = "reference"
	RejectsTable   TableKind = "rejects" // rejects.TOPIC
	BatchTable     TableKind = "batch"   // batch.VIEW
	SpeedTable     TableKind = "speed"   // speed.VIEW
)

// Table is one table that a query reads.
type Table struct {
	Kind   TableKind
	Schema string // rejects, batch, speed or empty
	Name   string // as declared
	// Columns are those the query may read, in declared order: one too many at times, never one too few. Of a topic
	// never none.
	Columns []string
	Equals  []Equal // what the query demands of every row of the table that counts; others need not be there
}

// Equal is a condition: a column equals a constant.
type Equal struct {
	Column string // as declared
	Value  string // SQL
}

// Query is an ad-hoc SELECT that may run: it reads Tables under their names and nothing else.
type Query struct {
	SQL     string // as DuckDB prints it, parameters filled in
	Tables  []Table
	Columns []Column // the answer's
	Ordered bool     // it says in which order its rows come
}

// RejectColumns are the columns of rejects.TOPIC.
func RejectColumns() []Column {
	var out []Column
	for _, f := range schemas.SystemFields() {
		if f.Name != "_extra" {
			out = append(out, Column{Name: f.Name, Type: f.Type.String()})
		}
	}
	return append(out, Column{Name: "value", Type: "BLOB"}, Column{Name: "field", Type: "VARCHAR"}, Column{Name: "reason", Type: "VARCHAR"})
}

// Query checks one ad-hoc SELECT. It may use now() and the like; it may not read files, settings or the catalog, nor
// change anything. Ties in arg_min and its like over a topic, and in ORDER BY, are settled as in a view.
// Errors: *schemas.Problem of kind Usage.
func (c *Compiler) Query(text string, known Tables) (*Query, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	src := tree.Source{Text: text}
	st, err := c.duck.Parse(src)
	if err != nil {
		return nil, err
	}
	a := &adhoc{duck: c.duck, builtin: c.builtin, src: src, known: known, query: st.Sub("node"), columns: map[string][]Column{}, topics: map[uintptr]bool{}}
	defer c.duck.DropTables()
	if err := a.expand(); err != nil {
		return nil, err
	}
	if err := checkFunctions(c.duck, a.src, a.query, false); err != nil {
		return nil, err
	}
	if err := checkNested(c.duck, a.src, a.query); err != nil {
		return nil, err
	}
	if err := a.bindParameters(); err != nil {
		return nil, err
	}
	if err := a.resolve(); err != nil {
		return nil, err
	}
	if err := checkRowID(a.src, a.query, a.isColumn); err != nil {
		return nil, err
	}
	return a.describe()
}

type adhoc struct {
	duck    *engine.Conn
	builtin *Macros
	src     tree.Source
	known   Tables
	query   tree.Node
	tables  []Table
	columns map[string][]Column // by Schema.Name
	topics  map[uintptr]bool    // the nodes of FROM that are topics, by address
}

// bindParameters puts the values in place.
func (a *adhoc) bindParameters() error {
	var failed error
	tree.Rewrite(a.query, func(n tree.Node) (tree.Node, bool) {
		if failed != nil || n.Class() != "PARAMETER" {
			return nil, false
		}
		name := n.Str("identifier")
		at := a.src.Find(regexp.MustCompile(`\$` + regexp.QuoteMeta(name) + `\b`)) // DuckDB gives it no place
		value, ok := a.known.Parameters[name]
		if !ok {
			failed = a.src.Wrong(at, fmt.Sprintf("the parameter $%s has no value", name), "give it one, or write the value into the query")
			return n, true
		}
		e, err := a.duck.Expr(value)
		if err != nil || !e.IsConstant() {
			failed = a.src.Wrong(at, fmt.Sprintf("the value of $%s is not one constant: %s", name, value), "write 5, 'text' or TIMESTAMP '2026-01-01 00:00:00'")
			return n, true
		}
		tree.MoveTo(e, -1)
		return e.WithAlias(n.Str("alias")), true
	})
	return failed
}

// resolve finds every table, gives it its declared spelling and makes it in the engine.
func (a *adhoc) resolve() error {
	var problem error
	tree.VisitTables(a.query, func(n tree.Node) {
		if problem != nil {
			return
		}
		t, cols, ok := a.table(n)
		if !ok {
			problem = unknownTable(a.src, n, a.names(), "table")
			return
		}
		a.topics[n.Address()] = t.Kind == TopicTable
		n["schema_name"], n["table_name"] = t.Schema, t.Name
		key := t.Schema + "." + t.Name
		if _, seen := a.columns[key]; !seen {
			a.columns[key] = cols
			a.tables = append(a.tables, t)
			problem = a.duck.CreateTable(t.Schema, t.Name, cols)
		}
	})
	return problem
}

func (a *adhoc) table(n tree.Node) (t Table, cols []Column, ok bool) {
	name, schema := n.Str("table_name"), strings.ToLower(n.Str("schema_name"))
	if n.Str("catalog_name") != "" || n["at_clause"] != nil {
		return t, nil, false
	}
	switch t.Schema = schema; schema {
	case "":
		if k, topic, ok := lookup(a.known.Topics, name); ok {
			return Table{Kind: TopicTable, Name: k}, topicColumns(topic), true
		}
		if k, view, ok := lookup(a.known.Views, name); ok {
			return Table{Kind: ViewTable, Name: k}, view, true
		}
		k, ref, ok := lookup(a.known.References, name)
		if ok {
			return Table{Kind: ReferenceTable, Name: k}, ref.Columns, true
		}
	case "rejects":
		t.Kind = RejectsTable
		t.Name, _, ok = lookup(a.known.Topics, name)
		return t, RejectColumns(), ok
	case "batch", "speed":
		t.Kind = TableKind(schema)
		t.Name, cols, ok = lookup(a.known.Views, name)
		return t, cols, ok
	}
	return t, nil, false
}

func (a *adhoc) isColumn(name string) bool {
	for _, cols := range a.columns {
		if slices.ContainsFunc(cols, func(c Column) bool { return strings.EqualFold(c.Name, name) }) {
			return true
		}
	}
	return false
}

// names lists what may be read, for the nearest one.
func (a *adhoc) names() []string {
	topics, views := slices.Sorted(maps.Keys(a.known.Topics)), slices.Sorted(maps.Keys(a.known.Views))
	out := append(slices.Clone(topics), views...)
	out = append(out, slices.Sorted(maps.Keys(a.known.References))...)
	for _, t := range topics {
		out = append(out, "rejects."+t)
	}
	for _, v := range views {
		out = append(out, "batch."+v, "speed."+v)
	}
	return out
}

func (a *adhoc) describe() (*Query, error) {
	q := &Query{}
	var cols []string
	for _, t := range a.tables {
		for _, c := range a.columns[t.Schema+"."+t.Name] {
			cols = append(cols, c.Name)
		}
	}
	var err error
	if q.Columns, err = a.duck.DescribeTree(a.src, a.query, slices.Compact(cols)); err != nil {
		return nil, err
	}
	ties := &settler{duck: a.duck, isTopic: func(t tree.Node) bool { return a.topics[t.Address()] }}
	if err := ties.settleQuery(a.query, nil); err != nil {
		return nil, err
	}
	if q.Ordered = tree.HasOrder(a.query); q.Ordered {
		tree.CompleteOrder(a.query, len(q.Columns))
	}
	used := usedNames(a.query)
	for i, t := range a.tables {
		cols := used.of(t.Name, a.columns[t.Schema+"."+t.Name])
		if t.Kind == TopicTable && len(cols) == 0 {
			cols = []string{"_partition"}
		}
		a.tables[i].Columns = cols
	}
	if err := a.equals(); err != nil {
		return nil, err
	}
	q.Tables = a.tables
	if q.SQL, err = a.duck.Print(a.query); err != nil {
		return nil, err
	}
	if got, err := a.duck.Describe(q.SQL); err != nil || !slices.Equal(got, q.Columns) {
		return nil, fmt.Errorf("query as printed gives %v, not %v: %w", got, q.Columns, err)
	}
	return q, nil
}
