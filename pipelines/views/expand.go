package views

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// mostExpansions bounds how many macros and views one SELECT is made of: each may double the next.
const mostExpansions = 2000

// expander replaces what stands for other SQL by that SQL: calls of macros, names of views, stars and COLUMNS(...),
// PIVOT and UNPIVOT. It changes the tree it is given.
type expander struct {
	c      *Compiler
	src    *source
	macros []*Macros // the first that has a name counts
	table  func(n node) (schema, name string, columns []Column, ok bool)
	view   func(name string) (string, ViewText, bool) // nil: views stay tables
	stars  bool                                       // replace stars and PIVOT too
	within []string                                   // views that are being put in, outermost first
	count  int                                        // macros and views put in
	made   map[string]bool                            // tables made in the engine
	tables int                                        // those made for common table expressions
	err    error
}

// expand puts everything into the view's query that stands for other SQL. Texts it takes from elsewhere are added to src.
func (b *build) expand(src *source) error {
	x := &expander{c: b.c, src: src, macros: b.c.allMacros(src, b.cat), within: []string{b.view.Name}, stars: true}
	x.view = func(name string) (string, ViewText, bool) {
		declared, text, ok := lookup(b.cat.ViewTexts, name)
		if _, _, isTable := b.cat.table(name); !ok && !isTable && strings.EqualFold(name, b.view.Name) {
			return b.view.Name, text, true // inlined refuses it
		}
		return declared, text, ok
	}
	x.table = func(n node) (string, string, []Column, bool) {
		name, cols, ok := b.cat.table(str(n, "table_name"))
		return "", name, cols, ok
	}
	x.query(b.query, nil, nil)
	return x.err
}

// expand puts the macros' bodies into the query; views are tables to it.
func (a *adhoc) expand(src *source) error {
	x := &expander{c: a.c, src: src, macros: a.c.allMacros(src, &a.known.Catalog)}
	x.table = func(n node) (string, string, []Column, bool) {
		t, cols, ok := a.table(n)
		return t.Schema, t.Name, cols, ok
	}
	x.query(a.query, nil, nil)
	return x.err
}

// allMacros are those that a query may call.
func (c *Compiler) allMacros(src *source, cat *Catalog) []*Macros {
	out := []*Macros{c.builtin}
	if cat.Macros != nil {
		out = append(out, cat.Macros)
	}
	for _, m := range out {
		for _, one := range m.all() {
			src.macros = append(src.macros, one.name)
		}
	}
	return out
}

// known says whether something of that name can be read.
func (x *expander) known(name string) bool {
	t := node{"table_name": name}
	if _, _, _, ok := x.table(t); ok || x.view == nil {
		return ok
	}
	_, _, ok := x.view(name)
	return ok
}

// makeTable makes a table in the engine, if there is one of that name.
func (x *expander) makeTable(t node) {
	schema, name, cols, ok := x.table(t)
	if key := schema + "." + name; ok && !x.made[key] {
		if x.made == nil {
			x.made = map[string]bool{}
		}
		x.made[key] = true
		if err := x.c.createTable(schema, name, cols); err != nil {
			x.fail(err)
		}
	}
}

// table is a topic or a reference, as a table.
func (c *Catalog) table(name string) (string, []Column, bool) {
	if k, t, ok := lookup(c.Topics, name); ok {
		return k, topicColumns(t), true
	}
	if k, r, ok := lookup(c.References, name); ok {
		return k, r.Columns, true
	}
	return "", nil, false
}

// frame is what names mean at a place in a query.
type frame struct {
	ctes   map[string]*cte // those in scope, by lower-case name
	from   node            // the tables whose columns are in scope; nil: none
	items  []node          // the SELECT list, whose aliases are in scope; nil: it is not
	outer  *frame          // of the SELECT around
	params []string        // of the lambdas around, in lower case
	nested bool            // it is of a query within an argument
	leaves []leaf          // of from, once asked for
}

// cte is a common table expression.
type cte struct {
	query   node
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
		x.fail(x.src.wrong(at, "macros and views make it too large", fmt.Sprintf("let it use fewer; %d may be put in, each counted as often as it is used", mostExpansions)))
	}
	return x.err == nil
}

// query expands a query where it stands.
func (x *expander) query(q node, outer *frame, ctes map[string]*cte) {
	x.renameCTEs(q)
	ctes = maps.Clone(ctes)
	if ctes == nil {
		ctes = map[string]*cte{}
	}
	for _, e := range nodes(list(sub(q, "cte_map"), "map")) {
		value := sub(e, "value")
		inner := sub(sub(value, "query"), "node")
		x.query(inner, outer, ctes)
		ctes[strings.ToLower(str(e, "key"))] = &cte{query: inner, aliases: list(value, "aliases"), ctes: maps.Clone(ctes), outer: outer}
	}
	f := &frame{ctes: ctes, outer: outer}
	switch str(q, "type") {
	case "SELECT_NODE":
		x.selectNode(q, f)
	case "RECURSIVE_CTE_NODE":
		x.query(sub(q, "left"), outer, ctes)
		self := maps.Clone(ctes)
		self[strings.ToLower(str(q, "cte_name"))] = &cte{query: sub(q, "left"), aliases: list(q, "aliases"), ctes: ctes, outer: outer}
		x.query(sub(q, "right"), outer, self)
	default:
		x.query(sub(q, "left"), outer, ctes)
		x.query(sub(q, "right"), outer, ctes)
		q["modifiers"] = x.expr(q["modifiers"], f)
	}
}

func (x *expander) selectNode(q node, f *frame) {
	from := f.from
	if t := sub(q, "from_table"); t != nil {
		from = x.from(t, f)
		q["from_table"] = from
	}
	f.from, f.leaves = from, nil
	items := nodes(list(q, "select_list"))
	for i, item := range items {
		x.item(q, i, item, f)
	}
	f.items = nodes(list(q, "select_list"))
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
func (x *expander) item(q node, i int, item node, f *frame) {
	before := clone(item)
	f.items = nodes(list(q, "select_list"))[:i]
	after := x.expr(item, f).(node)
	if x.err != nil {
		return
	}
	if str(before, "alias") == "" && class(before) != "STAR" && encodeTree(before) != encodeTree(after) {
		name, err := x.c.printExpr(before)
		if err != nil {
			x.fail(err)
			return
		}
		after["alias"] = name
	}
	list(q, "select_list")[i] = after
}

// expr expands the expressions of a tree, inner ones first, and returns what stands for it.
func (x *expander) expr(v any, f *frame) any {
	if x.err != nil {
		return v
	}
	n, ok := v.(node)
	if !ok {
		children(v, func(c any) any { return x.expr(c, f) })
		return v
	}
	if isQuery(n) {
		x.query(n, f, f.ctes)
		return n
	}
	inner := f
	switch class(n) {
	case "FUNCTION":
		n = x.dotCall(n)
		if params := lambdaParams(n); len(params) > 0 {
			x.renameParameters(n, params, f)
			inner = f.with(lambdaParams(n))
		}
	case "WINDOW":
		if _, ok := x.overloads(n, false); ok {
			x.fail(x.src.wrong(location(n), fmt.Sprintf("the macro %s may not have OVER", str(n, "function_name")), "put the window function into the macro: sum(x) OVER (...)"))
			return n
		}
	}
	children(n, func(c any) any { return x.expr(c, inner) })
	if class(n) == "FUNCTION" && x.err == nil {
		return x.call(n, f)
	}
	return n
}

// renameParameters gives other names to lambda parameters that a column of a subquery has: DuckDB prints x -> x + 1 for
// lambda x: x + 1, and takes the x before the arrow for the column then.
func (x *expander) renameParameters(n node, params []string, f *frame) {
	if f.outer == nil {
		return
	}
	for _, p := range params {
		name := p
		for slices.ContainsFunc(x.leavesOf(f), func(l leaf) bool { return l.has(name) }) {
			name += "_"
		}
		if name != p {
			renameLambda(n, p, name)
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
func (x *expander) dotCall(n node) node {
	schema := str(n, "schema")
	if schema == "" || slices.Contains([]string{"main", "system", "pg_catalog"}, strings.ToLower(schema)) {
		return n
	}
	ref := columnRef(schema)
	if catalog := str(n, "catalog"); catalog != "" {
		ref = columnRef(catalog, schema)
	}
	place(ref, location(n))
	n["children"] = append([]any{ref}, list(n, "children")...)
	n["schema"], n["catalog"] = "", ""
	return n
}

// from expands a FROM clause from left to right: what stands to the right may read columns of what stands to the left.
func (x *expander) from(t node, f *frame) node {
	if x.err != nil {
		return t
	}
	switch str(t, "type") {
	case "BASE_TABLE":
		return x.baseTable(t, f)
	case "SUBQUERY":
		left := *f
		x.query(sub(sub(t, "subquery"), "node"), &left, f.ctes)
	case "JOIN":
		before := f.from
		t["left"] = x.from(sub(t, "left"), f)
		f.from, f.leaves = besides(before, sub(t, "left")), nil
		t["right"] = x.from(sub(t, "right"), f)
		f.from, f.leaves = besides(before, t), nil
		if condition := t["condition"]; condition != nil {
			t["condition"] = trueNode() // while the tables' columns are asked for, which do not hang on it
			t["condition"] = x.expr(condition, f)
		}
		f.from, f.leaves = before, nil
	case "TABLE_FUNCTION":
		return x.tableFunction(t, f)
	case "PIVOT":
		return x.pivot(t, f)
	default:
		children(t, func(c any) any { return x.expr(c, f) })
	}
	return t
}

func trueNode() node {
	return node{"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "query_location": nowhere,
		"value": node{"type": node{"id": "BOOLEAN", "type_info": nil}, "is_null": false, "value": true}}
}

// besides is a FROM clause with the tables of two.
func besides(left, right node) node {
	if left == nil || str(left, "type") == "EMPTY" {
		return right
	}
	return node{"type": "JOIN", "alias": "", "sample": nil, "left": left, "right": right, "condition": nil, "join_type": "INNER",
		"ref_type": "CROSS", "using_columns": []any{}, "delim_flipped": false, "duplicate_eliminated_columns": []any{}}
}

// baseTable puts a view in place of its name.
func (x *expander) baseTable(t node, f *frame) node {
	name := str(t, "table_name")
	if str(t, "schema_name") != "" || str(t, "catalog_name") != "" || t["at_clause"] != nil || x.view == nil {
		return t
	}
	if _, ok := f.ctes[strings.ToLower(name)]; ok {
		return t
	}
	declared, text, ok := x.view(name)
	if !ok || !x.more(location(t)) {
		return t
	}
	q := x.inlined(t, declared, text)
	if x.err != nil {
		return t
	}
	return node{"type": "SUBQUERY", "alias": tableAlias(t), "sample": t["sample"], "query_location": t["query_location"],
		"subquery": node{"node": q, "named_param_map": []any{}}, "column_name_alias": t["column_name_alias"]}
}

// inlined is another view's SELECT, expanded.
func (x *expander) inlined(t node, name string, text ViewText) node {
	if i := slices.IndexFunc(x.within, func(v string) bool { return strings.EqualFold(v, name) }); i >= 0 {
		circle := strings.Join(append(slices.Clone(x.within[i:]), name), " reads ")
		x.fail(x.src.wrong(location(t), "a view may not read itself: "+circle, "let one of them read the topic instead"))
		return nil
	}
	at := x.src.include(text.File, text.SQL)
	st, err := x.c.parsePart(*x.src, text.SQL, at)
	if err != nil {
		x.fail(err)
		return nil
	}
	shift(st, at)
	q := sub(st, "node")
	x.within = append(x.within, name)
	x.query(q, nil, nil)
	x.within = x.within[:len(x.within)-1]
	if x.err == nil {
		x.settleOrder(q)
	}
	return q
}

// settleOrder completes the ORDER BY of a view that keeps only some of its rows, as it is when the view itself is asked.
func (x *expander) settleOrder(q node) {
	limited := slices.ContainsFunc(nodes(list(q, "modifiers")), func(m node) bool { return strings.HasPrefix(str(m, "type"), "LIMIT") })
	if !limited {
		return
	}
	if cols, ok := x.describe(q, &frame{}); ok {
		completeOrder(q, len(cols))
	}
}

// renameCTEs gives another name to every common table expression of a query that is named as something in the catalog:
// what is put into the query later means the catalog's.
func (x *expander) renameCTEs(q node) {
	entries := nodes(list(sub(q, "cte_map"), "map"))
	for i, e := range entries {
		old := strings.ToLower(str(e, "key"))
		if !x.known(old) {
			continue
		}
		renameCTE(q, i, x.fresh(old, q))
	}
}

// fresh is a name like another that no table of a tree and nothing in the catalog has.
func (x *expander) fresh(like string, q any) string {
	taken := map[string]bool{}
	walk(q, func(n node) bool {
		for _, key := range []string{"table_name", "key", "cte_name", "alias"} {
			taken[strings.ToLower(str(n, key))] = true
		}
		return true
	})
	for i := 1; ; i++ {
		if name := fmt.Sprintf("%s_%d", like, i); !taken[name] && !x.known(name) {
			return name
		}
	}
}

func renameCTE(q node, i int, name string) {
	entries := nodes(list(sub(q, "cte_map"), "map"))
	old := strings.ToLower(str(entries[i], "key"))
	entries[i]["key"] = name
	if inner := sub(sub(sub(entries[i], "value"), "query"), "node"); str(inner, "type") == "RECURSIVE_CTE_NODE" {
		inner["cte_name"] = name
		children(inner, func(c any) any { renameReads(c, old, name); return c })
	}
	for _, later := range entries[i+1:] {
		renameReads(later["value"], old, name)
	}
	for _, k := range sortedKeys(q) {
		if k != "cte_map" {
			renameReads(q[k], old, name)
		}
	}
}

// renameReads gives a table another name wherever a tree reads it and means the one of the query around.
func renameReads(v any, old, name string) {
	n, ok := v.(node)
	if !ok {
		children(v, func(c any) any { renameReads(c, old, name); return c })
		return
	}
	switch str(n, "type") {
	case "BASE_TABLE":
		if str(n, "schema_name") == "" && str(n, "catalog_name") == "" && strings.EqualFold(str(n, "table_name"), old) {
			n["alias"], n["table_name"] = tableAlias(n), name
		}
		return
	case "RECURSIVE_CTE_NODE":
		if strings.EqualFold(str(n, "cte_name"), old) {
			return
		}
	}
	for _, e := range nodes(list(sub(n, "cte_map"), "map")) {
		renameReads(e["value"], old, name)
		if strings.EqualFold(str(e, "key"), old) {
			return
		}
	}
	for _, k := range sortedKeys(n) {
		if k != "cte_map" {
			renameReads(n[k], old, name)
		}
	}
}
