package expand

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
	"github.com/millrace/millrace/schemas"
)

// pivot expands PIVOT and UNPIVOT in FROM. Where columns are listed, PIVOT becomes a GROUP BY whose aggregates have a
// FILTER, and UNPIVOT an unnest; DuckDB is asked for the columns of both, and what does not give the same stays as it is.
func (x *expander) pivot(t tree.Node, f *frame) tree.Node {
	t["source"] = x.from(t.Sub("source"), f)
	left := *f
	inner := &frame{ctes: f.ctes, from: t.Sub("source"), outer: &left}
	x.pivotExprs(t, inner)
	x.refuseFilter(t)
	if !x.stars || x.err != nil {
		return t
	}
	around := &frame{ctes: f.ctes, outer: &left}
	want, ok := x.describe(tree.SelectFrom(t, tree.Star("")), around)
	if !ok {
		return t
	}
	rewrite := x.pivoted
	if len(t.List("unpivot_names")) > 0 {
		rewrite = x.unpivoted
	}
	q, ok := rewrite(t, inner, want)
	if !ok {
		return t
	}
	out := tree.SubqueryFor(t, q, t.Str("alias"))
	if got, ok := x.describe(tree.SelectFrom(out, tree.Star("")), around); !ok || !slices.Equal(got, want) {
		return t
	}
	return out
}

// refuseFilter refuses what DuckDB's PIVOT passes over without a word.
func (x *expander) refuseFilter(t tree.Node) {
	tree.Walk(t["aggregates"], func(n tree.Node) bool {
		if n["filter"] != nil {
			x.fail(x.src.Wrong(n.Location(), "an aggregate of PIVOT may not have a FILTER: DuckDB leaves it out", "put a SELECT with a WHERE into FROM, and PIVOT that"))
		}
		return !n.IsQuery()
	})
}

// pivotExprs expands the expressions of a PIVOT, whose aggregates keep their names.
func (x *expander) pivotExprs(t tree.Node, f *frame) {
	aggregates := t.Nodes("aggregates")
	for i, a := range aggregates {
		before := a.Clone()
		after := x.expr(a, f).(tree.Node)
		if len(aggregates) > 1 && before.Str("alias") == "" && tree.Encode(before) != tree.Encode(after) && x.err == nil {
			name, err := x.duck.PrintExpr(before)
			if err != nil {
				x.fail(err)
			}
			after["alias"] = name
		}
		t.List("aggregates")[i] = after
	}
	for _, p := range t.Nodes("pivots") {
		p["pivot_expressions"] = x.expr(p["pivot_expressions"], f)
	}
}

// pivoted is the SELECT that a PIVOT stands for, with the columns that DuckDB gives it.
func (x *expander) pivoted(t tree.Node, f *frame, want []engine.Column) (tree.Node, bool) {
	groups, ok := x.pivotGroups(t, f)
	if !ok {
		return nil, false
	}
	conditions, ok := x.pivotConditions(t, f)
	if !ok {
		return nil, false
	}
	q := tree.SelectFrom(f.from)
	items, set := []tree.Node{}, []any{}
	for i, g := range groups {
		items, set = append(items, g.Clone()), append(set, i)
	}
	for _, condition := range conditions {
		for _, a := range t.Nodes("aggregates") {
			one := a.Clone()
			if !x.filterAggregates(one, condition) {
				return nil, false
			}
			items = append(items, one)
		}
	}
	if len(items) != len(want) || len(t.List("column_name_alias")) > len(want) {
		return nil, false
	}
	for i, item := range items {
		tree.NameAs(item, want[i].Name)
	}
	q["select_list"] = tree.AsList(items)
	if len(groups) > 0 {
		q["group_expressions"], q["group_sets"] = tree.AsList(groups), []any{set}
	}
	return q, true
}

// pivotGroups are the columns that a PIVOT groups by: those listed, or all that it does not use otherwise.
func (x *expander) pivotGroups(t tree.Node, f *frame) ([]tree.Node, bool) {
	var out []tree.Node
	for _, name := range t.List("groups") {
		s, _ := name.(string)
		out = append(out, tree.ColumnRef(s))
	}
	if out != nil {
		return out, true
	}
	used := map[string]bool{}
	for _, part := range []any{t["aggregates"], t["pivots"]} {
		tree.Walk(part, func(n tree.Node) bool {
			if n.Class() == "COLUMN_REF" {
				used[strings.ToLower(n.ColumnNames()[0])] = true
			}
			return true
		})
	}
	all, ok := (&stars{x: x, frame: f}).everything()
	for _, c := range all {
		if !used[strings.ToLower(c.name)] {
			out = append(out, c.expr)
		}
	}
	return out, ok
}

// pivotConditions are, for each column of a PIVOT, what its rows have in common: as DuckDB does, values are compared as
// texts.
func (x *expander) pivotConditions(t tree.Node, f *frame) ([]string, bool) {
	out := []string{""}
	for _, p := range t.Nodes("pivots") {
		var texts []string
		for _, e := range p.Nodes("pivot_expressions") {
			text, ok := x.pivotText(e, f)
			if !ok {
				return nil, false
			}
			texts = append(texts, text)
		}
		var next []string
		for _, before := range out {
			for _, entry := range p.Nodes("entries") {
				values := entry.Nodes("values")
				if entry["star_expr"] != nil || len(values) != len(texts) {
					return nil, false
				}
				condition := before
				for i, v := range values {
					one, err := x.equals(texts[i], v)
					if err != nil {
						return nil, false
					}
					if condition != "" {
						condition += " AND "
					}
					condition += one
				}
				next = append(next, condition)
			}
		}
		out = next
	}
	return out, t.Str("pivot_enum") == "" && len(out) > 0
}

// pivotText is an expression as the text that DuckDB compares.
func (x *expander) pivotText(e tree.Node, f *frame) (string, bool) {
	q := tree.SelectFrom(f.from, e.Clone())
	cols, ok := x.describe(q, f)
	if !ok {
		return "", false
	}
	text, err := x.duck.PrintExpr(e)
	if cols[0].Type != "VARCHAR" {
		text = "CAST(" + text + " AS VARCHAR)"
	}
	return text, err == nil
}

// equals is the condition that a text is that of a value.
func (x *expander) equals(text string, value tree.Node) (string, error) {
	if value.Flag("is_null") {
		return text + " IS NULL", nil
	}
	constant, err := x.duck.PrintExpr(tree.Constant(value))
	if err != nil {
		return "", err
	}
	said, err := x.duck.Text("SELECT CAST(" + constant + " AS VARCHAR)")
	return fmt.Sprintf("%s = %s", text, schemas.QuoteText(said)), err
}

// filterAggregates gives the aggregates in an expression one more condition; false if there is none.
func (x *expander) filterAggregates(e tree.Node, condition string) bool {
	found := false
	tree.Walk(e, func(n tree.Node) bool {
		if n.IsQuery() || n.Class() != "FUNCTION" || !x.duck.IsAggregate(strings.ToLower(n.Str("function_name"))) {
			return !n.IsQuery()
		}
		found = true
		if condition == "" {
			return false
		}
		c, err := x.duck.Expr(condition)
		if err != nil {
			x.fail(err)
			return false
		}
		tree.MoveTo(c, n.Location())
		n["filter"] = c
		return false
	})
	return found
}
