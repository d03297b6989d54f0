package expand

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// overloads are the macros that a call may mean.
func (x *expander) overloads(n tree.Node, table bool) ([]*macro, bool) {
	if schema := strings.ToLower(n.Str("schema")); schema != "" && schema != "main" || n.Str("catalog") != "" || n.Flag("is_operator") {
		return nil, false
	}
	for _, m := range x.Macros {
		name := strings.ToLower(n.Str("function_name"))
		if all, ok := m.kind(table)[name]; ok {
			return all, true
		}
		if m.broken[name] {
			x.fail(x.src.Wrong(n.Location(), fmt.Sprintf("the macro %s has a problem of its own", name), "correct it in "+m.src.File))
		}
	}
	return nil, false
}

// call puts a macro's body in place of a call whose arguments are expanded.
func (x *expander) call(n tree.Node, f *frame) tree.Node {
	all, ok := x.overloads(n, false)
	if !ok {
		if _, ok := x.overloads(n, true); ok {
			x.fail(x.src.Wrong(n.Location(), fmt.Sprintf("%s is a macro that makes a table", n.Str("function_name")), "put it into FROM"))
		}
		return n
	}
	if n.Flag("distinct") || n["filter"] != nil || len(n.Sub("order_bys").List("orders")) > 0 {
		x.fail(x.src.Wrong(n.Location(), fmt.Sprintf("the macro %s may not have DISTINCT, FILTER or ORDER BY", n.Str("function_name")), "put them into the macro's aggregates"))
		return n
	}
	body, ok := x.apply(n, all, f)
	if !ok {
		return n
	}
	alias := n.Str("alias")
	return x.expr(body, f).(tree.Node).WithAlias(alias)
}

// tableFunction puts a table macro's SELECT in place of its call.
func (x *expander) tableFunction(t tree.Node, f *frame) tree.Node {
	fn := x.dotCall(t.Sub("function"))
	tree.Children(fn, func(c any) any { return x.expr(c, f) })
	all, ok := x.overloads(fn, true)
	if _, scalar := x.overloads(fn, false); scalar && !ok {
		x.fail(x.src.Wrong(fn.Location(), fmt.Sprintf("%s is a macro that makes a value", fn.Str("function_name")), "put it into an expression, or define it with AS TABLE SELECT ..."))
	}
	if !ok || x.err != nil {
		return t
	}
	if ordinality := t.Str("with_ordinality"); ordinality != "" && ordinality != "WITHOUT_ORDINALITY" {
		x.fail(x.src.Wrong(fn.Location(), "a macro may not have WITH ORDINALITY", "number the rows in the macro: row_number() OVER ()"))
		return t
	}
	body, ok := x.apply(fn, all, f)
	if !ok {
		return t
	}
	left := *f
	x.query(body, &left, f.ctes)
	return tree.SubqueryFor(t, body, t.Str("alias"))
}

// apply is the body of the macro that a call means, with the call's arguments in it.
func (x *expander) apply(n tree.Node, all []*macro, f *frame) (tree.Node, bool) {
	if !x.more(n.Location()) {
		return nil, false
	}
	m, args, ok := overload(all, n)
	if !ok {
		var forms []string
		for _, m := range all {
			forms = append(forms, x.form(m))
		}
		x.fail(x.src.Wrong(n.Location(), fmt.Sprintf("the macro %s does not take these arguments", all[0].name), "it is "+strings.Join(forms, " or ")))
		return nil, false
	}
	body := m.body.Clone()
	if m.file == nil {
		tree.MoveTo(body, n.Location())
	} else {
		tree.Shift(body, x.src.Include(m.file.File, m.file.Text))
	}
	a := &application{x: x, frame: f, args: args, outside: map[string]tree.Node{}}
	return a.into(body, m.table), x.err == nil
}

// overload finds the one that takes a call's arguments, and the argument of each parameter by lower-case name.
func overload(all []*macro, n tree.Node) (*macro, map[string]tree.Node, bool) {
	for _, m := range all {
		if args, ok := m.bind(n.Nodes("children")); ok {
			return m, args, true
		}
	}
	return nil, nil, false
}

// bind gives each parameter its argument: by position, then by name, then its default.
func (m *macro) bind(given []tree.Node) (map[string]tree.Node, bool) {
	args := map[string]tree.Node{}
	named := false
	for i, arg := range given {
		name := strings.ToLower(arg.Str("alias"))
		if named = named || name != ""; !named {
			if i >= len(m.params) {
				return nil, false
			}
			name = strings.ToLower(m.params[i].name)
		}
		if _, twice := args[name]; twice || !slices.ContainsFunc(m.params, func(p param) bool { return strings.EqualFold(p.name, name) }) {
			return nil, false
		}
		args[name] = arg.Clone().WithAlias("")
	}
	for _, p := range m.params {
		name := strings.ToLower(p.name)
		if _, ok := args[name]; ok {
			continue
		}
		if p.value == nil {
			return nil, false
		}
		args[name] = p.value.Clone()
	}
	return args, true
}

// form is how a macro is called.
func (x *expander) form(m *macro) string {
	var params []string
	for _, p := range m.params {
		text := p.name
		if p.value != nil {
			if value, err := x.duck.PrintExpr(p.value); err == nil {
				text += " := " + value
			}
		}
		params = append(params, text)
	}
	return m.name + "(" + strings.Join(params, ", ") + ")"
}

// application is one call of a macro: it puts arguments in place of parameters, so that an argument's names mean what
// they mean where the call stands.
type application struct {
	x       *expander
	frame   *frame
	args    map[string]tree.Node // by lower-case name of the parameter
	outside map[string]tree.Node // the arguments as they are written inside of a query
}

// into puts the arguments into a body. Within a SELECT of the body, its tables would come before the caller's: the
// arguments then name their tables, and the body's tables get other names where they have the same.
func (a *application) into(body tree.Node, table bool) tree.Node {
	taken := map[string]bool{} // the first names of what the arguments refer to
	tree.Walk(a.argList(), func(n tree.Node) bool {
		if n.Class() == "COLUMN_REF" {
			taken[strings.ToLower(n.ColumnNames()[0])] = true
		}
		return true
	})
	a.renameLambdas(body, taken)
	if len(taken) > 0 && (table || tree.HasQuery(body)) {
		for g := a.frame; g != nil; g = g.outer {
			for _, l := range a.x.leavesOf(g) {
				taken[strings.ToLower(l.alias)] = true
			}
		}
		a.renameTables(body, body, taken)
		a.refuseColumns(body)
	}
	tree.Walk(body, func(n tree.Node) bool {
		for i, e := range n.Sub("cte_map").Nodes("map") {
			if _, ok := a.frame.ctes[strings.ToLower(e.Str("key"))]; ok {
				tree.RenameCTE(n, i, a.fresh(e.Str("key"), body, taken))
			}
		}
		return true
	})
	return a.replace(body, nil, table).(tree.Node)
}

func (a *application) argList() []any {
	var out []any
	for _, name := range slices.Sorted(maps.Keys(a.args)) {
		out = append(out, a.args[name])
	}
	return out
}

// fresh is a name like another that neither the body nor an argument uses.
func (a *application) fresh(like string, body tree.Node, taken map[string]bool) string {
	name := a.x.fresh(like, append(a.argList(), body))
	for taken[name] {
		name += "_"
	}
	return name
}

// replace puts the arguments in place of the parameters. shadows are the aliases of tables around, and the parameters
// of lambdas: they come first.
func (a *application) replace(v any, shadows []string, inQuery bool) any {
	n, ok := v.(tree.Node)
	if !ok {
		tree.Children(v, func(c any) any { return a.replace(c, shadows, inQuery) })
		return v
	}
	if n.IsQuery() {
		inQuery = true
	}
	if n.Str("type") == "SELECT_NODE" {
		for _, t := range tree.FromTables(n.Sub("from_table")) {
			shadows = append(slices.Clip(shadows), "."+strings.ToLower(t.TableAlias()))
		}
	}
	if n.Class() == "COLUMN_REF" {
		return a.replaceRef(n, shadows, inQuery)
	}
	shadows = append(slices.Clip(shadows), n.LambdaParams()...)
	tree.Children(n, func(c any) any { return a.replace(c, shadows, inQuery) })
	return n
}

// replaceRef replaces a reference. A parameter comes before a column of the same name, as in DuckDB; with more names
// behind it, a table comes before it.
func (a *application) replaceRef(n tree.Node, shadows []string, inQuery bool) tree.Node {
	names := n.ColumnNames()
	name := strings.ToLower(names[0])
	if slices.Contains(shadows, name) || len(names) > 1 && slices.Contains(shadows, "."+name) {
		return n
	}
	arg, ok := a.args[name]
	if !ok {
		return n
	}
	if inQuery {
		arg = a.asOutside(name, arg)
	}
	arg = arg.Clone()
	for _, field := range names[1:] {
		arg = tree.Node{"class": "FUNCTION", "type": "FUNCTION", "alias": "", "query_location": n["query_location"], "function_name": "struct_extract",
			"schema": "", "catalog": "", "children": []any{arg, tree.Text(field)}, "filter": nil, "distinct": false, "is_operator": false, "export_state": false,
			"order_bys": tree.Node{"type": "ORDER_MODIFIER", "orders": []any{}}}
	}
	return arg.WithAlias(n.Str("alias"))
}

// asOutside is an argument whose columns name their tables.
func (a *application) asOutside(name string, arg tree.Node) tree.Node {
	out, ok := a.outside[name]
	if !ok {
		out = a.x.qualified(arg.Clone(), a.frame).(tree.Node)
		a.outside[name] = out
	}
	return out
}

// qualified writes the table before every column in an argument that is not of a query within the argument. f is the
// frame of v.
func (x *expander) qualified(v any, f *frame) any {
	n, ok := v.(tree.Node)
	if !ok {
		tree.Children(v, func(c any) any { return x.qualified(c, f) })
		return v
	}
	if n.Class() == "COLUMN_REF" {
		x.qualifyRef(n, f)
		return n
	}
	if n.IsQuery() {
		f = &frame{ctes: maps.Clone(f.ctes), from: n.Sub("from_table"), outer: f, nested: true}
		for _, e := range n.Sub("cte_map").Nodes("map") {
			value := e.Sub("value")
			f.ctes[strings.ToLower(e.Str("key"))] = &cte{query: value.Sub("query").Sub("node"), aliases: value.List("aliases"), ctes: maps.Clone(f.ctes), outer: f.outer}
		}
	}
	if params := n.LambdaParams(); len(params) > 0 {
		f = f.with(params)
	}
	tree.Children(n, func(c any) any { return x.qualified(c, f) })
	return n
}

func (x *expander) qualifyRef(n tree.Node, f *frame) {
	names := n.ColumnNames()
	for g := f; g != nil; g = g.outer {
		if slices.Contains(g.params, strings.ToLower(names[0])) {
			return
		}
		owners, isTable := owners(x.leavesOf(g), names)
		switch {
		case isTable || len(owners) > 0 && g.nested:
			return
		case len(owners) > 1 && !joinsAlike(g.from, names[0]):
			x.fail(x.src.Wrong(n.Location(), fmt.Sprintf("%s is a column of several tables, and the macro has a SELECT in it", names[0]), fmt.Sprintf("write %s.%s", owners[0].alias, names[0])))
			return
		case len(owners) > 0:
			n["column_names"] = append([]any{owners[0].name()}, n.List("column_names")...)
			return
		case slices.ContainsFunc(g.items, func(i tree.Node) bool { return strings.EqualFold(i.Str("alias"), names[0]) }):
			x.fail(x.src.Wrong(n.Location(), fmt.Sprintf("the macro has a SELECT in it, which cannot read the alias %s", names[0]), "write the expression itself as the argument"))
			return
		}
	}
}

// joinsAlike says whether a column of several tables is the first one's in the rows of their join.
func joinsAlike(from tree.Node, column string) bool {
	if from.Str("type") != "JOIN" {
		return false
	}
	named := from.Str("ref_type") == "NATURAL" || slices.ContainsFunc(from.List("using_columns"), func(c any) bool { s, _ := c.(string); return strings.EqualFold(s, column) })
	kind := from.Str("join_type")
	return named && (kind == "INNER" || kind == "LEFT") || !named && (joinsAlike(from.Sub("left"), column) || joinsAlike(from.Sub("right"), column))
}

// owners are the tables that have the column; isTable says that the first name is a table itself.
func owners(leaves []leaf, names []string) (of []leaf, isTable bool) {
	named := slices.ContainsFunc(leaves, func(l leaf) bool { return strings.EqualFold(l.alias, names[0]) })
	if named && len(names) > 1 {
		return nil, true
	}
	for _, l := range leaves {
		if l.has(names[0]) {
			of = append(of, l)
		}
	}
	return of, named && len(of) == 0
}

// renameLambdas gives other names to the body's lambda parameters that the arguments use.
func (a *application) renameLambdas(body tree.Node, taken map[string]bool) {
	tree.Walk(body, func(n tree.Node) bool {
		for _, p := range n.LambdaParams() {
			if !taken[p] {
				continue
			}
			name := p + "_"
			for taken[name] || a.args[name] != nil {
				name += "_"
			}
			tree.RenameLambda(n, p, name)
		}
		return true
	})
}

// renameTables gives other aliases to the tables in the body that are named as something the arguments refer to, inner
// queries first: their tables come before those of the queries around.
func (a *application) renameTables(v any, body tree.Node, taken map[string]bool) {
	tree.Children(v, func(c any) any { a.renameTables(c, body, taken); return c })
	n, _ := v.(tree.Node)
	if n.Str("type") != "SELECT_NODE" {
		return
	}
	for _, t := range tree.FromTables(n.Sub("from_table")) {
		old := t.TableAlias()
		if !taken[strings.ToLower(old)] {
			continue
		}
		// alone, the name is the table's row, unless it is a parameter or a column
		cols, known := a.x.tableColumns(t)
		isColumn := slices.ContainsFunc(cols, func(c engine.Column) bool { return strings.EqualFold(c.Name, old) })
		t["alias"] = a.fresh(old, body, taken)
		tree.RenameRefs(n, old, t.Str("alias"), known && !isColumn && a.args[strings.ToLower(old)] == nil)
	}
}

// refuseColumns refuses arguments that name a table of the caller which is called like a column with fields of the body's
// tables: the column would come first.
func (a *application) refuseColumns(body tree.Node) {
	for name, arg := range a.args {
		outside := a.asOutside(name, arg)
		tree.Walk(outside, func(ref tree.Node) bool {
			if ref.Class() != "COLUMN_REF" || len(ref.ColumnNames()) < 2 {
				return !ref.IsQuery()
			}
			tree.Walk(body, func(n tree.Node) bool {
				for _, t := range tree.FromTables(n.Sub("from_table")) {
					cols, _ := a.x.tableColumns(t)
					if slices.ContainsFunc(cols, func(c engine.Column) bool {
						return strings.EqualFold(c.Name, ref.ColumnNames()[0]) && hasFields(c.Type)
					}) {
						a.x.fail(a.x.src.Wrong(ref.Location(), fmt.Sprintf("the macro reads a column that is named %s too", ref.ColumnNames()[0]), "give the table another name: FROM ... AS name"))
					}
				}
				return true
			})
			return true
		})
	}
}

func hasFields(t string) bool {
	return slices.ContainsFunc([]string{"STRUCT", "MAP", "UNION", "JSON", "VARIANT"}, func(kind string) bool { return strings.HasPrefix(t, kind) })
}
