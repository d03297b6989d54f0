package expand

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// leaf is one table of a FROM clause.
type leaf struct {
	node    tree.Node
	alias   string
	columns []engine.Column
}

func (l leaf) has(column string) bool {
	return slices.ContainsFunc(l.columns, func(c engine.Column) bool { return strings.EqualFold(c.Name, column) })
}

// name is what a column may be written behind: a table that has no alias gets one.
func (l leaf) name() string {
	if l.node.TableAlias() == "" {
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
	probe := f.from.Clone()
	named := tree.FromTables(probe)
	for i, t := range tree.FromTables(f.from) {
		if t.TableAlias() == "" {
			named[i]["alias"] = x.fresh("part", probe)
		}
		alias := named[i].TableAlias()
		q := tree.SelectFrom(probe, tree.Star(alias))
		if cols, ok := x.describe(q, f); ok {
			f.leaves = append(f.leaves, leaf{t, alias, cols})
		}
	}
	return f.leaves
}

// tableColumns are the columns of one table by itself.
func (x *expander) tableColumns(t tree.Node) ([]engine.Column, bool) {
	q := tree.SelectFrom(t, tree.Star(""))
	return x.describe(q, &frame{})
}

// describe gives the columns of a query in a frame. It is false for what does not bind: that is reported when the whole
// is described.
func (x *expander) describe(q tree.Node, f *frame) ([]engine.Column, bool) {
	q = q.Clone()
	x.fillCTEs(q, f.ctes)
	for at := f.outer; ; at = at.outer {
		text, err := x.duck.Print(q.Clone())
		if err != nil {
			return nil, false
		}
		if cols, err := x.duck.Describe(text); err == nil {
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
func (x *expander) beneath(q tree.Node, f *frame) tree.Node {
	from := f.from.Clone()
	x.fillCTEs(from, f.ctes)
	const alias = "__millrace_inner__"
	out := tree.SelectFrom(tree.CrossJoin(from, tree.Subquery(q, alias)), tree.Star(alias))
	return out
}

// fillCTEs makes the tables that a query reads, and puts tables with the same columns in place of common table
// expressions from around it.
func (x *expander) fillCTEs(q tree.Node, ctes map[string]*cte) {
	tree.VisitTables(q, func(t tree.Node) {
		if t.Str("schema_name") == "" && t.Str("catalog_name") == "" {
			if e, ok := ctes[strings.ToLower(t.Str("table_name"))]; ok {
				if table := x.cteTable(e); table != "" {
					t["alias"], t["table_name"] = t.TableAlias(), table
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
	if base.Str("type") == "RECURSIVE_CTE_NODE" {
		base = base.Sub("left")
	}
	q := tree.SelectFrom(tree.Subquery(base, ""), tree.Star("")) // of a subquery, which tells columns of one name apart
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
	if err := x.duck.CreateTable("", name, cols); err != nil {
		return ""
	}
	e.table = name
	return name
}
