package expand

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// mostExpansions bounds how many macros and views one SELECT is made of: each may double the next.
const mostExpansions = 2000

// Names is what the names in a query may mean.
type Names struct {
	Macros []*Macros // the first that has a name counts
	// Table is a table that may be read, as it is declared.
	Table func(t tree.Node) (schema, name string, columns []engine.Column, ok bool)
	// View is another view's SELECT, by its name in upper or lower case; nil: views are tables.
	View func(name string) (view View, ok bool)
}

// View is a view that others may read by name.
type View struct {
	Name string // as declared
	File string // that has the SELECT, for errors
	SQL  string
}

// Calls puts the bodies of macros in place of their calls in a query, which it changes. Texts they come from are added to src.
// Errors: *schemas.Problem of kind Usage at its place in one of the texts.
func Calls(duck *engine.Conn, src *tree.Source, query tree.Node, names Names) error {
	x := newExpander(duck, src, names)
	x.query(query, nil, nil)
	return x.err
}

// Everything puts into the query of a view, which it changes, all that stands for other SQL: macros, other views, stars and
// COLUMNS(...), PIVOT and UNPIVOT. Texts that come from elsewhere are added to src. What DuckDB would not give the same
// columns for stays as it is.
// Errors: *schemas.Problem of kind Usage at its place in one of the texts.
func Everything(duck *engine.Conn, src *tree.Source, name string, query tree.Node, names Names) error {
	x := newExpander(duck, src, names)
	x.within, x.stars = []string{name}, true
	x.query(query, nil, nil)
	return x.err
}

// expander is one such run.
type expander struct {
	Names
	duck   *engine.Conn
	src    *tree.Source
	stars  bool            // replace stars and PIVOT too
	within []string        // views that are being put in, outermost first
	count  int             // macros and views put in
	made   map[string]bool // tables made in the engine
	tables int             // those made for common table expressions
	err    error
}

func newExpander(duck *engine.Conn, src *tree.Source, names Names) *expander {
	for _, m := range names.Macros {
		for _, one := range m.all() {
			src.Macros = append(src.Macros, one.name)
		}
	}
	return &expander{Names: names, duck: duck, src: src}
}

// known says whether something of that name can be read.
func (x *expander) known(name string) bool {
	t := tree.Node{"table_name": name}
	if _, _, _, ok := x.Table(t); ok || x.View == nil {
		return ok
	}
	_, ok := x.View(name)
	return ok
}

// makeTable makes a table in the engine, if there is one of that name.
func (x *expander) makeTable(t tree.Node) {
	schema, name, cols, ok := x.Table(t)
	if key := schema + "." + name; ok && !x.made[key] {
		if x.made == nil {
			x.made = map[string]bool{}
		}
		x.made[key] = true
		if err := x.duck.CreateTable(schema, name, cols); err != nil {
			x.fail(err)
		}
	}
}

// frame is what names mean at a place in a query.
type frame struct {
	ctes   map[string]*cte // those in scope, by lower-case name
	from   tree.Node       // the tables whose columns are in scope; nil: none
	items  []tree.Node     // the SELECT list, whose aliases are in scope; nil: it is not
	outer  *frame          // of the SELECT around
	params []string        // of the lambdas around, in lower case
	nested bool            // it is of a query within an argument
	leaves []leaf          // of from, once asked for
}

// cte is a common table expression.
type cte struct {
	query   tree.Node
	aliases []any
	ctes    map[string]*cte // what its own names mean
	outer   *frame          // of the SELECT around
	table   string          // the empty table with its columns, once made
}

func (x *expander) fail(err error) {
	if x.err == nil {
		x.err = err
	}
}

// more counts an expansion at a place.
func (x *expander) more(at int) bool {
	if x.count++; x.count > mostExpansions {
		x.fail(x.src.Wrong(at, "macros and views make it too large", fmt.Sprintf("let it use fewer; %d may be put in, each counted as often as it is used", mostExpansions)))
	}
	return x.err == nil
}

// query expands a query where it stands.
func (x *expander) query(q tree.Node, outer *frame, ctes map[string]*cte) {
	x.renameCTEs(q)
	ctes = maps.Clone(ctes)
	if ctes == nil {
		ctes = map[string]*cte{}
	}
	for _, e := range q.Sub("cte_map").Nodes("map") {
		value := e.Sub("value")
		inner := value.Sub("query").Sub("node")
		x.query(inner, outer, ctes)
		ctes[strings.ToLower(e.Str("key"))] = &cte{query: inner, aliases: value.List("aliases"), ctes: maps.Clone(ctes), outer: outer}
	}
	f := &frame{ctes: ctes, outer: outer}
	switch q.Str("type") {
	case "SELECT_NODE":
		x.selectNode(q, f)
	case "RECURSIVE_CTE_NODE":
		x.query(q.Sub("left"), outer, ctes)
		self := maps.Clone(ctes)
		self[strings.ToLower(q.Str("cte_name"))] = &cte{query: q.Sub("left"), aliases: q.List("aliases"), ctes: ctes, outer: outer}
		x.query(q.Sub("right"), outer, self)
	default:
		x.query(q.Sub("left"), outer, ctes)
		x.query(q.Sub("right"), outer, ctes)
		q["modifiers"] = x.expr(q["modifiers"], f)
	}
}

func (x *expander) selectNode(q tree.Node, f *frame) {
	from := f.from
	if t := q.Sub("from_table"); t != nil {
		from = x.from(t, f)
		q["from_table"] = from
	}
	f.from, f.leaves = from, nil
	items := q.Nodes("select_list")
	for i, item := range items {
		x.item(q, i, item, f)
	}
	f.items = q.Nodes("select_list")
	for _, clause := range []string{"where_clause", "group_expressions", "having", "qualify", "modifiers"} {
		if q[clause] != nil {
			q[clause] = x.expr(q[clause], f)
		}
	}
	if x.stars && x.err == nil {
		x.expandStars(q, f)
	}
}

// item expands one expression of a SELECT list, which keeps the name that it had.
func (x *expander) item(q tree.Node, i int, item tree.Node, f *frame) {
	before := item.Clone()
	f.items = q.Nodes("select_list")[:i]
	after := x.expr(item, f).(tree.Node)
	if x.err != nil {
		return
	}
	if before.Str("alias") == "" && before.Class() != "STAR" && tree.Encode(before) != tree.Encode(after) {
		name, err := x.duck.PrintExpr(before)
		if err != nil {
			x.fail(err)
			return
		}
		after["alias"] = name
	}
	q.List("select_list")[i] = after
}

// expr expands the expressions of a tree, inner ones first, and returns what stands for it.
func (x *expander) expr(v any, f *frame) any {
	if x.err != nil {
		return v
	}
	n, ok := v.(tree.Node)
	if !ok {
		tree.Children(v, func(c any) any { return x.expr(c, f) })
		return v
	}
	if n.IsQuery() {
		x.query(n, f, f.ctes)
		return n
	}
	inner := f
	switch n.Class() {
	case "FUNCTION":
		n = x.dotCall(n)
		if params := n.LambdaParams(); len(params) > 0 {
			x.renameParameters(n, params, f)
			inner = f.with(n.LambdaParams())
		}
	case "WINDOW":
		if _, ok := x.overloads(n, false); ok {
			x.fail(x.src.Wrong(n.Location(), fmt.Sprintf("the macro %s may not have OVER", n.Str("function_name")), "put the window function into the macro: sum(x) OVER (...)"))
			return n
		}
	}
	tree.Children(n, func(c any) any { return x.expr(c, inner) })
	if n.Class() == "FUNCTION" && x.err == nil {
		return x.call(n, f)
	}
	return n
}

// renameParameters gives other names to lambda parameters that a column of a subquery has: DuckDB prints x -> x + 1 for
// lambda x: x + 1, and takes the x before the arrow for the column then.
func (x *expander) renameParameters(n tree.Node, params []string, f *frame) {
	if f.outer == nil {
		return
	}
	for _, p := range params {
		name := p
		for slices.ContainsFunc(x.leavesOf(f), func(l leaf) bool { return l.has(name) }) {
			name += "_"
		}
		if name != p {
			tree.RenameLambda(n, p, name)
		}
	}
}

// with is the frame inside of a lambda.
func (f *frame) with(params []string) *frame {
	g := *f
	g.params = append(slices.Clip(f.params), params...)
	return &g
}

// dotCall writes list.len() as len(list).
func (x *expander) dotCall(n tree.Node) tree.Node {
	schema := n.Str("schema")
	if schema == "" || slices.Contains([]string{"main", "system", "pg_catalog"}, strings.ToLower(schema)) {
		return n
	}
	ref := tree.ColumnRef(schema)
	if catalog := n.Str("catalog"); catalog != "" {
		ref = tree.ColumnRef(catalog, schema)
	}
	ref.SetLocation(n.Location())
	n["children"] = append([]any{ref}, n.List("children")...)
	n["schema"], n["catalog"] = "", ""
	return n
}

// from expands a FROM clause from left to right: what stands to the right may read columns of what stands to the left.
func (x *expander) from(t tree.Node, f *frame) tree.Node {
	if x.err != nil {
		return t
	}
	switch t.Str("type") {
	case "BASE_TABLE":
		return x.baseTable(t, f)
	case "SUBQUERY":
		left := *f
		x.query(t.Sub("subquery").Sub("node"), &left, f.ctes)
	case "JOIN":
		before := f.from
		t["left"] = x.from(t.Sub("left"), f)
		f.from, f.leaves = tree.CrossJoin(before, t.Sub("left")), nil
		t["right"] = x.from(t.Sub("right"), f)
		f.from, f.leaves = tree.CrossJoin(before, t), nil
		if condition := t["condition"]; condition != nil {
			t["condition"] = tree.True() // while the tables' columns are asked for, which do not hang on it
			t["condition"] = x.expr(condition, f)
		}
		f.from, f.leaves = before, nil
	case "TABLE_FUNCTION":
		return x.tableFunction(t, f)
	case "PIVOT":
		return x.pivot(t, f)
	default:
		tree.Children(t, func(c any) any { return x.expr(c, f) })
	}
	return t
}

// baseTable puts a view in place of its name.
func (x *expander) baseTable(t tree.Node, f *frame) tree.Node {
	name := t.Str("table_name")
	if t.Str("schema_name") != "" || t.Str("catalog_name") != "" || t["at_clause"] != nil || x.View == nil {
		return t
	}
	if _, ok := f.ctes[strings.ToLower(name)]; ok {
		return t
	}
	view, ok := x.View(name)
	if !ok || !x.more(t.Location()) {
		return t
	}
	q := x.inlined(t, view)
	if x.err != nil {
		return t
	}
	return tree.SubqueryFor(t, q, t.TableAlias())
}

// inlined is another view's SELECT, expanded.
func (x *expander) inlined(t tree.Node, view View) tree.Node {
	if i := slices.IndexFunc(x.within, func(v string) bool { return strings.EqualFold(v, view.Name) }); i >= 0 {
		circle := strings.Join(append(slices.Clone(x.within[i:]), view.Name), " reads ")
		x.fail(x.src.Wrong(t.Location(), "a view may not read itself: "+circle, "let one of them read the topic instead"))
		return nil
	}
	at := x.src.Include(view.File, view.SQL)
	st, err := x.duck.ParsePart(*x.src, view.SQL, at)
	if err != nil {
		x.fail(err)
		return nil
	}
	tree.Shift(st, at)
	q := st.Sub("node")
	x.within = append(x.within, view.Name)
	x.query(q, nil, nil)
	x.within = x.within[:len(x.within)-1]
	if x.err == nil {
		x.settleOrder(q)
	}
	return q
}

// settleOrder completes the ORDER BY of a view that keeps only some of its rows, as it is when the view itself is asked.
func (x *expander) settleOrder(q tree.Node) {
	limited := slices.ContainsFunc(q.Nodes("modifiers"), func(m tree.Node) bool { return strings.HasPrefix(m.Str("type"), "LIMIT") })
	if !limited {
		return
	}
	if cols, ok := x.describe(q, &frame{}); ok {
		tree.CompleteOrder(q, len(cols))
	}
}

// renameCTEs gives another name to every common table expression of a query that is named as something in the catalog:
// what is put into the query later means the catalog's.
func (x *expander) renameCTEs(q tree.Node) {
	entries := q.Sub("cte_map").Nodes("map")
	for i, e := range entries {
		old := strings.ToLower(e.Str("key"))
		if !x.known(old) {
			continue
		}
		tree.RenameCTE(q, i, x.fresh(old, q))
	}
}

// fresh is a name like another that no table of a tree and nothing in the catalog has.
func (x *expander) fresh(like string, q any) string {
	taken := map[string]bool{}
	tree.Walk(q, func(n tree.Node) bool {
		for _, key := range []string{"table_name", "key", "cte_name", "alias"} {
			taken[strings.ToLower(n.Str(key))] = true
		}
		return true
	})
	for i := 1; ; i++ {
		if name := fmt.Sprintf("%s_%d", like, i); !taken[name] && !x.known(name) {
			return name
		}
	}
}
