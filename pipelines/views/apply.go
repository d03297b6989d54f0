package views

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// overloads are the macros that a call may mean.
func (x *expander) overloads(n node, table bool) ([]*macro, bool) {
	if schema := strings.ToLower(str(n, "schema")); schema != "" && schema != "main" || str(n, "catalog") != "" || flag(n, "is_operator") {
		return nil, false
	}
	for _, m := range x.macros {
		name := strings.ToLower(str(n, "function_name"))
		if all, ok := m.kind(table)[name]; ok {
			return all, true
		}
		if m.broken[name] {
			x.fail(x.src.wrong(location(n), fmt.Sprintf("the macro %s has a problem of its own", name), "correct it in "+m.src.file))
		}
	}
	return nil, false
}

// call puts a macro's body in place of a call whose arguments are expanded.
func (x *expander) call(n node, f *frame) node {
	all, ok := x.overloads(n, false)
	if !ok {
		if _, ok := x.overloads(n, true); ok {
			x.fail(x.src.wrong(location(n), fmt.Sprintf("%s is a macro that makes a table", str(n, "function_name")), "put it into FROM"))
		}
		return n
	}
	if flag(n, "distinct") || n["filter"] != nil || len(list(sub(n, "order_bys"), "orders")) > 0 {
		x.fail(x.src.wrong(location(n), fmt.Sprintf("the macro %s may not have DISTINCT, FILTER or ORDER BY", str(n, "function_name")), "put them into the macro's aggregates"))
		return n
	}
	body, ok := x.apply(n, all, f)
	if !ok {
		return n
	}
	alias := str(n, "alias")
	return withAlias(x.expr(body, f).(node), alias)
}

// tableFunction puts a table macro's SELECT in place of its call.
func (x *expander) tableFunction(t node, f *frame) node {
	fn := x.dotCall(sub(t, "function"))
	children(fn, func(c any) any { return x.expr(c, f) })
	all, ok := x.overloads(fn, true)
	if _, scalar := x.overloads(fn, false); scalar && !ok {
		x.fail(x.src.wrong(location(fn), fmt.Sprintf("%s is a macro that makes a value", str(fn, "function_name")), "put it into an expression, or define it with AS TABLE SELECT ..."))
	}
	if !ok || x.err != nil {
		return t
	}
	if ordinality := str(t, "with_ordinality"); ordinality != "" && ordinality != "WITHOUT_ORDINALITY" {
		x.fail(x.src.wrong(location(fn), "a macro may not have WITH ORDINALITY", "number the rows in the macro: row_number() OVER ()"))
		return t
	}
	body, ok := x.apply(fn, all, f)
	if !ok {
		return t
	}
	left := *f
	x.query(body, &left, f.ctes)
	return node{"type": "SUBQUERY", "alias": t["alias"], "sample": t["sample"], "query_location": t["query_location"],
		"subquery": node{"node": body, "named_param_map": []any{}}, "column_name_alias": t["column_name_alias"]}
}

// apply is the body of the macro that a call means, with the call's arguments in it.
func (x *expander) apply(n node, all []*macro, f *frame) (node, bool) {
	if !x.more(location(n)) {
		return nil, false
	}
	m, args, ok := overload(all, n)
	if !ok {
		var forms []string
		for _, m := range all {
			forms = append(forms, x.form(m))
		}
		x.fail(x.src.wrong(location(n), fmt.Sprintf("the macro %s does not take these arguments", all[0].name), "it is "+strings.Join(forms, " or ")))
		return nil, false
	}
	body := clone(m.body)
	if m.file == nil {
		moveTo(body, location(n))
	} else {
		shift(body, x.src.include(m.file.file, m.file.text))
	}
	a := &application{x: x, frame: f, args: args, outside: map[string]node{}}
	return a.into(body, m.table), x.err == nil
}

// overload finds the one that takes a call's arguments, and the argument of each parameter by lower-case name.
func overload(all []*macro, n node) (*macro, map[string]node, bool) {
	for _, m := range all {
		if args, ok := m.bind(nodes(list(n, "children"))); ok {
			return m, args, true
		}
	}
	return nil, nil, false
}

// bind gives each parameter its argument: by position, then by name, then its default.
func (m *macro) bind(given []node) (map[string]node, bool) {
	args := map[string]node{}
	named := false
	for i, arg := range given {
		name := strings.ToLower(str(arg, "alias"))
		if named = named || name != ""; !named {
			if i >= len(m.params) {
				return nil, false
			}
			name = strings.ToLower(m.params[i].name)
		}
		if _, twice := args[name]; twice || !slices.ContainsFunc(m.params, func(p param) bool { return strings.EqualFold(p.name, name) }) {
			return nil, false
		}
		args[name] = withAlias(clone(arg), "")
	}
	for _, p := range m.params {
		name := strings.ToLower(p.name)
		if _, ok := args[name]; ok {
			continue
		}
		if p.value == nil {
			return nil, false
		}
		args[name] = clone(p.value)
	}
	return args, true
}

// form is how a macro is called.
func (x *expander) form(m *macro) string {
	var params []string
	for _, p := range m.params {
		text := p.name
		if p.value != nil {
			if value, err := x.c.printExpr(p.value); err == nil {
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
	args    map[string]node // by lower-case name of the parameter
	outside map[string]node // the arguments as they are written inside of a query
}

// into puts the arguments into a body. Within a SELECT of the body, its tables would come before the caller's: the
// arguments then name their tables, and the body's tables get other names where they have the same.
func (a *application) into(body node, table bool) node {
	taken := map[string]bool{} // the first names of what the arguments refer to
	walk(a.argList(), func(n node) bool {
		if class(n) == "COLUMN_REF" {
			taken[strings.ToLower(columnNames(n)[0])] = true
		}
		return true
	})
	a.renameLambdas(body, taken)
	if len(taken) > 0 && (table || hasQuery(body)) {
		for g := a.frame; g != nil; g = g.outer {
			for _, l := range a.x.leavesOf(g) {
				taken[strings.ToLower(l.alias)] = true
			}
		}
		a.renameTables(body, body, taken)
		a.refuseColumns(body)
	}
	walk(body, func(n node) bool {
		for i, e := range nodes(list(sub(n, "cte_map"), "map")) {
			if _, ok := a.frame.ctes[strings.ToLower(str(e, "key"))]; ok {
				renameCTE(n, i, a.fresh(str(e, "key"), body, taken))
			}
		}
		return true
	})
	return a.replace(body, nil, table).(node)
}

func hasQuery(v any) bool {
	found := false
	walk(v, func(n node) bool { found = found || isQuery(n); return !found })
	return found
}

func (a *application) argList() []any {
	var out []any
	for _, name := range slices.Sorted(maps.Keys(a.args)) {
		out = append(out, a.args[name])
	}
	return out
}

// fresh is a name like another that neither the body nor an argument uses.
func (a *application) fresh(like string, body node, taken map[string]bool) string {
	name := a.x.fresh(like, append(a.argList(), body))
	for taken[name] {
		name += "_"
	}
	return name
}

// replace puts the arguments in place of the parameters. shadows are the aliases of tables around, and the parameters
// of lambdas: they come first.
func (a *application) replace(v any, shadows []string, inQuery bool) any {
	n, ok := v.(node)
	if !ok {
		children(v, func(c any) any { return a.replace(c, shadows, inQuery) })
		return v
	}
	if isQuery(n) {
		inQuery = true
	}
	if str(n, "type") == "SELECT_NODE" {
		for _, t := range fromTables(sub(n, "from_table")) {
			shadows = append(slices.Clip(shadows), "."+strings.ToLower(tableAlias(t)))
		}
	}
	if class(n) == "COLUMN_REF" {
		return a.replaceRef(n, shadows, inQuery)
	}
	shadows = append(slices.Clip(shadows), lambdaParams(n)...)
	children(n, func(c any) any { return a.replace(c, shadows, inQuery) })
	return n
}

// replaceRef replaces a reference. A parameter comes before a column of the same name, as in DuckDB; with more names
// behind it, a table comes before it.
func (a *application) replaceRef(n node, shadows []string, inQuery bool) node {
	names := columnNames(n)
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
	arg = clone(arg)
	for _, field := range names[1:] {
		arg = node{"class": "FUNCTION", "type": "FUNCTION", "alias": "", "query_location": n["query_location"], "function_name": "struct_extract",
			"schema": "", "catalog": "", "children": []any{arg, textNode(field)}, "filter": nil, "distinct": false, "is_operator": false, "export_state": false,
			"order_bys": node{"type": "ORDER_MODIFIER", "orders": []any{}}}
	}
	return withAlias(arg, str(n, "alias"))
}

func textNode(s string) node {
	return node{"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "query_location": nowhere,
		"value": node{"type": node{"id": "VARCHAR", "type_info": nil}, "is_null": false, "value": s}}
}

// asOutside is an argument whose columns name their tables.
func (a *application) asOutside(name string, arg node) node {
	out, ok := a.outside[name]
	if !ok {
		out = a.x.qualified(clone(arg), a.frame).(node)
		a.outside[name] = out
	}
	return out
}

// qualified writes the table before every column in an argument that is not of a query within the argument. f is the
// frame of v.
func (x *expander) qualified(v any, f *frame) any {
	n, ok := v.(node)
	if !ok {
		children(v, func(c any) any { return x.qualified(c, f) })
		return v
	}
	if class(n) == "COLUMN_REF" {
		x.qualifyRef(n, f)
		return n
	}
	if isQuery(n) {
		f = &frame{ctes: maps.Clone(f.ctes), from: sub(n, "from_table"), outer: f, nested: true}
		for _, e := range nodes(list(sub(n, "cte_map"), "map")) {
			value := sub(e, "value")
			f.ctes[strings.ToLower(str(e, "key"))] = &cte{query: sub(sub(value, "query"), "node"), aliases: list(value, "aliases"), ctes: maps.Clone(f.ctes), outer: f.outer}
		}
	}
	if params := lambdaParams(n); len(params) > 0 {
		f = f.with(params)
	}
	children(n, func(c any) any { return x.qualified(c, f) })
	return n
}

func (x *expander) qualifyRef(n node, f *frame) {
	names := columnNames(n)
	for g := f; g != nil; g = g.outer {
		if slices.Contains(g.params, strings.ToLower(names[0])) {
			return
		}
		owners, isTable := owners(x.leavesOf(g), names)
		switch {
		case isTable || len(owners) > 0 && g.nested:
			return
		case len(owners) > 1 && !joinsAlike(g.from, names[0]):
			x.fail(x.src.wrong(location(n), fmt.Sprintf("%s is a column of several tables, and the macro has a SELECT in it", names[0]), fmt.Sprintf("write %s.%s", owners[0].alias, names[0])))
			return
		case len(owners) > 0:
			n["column_names"] = append([]any{owners[0].name()}, list(n, "column_names")...)
			return
		case slices.ContainsFunc(g.items, func(i node) bool { return strings.EqualFold(str(i, "alias"), names[0]) }):
			x.fail(x.src.wrong(location(n), fmt.Sprintf("the macro has a SELECT in it, which cannot read the alias %s", names[0]), "write the expression itself as the argument"))
			return
		}
	}
}

// joinsAlike says whether a column of several tables is the first one's in the rows of their join.
func joinsAlike(from node, column string) bool {
	if str(from, "type") != "JOIN" {
		return false
	}
	named := str(from, "ref_type") == "NATURAL" || slices.ContainsFunc(list(from, "using_columns"), func(c any) bool { s, _ := c.(string); return strings.EqualFold(s, column) })
	kind := str(from, "join_type")
	return named && (kind == "INNER" || kind == "LEFT") || !named && (joinsAlike(sub(from, "left"), column) || joinsAlike(sub(from, "right"), column))
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
func (a *application) renameLambdas(body node, taken map[string]bool) {
	walk(body, func(n node) bool {
		for _, p := range lambdaParams(n) {
			if !taken[p] {
				continue
			}
			name := p + "_"
			for taken[name] || a.args[name] != nil {
				name += "_"
			}
			renameLambda(n, p, name)
		}
		return true
	})
}

// renameLambda gives a parameter of the lambdas among a function's arguments another name.
func renameLambda(n node, old, name string) {
	for _, arg := range nodes(list(n, "children")) {
		if class(arg) == "LAMBDA" {
			renameRefs(arg, old, name, true)
		}
	}
}

// renameRefs writes another name for the first of a reference's names; alone says whether also where there is only one.
func renameRefs(v any, old, name string, alone bool) {
	walk(v, func(n node) bool {
		if class(n) == "COLUMN_REF" && strings.EqualFold(columnNames(n)[0], old) && (alone || len(columnNames(n)) > 1) {
			list(n, "column_names")[0] = name
		}
		if class(n) == "STAR" && strings.EqualFold(str(n, "relation_name"), old) {
			n["relation_name"] = name
		}
		for _, e := range nodes(list(n, "qualified_exclude_list")) {
			if strings.EqualFold(str(e, "table"), old) {
				e["table"] = name
			}
		}
		return true
	})
}

// renameTables gives other aliases to the tables in the body that are named as something the arguments refer to, inner
// queries first: their tables come before those of the queries around.
func (a *application) renameTables(v any, body node, taken map[string]bool) {
	children(v, func(c any) any { a.renameTables(c, body, taken); return c })
	n, _ := v.(node)
	if str(n, "type") != "SELECT_NODE" {
		return
	}
	for _, t := range fromTables(sub(n, "from_table")) {
		old := tableAlias(t)
		if !taken[strings.ToLower(old)] {
			continue
		}
		// alone, the name is the table's row, unless it is a parameter or a column
		cols, known := a.x.tableColumns(t)
		isColumn := slices.ContainsFunc(cols, func(c Column) bool { return strings.EqualFold(c.Name, old) })
		t["alias"] = a.fresh(old, body, taken)
		renameRefs(n, old, str(t, "alias"), known && !isColumn && a.args[strings.ToLower(old)] == nil)
	}
}

// refuseColumns refuses arguments that name a table of the caller which is called like a column with fields of the body's
// tables: the column would come first.
func (a *application) refuseColumns(body node) {
	for name, arg := range a.args {
		outside := a.asOutside(name, arg)
		walk(outside, func(ref node) bool {
			if class(ref) != "COLUMN_REF" || len(columnNames(ref)) < 2 {
				return !isQuery(ref)
			}
			walk(body, func(n node) bool {
				for _, t := range fromTables(sub(n, "from_table")) {
					cols, _ := a.x.tableColumns(t)
					if slices.ContainsFunc(cols, func(c Column) bool { return strings.EqualFold(c.Name, columnNames(ref)[0]) && hasFields(c.Type) }) {
						a.x.fail(a.x.src.wrong(location(ref), fmt.Sprintf("the macro reads a column that is named %s too", columnNames(ref)[0]), "give the table another name: FROM ... AS name"))
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
