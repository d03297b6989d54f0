package views

import (
	"fmt"
	"slices"
	"strings"
)

// leaf is one table of a FROM clause.
type leaf struct {
	node    node
	alias   string
	columns []Column
}

func (l leaf) has(column string) bool {
	return slices.ContainsFunc(l.columns, func(c Column) bool { return strings.EqualFold(c.Name, column) })
}

// name is what a column may be written behind: a table that has no alias gets one.
func (l leaf) name() string {
	if tableAlias(l.node) == "" {
		l.node["alias"] = l.alias
	}
	return l.alias
}

// leavesOf are the tables in a frame's FROM clause with their columns; those that do not bind are left out.
func (x *expander) leavesOf(f *frame) []leaf {
	if f.leaves != nil || f.from == nil {
		return f.leaves
	}
	f.leaves = []leaf{}
	probe := clone(f.from)
	named := fromTables(probe)
	for i, t := range fromTables(f.from) {
		if tableAlias(t) == "" {
			named[i]["alias"] = x.fresh("part", probe)
		}
		alias := tableAlias(named[i])
		q := emptySelect(node{"from_table": probe})
		q["select_list"] = []any{starNode(alias)}
		if cols, ok := x.describe(q, f); ok {
			f.leaves = append(f.leaves, leaf{t, alias, cols})
		}
	}
	return f.leaves
}

func starNode(table string) node {
	return node{"class": "STAR", "type": "STAR", "alias": "", "query_location": nowhere, "relation_name": table,
		"exclude_list": []any{}, "replace_list": []any{}, "columns": false, "expr": nil, "qualified_exclude_list": []any{}, "rename_list": []any{}}
}

// tableColumns are the columns of one table by itself.
func (x *expander) tableColumns(t node) ([]Column, bool) {
	q := emptySelect(node{"from_table": t})
	q["select_list"] = []any{starNode("")}
	return x.describe(q, &frame{})
}

// describe gives the columns of a query in a frame. It is false for what does not bind: that is reported when the whole
// is described.
func (x *expander) describe(q node, f *frame) ([]Column, bool) {
	q = clone(q)
	x.fillCTEs(q, f.ctes)
	for at := f.outer; ; at = at.outer {
		text, err := x.c.print(clone(q))
		if err != nil {
			return nil, false
		}
		if cols, err := x.c.describe(text); err == nil {
			return cols, true
		}
		for at != nil && at.from == nil {
			at = at.outer
		}
		if at == nil {
			return nil, false
		}
		q = x.beneath(q, at)
	}
}

// beneath is a SELECT with the columns of a query that may read those of a frame around it.
func (x *expander) beneath(q node, f *frame) node {
	from := clone(f.from)
	x.fillCTEs(from, f.ctes)
	const alias = "__millrace_inner__"
	inner := node{"type": "SUBQUERY", "alias": alias, "sample": nil, "subquery": node{"node": q, "named_param_map": []any{}}, "column_name_alias": []any{}}
	out := emptySelect(node{"from_table": besides(from, inner)})
	out["select_list"] = []any{starNode(alias)}
	return out
}

// fillCTEs makes the tables that a query reads, and puts tables with the same columns in place of common table
// expressions from around it.
func (x *expander) fillCTEs(q node, ctes map[string]*cte) {
	visitTables(q, func(t node) {
		if str(t, "schema_name") == "" && str(t, "catalog_name") == "" {
			if e, ok := ctes[strings.ToLower(str(t, "table_name"))]; ok {
				if table := x.cteTable(e); table != "" {
					t["alias"], t["table_name"] = tableAlias(t), table
				}
				return
			}
		}
		x.makeTable(t)
	})
}

// cteTable is an empty table with the columns of a common table expression; empty if it does not bind.
func (x *expander) cteTable(e *cte) string {
	if e.table != "" {
		return e.table
	}
	base := e.query
	if str(base, "type") == "RECURSIVE_CTE_NODE" {
		base = sub(base, "left")
	}
	q := emptySelect(node{"from_table": node{"type": "SUBQUERY", "alias": "", "sample": nil, "subquery": node{"node": base, "named_param_map": []any{}}, "column_name_alias": []any{}}})
	q["select_list"] = []any{starNode("")} // of a subquery, which tells columns of one name apart
	cols, ok := x.describe(q, &frame{ctes: e.ctes, outer: e.outer})
	if !ok {
		return ""
	}
	for i := range cols {
		if i < len(e.aliases) {
			cols[i].Name, _ = e.aliases[i].(string)
		}
	}
	x.tables++
	name := fmt.Sprintf("__millrace_cte_%d__", x.tables)
	if err := x.c.createTable("", name, cols); err != nil {
		return ""
	}
	e.table = name
	return name
}
