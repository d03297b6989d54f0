package views

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/schemas"
)

// pivot expands PIVOT and UNPIVOT in FROM. Where columns are listed, PIVOT becomes a GROUP BY whose aggregates have a
// FILTER, and UNPIVOT an unnest; DuckDB is asked for the columns of both, and what does not give the same stays as it is.
func (x *expander) pivot(t node, f *frame) node {
	t["source"] = x.from(sub(t, "source"), f)
	left := *f
	inner := &frame{ctes: f.ctes, from: sub(t, "source"), outer: &left}
	x.pivotExprs(t, inner)
	x.refuseFilter(t)
	if !x.stars || x.err != nil {
		return t
	}
	around := &frame{ctes: f.ctes, outer: &left}
	want, ok := x.describe(selectAll(t), around)
	if !ok {
		return t
	}
	rewrite := x.pivoted
	if len(list(t, "unpivot_names")) > 0 {
		rewrite = x.unpivoted
	}
	q, ok := rewrite(t, inner, want)
	if !ok {
		return t
	}
	out := subqueryNode(q, str(t, "alias"))
	out["sample"], out["query_location"], out["column_name_alias"] = t["sample"], t["query_location"], t["column_name_alias"]
	if got, ok := x.describe(selectAll(out), around); !ok || !slices.Equal(got, want) {
		return t
	}
	return out
}

// refuseFilter refuses what DuckDB's PIVOT passes over without a word.
func (x *expander) refuseFilter(t node) {
	walk(t["aggregates"], func(n node) bool {
		if n["filter"] != nil {
			x.fail(x.src.wrong(location(n), "an aggregate of PIVOT may not have a FILTER: DuckDB leaves it out", "put a SELECT with a WHERE into FROM, and PIVOT that"))
		}
		return !isQuery(n)
	})
}

// pivotExprs expands the expressions of a PIVOT, whose aggregates keep their names.
func (x *expander) pivotExprs(t node, f *frame) {
	aggregates := nodes(list(t, "aggregates"))
	for i, a := range aggregates {
		before := clone(a)
		after := x.expr(a, f).(node)
		if len(aggregates) > 1 && str(before, "alias") == "" && encodeTree(before) != encodeTree(after) && x.err == nil {
			name, err := x.c.printExpr(before)
			if err != nil {
				x.fail(err)
			}
			after["alias"] = name
		}
		list(t, "aggregates")[i] = after
	}
	for _, p := range nodes(list(t, "pivots")) {
		p["pivot_expressions"] = x.expr(p["pivot_expressions"], f)
	}
}

func selectAll(from node) node {
	q := emptySelect(node{"from_table": from})
	q["select_list"] = []any{starNode("")}
	return q
}

func subqueryNode(q node, alias string) node {
	return node{"type": "SUBQUERY", "alias": alias, "sample": nil, "query_location": nowhere,
		"subquery": node{"node": q, "named_param_map": []any{}}, "column_name_alias": []any{}}
}

// pivoted is the SELECT that a PIVOT stands for, with the columns that DuckDB gives it.
func (x *expander) pivoted(t node, f *frame, want []Column) (node, bool) {
	groups, ok := x.pivotGroups(t, f)
	if !ok {
		return nil, false
	}
	conditions, ok := x.pivotConditions(t, f)
	if !ok {
		return nil, false
	}
	q := emptySelect(node{"from_table": f.from})
	items, set := []node{}, []any{}
	for i, g := range groups {
		items, set = append(items, clone(g)), append(set, i)
	}
	for _, condition := range conditions {
		for _, a := range nodes(list(t, "aggregates")) {
			one := clone(a)
			if !x.filterAggregates(one, condition) {
				return nil, false
			}
			items = append(items, one)
		}
	}
	if len(items) != len(want) || len(list(t, "column_name_alias")) > len(want) {
		return nil, false
	}
	for i, item := range items {
		nameAs(item, want[i].Name)
	}
	q["select_list"] = anys(items)
	if len(groups) > 0 {
		q["group_expressions"], q["group_sets"] = anys(groups), []any{set}
	}
	return q, true
}

// pivotGroups are the columns that a PIVOT groups by: those listed, or all that it does not use otherwise.
func (x *expander) pivotGroups(t node, f *frame) ([]node, bool) {
	var out []node
	for _, name := range list(t, "groups") {
		s, _ := name.(string)
		out = append(out, columnRef(s))
	}
	if out != nil {
		return out, true
	}
	used := map[string]bool{}
	for _, part := range []any{t["aggregates"], t["pivots"]} {
		walk(part, func(n node) bool {
			if class(n) == "COLUMN_REF" {
				used[strings.ToLower(columnNames(n)[0])] = true
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
func (x *expander) pivotConditions(t node, f *frame) ([]string, bool) {
	out := []string{""}
	for _, p := range nodes(list(t, "pivots")) {
		var texts []string
		for _, e := range nodes(list(p, "pivot_expressions")) {
			text, ok := x.pivotText(e, f)
			if !ok {
				return nil, false
			}
			texts = append(texts, text)
		}
		var next []string
		for _, before := range out {
			for _, entry := range nodes(list(p, "entries")) {
				values := nodes(list(entry, "values"))
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
	return out, str(t, "pivot_enum") == "" && len(out) > 0
}

// pivotText is an expression as the text that DuckDB compares.
func (x *expander) pivotText(e node, f *frame) (string, bool) {
	q := emptySelect(node{"from_table": f.from})
	q["select_list"] = []any{clone(e)}
	cols, ok := x.describe(q, f)
	if !ok {
		return "", false
	}
	text, err := x.c.printExpr(e)
	if cols[0].Type != "VARCHAR" {
		text = "CAST(" + text + " AS VARCHAR)"
	}
	return text, err == nil
}

// equals is the condition that a text is that of a value.
func (x *expander) equals(text string, value node) (string, error) {
	if flag(value, "is_null") {
		return text + " IS NULL", nil
	}
	constant, err := x.c.printExpr(node{"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "query_location": nowhere, "value": value})
	if err != nil {
		return "", err
	}
	said, err := x.c.text("SELECT CAST(" + constant + " AS VARCHAR)")
	return fmt.Sprintf("%s = %s", text, schemas.QuoteText(said)), err
}

// filterAggregates gives the aggregates in an expression one more condition; false if there is none.
func (x *expander) filterAggregates(e node, condition string) bool {
	found := false
	walk(e, func(n node) bool {
		if isQuery(n) || class(n) != "FUNCTION" || !x.c.aggregates[strings.ToLower(str(n, "function_name"))] {
			return !isQuery(n)
		}
		found = true
		if condition == "" {
			return false
		}
		c, err := x.c.expr(condition)
		if err != nil {
			x.fail(err)
			return false
		}
		moveTo(c, location(n))
		n["filter"] = c
		return false
	})
	return found
}
