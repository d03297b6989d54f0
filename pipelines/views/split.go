package views

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// kind is what a query within a view takes from the topic.
type kind int

const (
	reference kind = iota // nothing
	records               // its records, each by itself: which rows come of a record does not hang on any other
	results               // results over all records: its tree has become one over merged State
)

// with is a common table expression in scope.
type cte struct {
	name  string // lower case
	kind  kind
	entry tree.Node // key and value
}

// scopeOf finds what a table's name means among the common table expressions, innermost last.
func cteOf(in []cte, n tree.Node) (cte, bool) {
	if n.Str("schema_name") != "" || n.Str("catalog_name") != "" {
		return cte{}, false
	}
	for _, w := range slices.Backward(in) {
		if w.name == strings.ToLower(n.Str("table_name")) {
			return w, true
		}
	}
	return cte{}, false
}

// split goes through a query from the inside out. A SELECT that groups the topic's records, or puts them in order and
// keeps the first, becomes one over State; whatever stands around it stays, over results. A query of kind records is left
// as it is, for whoever reads it.
func (p *planner) split(q tree.Node, in []cte) (kind, error) {
	t := q.Str("type")
	if t != "SELECT_NODE" && t != "SET_OPERATION_NODE" {
		if p.reads(q, in) {
			return 0, blocked("recursion is computed over all rows; recursion over a reference or a result can stand beside a GROUP BY")
		}
		return reference, nil
	}
	outer := len(in)
	in = slices.Clip(in)
	for _, entry := range q.Sub("cte_map").Nodes("map") {
		w := cte{name: strings.ToLower(entry.Str("key")), entry: entry}
		if slices.ContainsFunc(in, func(o cte) bool { return o.name == w.name }) && p.reads(q, in) {
			return 0, blocked("two WITH are named " + w.name + "; give one of them another name")
		}
		var err error
		if w.kind, err = p.split(entry.Sub("value").Sub("query").Sub("node"), in); err != nil {
			return 0, err
		}
		in = append(in, w)
	}
	k, err := p.splitBody(q, in)
	if err != nil {
		return 0, err
	}
	kept := []any{}
	for _, w := range in[outer:] {
		if w.kind == reference || w.kind == k {
			kept = append(kept, w.entry)
		}
	}
	q["cte_map"] = tree.Node{"map": kept}
	return k, nil
}

func (p *planner) splitBody(q tree.Node, in []cte) (kind, error) {
	if q.Str("type") == "SET_OPERATION_NODE" {
		return p.splitSides(q, in)
	}
	from, err := p.splitFrom(q.Sub("from_table"), in)
	if err != nil {
		return 0, err
	}
	if from == records {
		return p.overRecords(q, in)
	}
	for _, clause := range []string{"select_list", "where_clause", "group_expressions", "having", "qualify", "modifiers"} {
		k, err := p.splitExpr(q[clause], in)
		if err != nil {
			return 0, err
		}
		from = max(from, k)
		if name := takesOrder(q[clause]); from == results && name != "" {
			return 0, blocked(fmt.Sprintf("%s takes rows in the order that a subquery gives them; write the order into the call: %[1]s(x ORDER BY y)", name))
		}
	}
	return from, nil
}

// takesOrder is the first aggregate whose answer hangs on the order of its rows, and nothing says which; empty: none.
func takesOrder(v any) (name string) {
	tree.Walk(v, func(n tree.Node) bool {
		a, ok := callOf(n)
		if plain := a.Plain(); ok && name == "" && !a.Distinct && (plain == "first" || plain == "last" || a.ListsRows()) && len(n.Sub("order_bys").List("orders")) == 0 {
			name = a.Name
		}
		return name == "" && !n.IsQuery()
	})
	return name
}

// splitSides is UNION, INTERSECT and EXCEPT.
func (p *planner) splitSides(q tree.Node, in []cte) (kind, error) {
	sides := []tree.Node{q.Sub("left"), q.Sub("right")}
	kinds := make([]kind, len(sides))
	for i, side := range sides {
		var err error
		if kinds[i], err = p.split(side, in); err != nil {
			return 0, err
		}
	}
	most := max(kinds[0], kinds[1])
	if most == reference || kinds[0] == records && kinds[1] == records && p.unionAll(q) && len(q.List("modifiers")) == 0 {
		return most, nil
	}
	for i, side := range sides {
		if kinds[i] == records {
			if err := p.keepRows(side, in); err != nil {
				return 0, err
			}
		}
	}
	return results, nil
}

func (p *planner) unionAll(q tree.Node) bool {
	return (q.Str("setop_type") == "UNION" || q.Str("setop_type") == "UNION_BY_NAME") && q.Flag("setop_all")
}

// splitExpr is of every subquery in expressions that do not look at records.
func (p *planner) splitExpr(v any, in []cte) (most kind, err error) {
	tree.Walk(v, func(n tree.Node) bool {
		if err != nil {
			return false
		}
		if n.IsQuery() {
			var k kind
			if k, err = p.split(n, in); err == nil && k == records {
				k, err = results, p.keepRows(n, in)
			}
			most = max(most, k)
			return false
		}
		return true
	})
	return most, err
}

// splitFrom is of a FROM clause, or a part of one.
func (p *planner) splitFrom(n tree.Node, in []cte) (kind, error) {
	switch n.Str("type") {
	case "BASE_TABLE":
		if w, ok := cteOf(in, n); ok {
			return w.kind, nil
		}
		if p.isTopic(n) {
			return records, nil
		}
		return reference, nil
	case "SUBQUERY":
		return p.split(n.Sub("subquery").Sub("node"), in)
	case "JOIN":
		return p.splitJoin(n, in)
	}
	if p.reads(n, in) {
		return 0, blocked(fmt.Sprintf("%s over %s is computed over all rows", strings.ReplaceAll(n.Str("type"), "_", " "), p.view.Topic))
	}
	return reference, nil
}

func (p *planner) splitJoin(n tree.Node, in []cte) (kind, error) {
	left, err := p.splitFrom(n.Sub("left"), in)
	if err != nil {
		return 0, err
	}
	right, err := p.splitFrom(n.Sub("right"), in)
	if err != nil {
		return 0, err
	}
	most := max(left, right)
	switch {
	case left == records && right == records:
		return 0, blocked(fmt.Sprintf("it joins records of %s with each other; group each side first and join the results, if the question allows it", p.view.Topic))
	case most == results && min(left, right) == records:
		return 0, blocked(fmt.Sprintf("it joins records of %s with a result over all of them; group the records by the join's columns first", p.view.Topic))
	case most == records:
		if p.reads(n["condition"], in) {
			return 0, p.compares()
		}
		if why := keepsOthers(n, left == records, p.view.Topic); why != "" {
			return 0, blocked(why)
		}
	default:
		k, err := p.splitExpr(n["condition"], in)
		if err != nil {
			return 0, err
		}
		most = max(most, k)
	}
	return most, nil
}

// keepsOthers says why the join of records, on its left or right, with a reference is not of each record by itself.
func keepsOthers(join tree.Node, onLeft bool, topic string) string {
	kind, ref := join.Str("join_type"), join.Str("ref_type")
	switch {
	case ref == "POSITIONAL":
		return "POSITIONAL JOIN pairs rows by their place"
	case ref == "ASOF" && !onLeft:
		return fmt.Sprintf("ASOF JOIN with %s on the right looks at all its rows", topic)
	case kind == "INNER" || onLeft && (kind == "LEFT" || kind == "SEMI" || kind == "ANTI") || !onLeft && kind == "RIGHT":
		return ""
	case kind == "OUTER":
		kind = "FULL"
	}
	return kind + " JOIN keeps rows of the reference table that no record matches"
}

func (p *planner) compares() blocked {
	return blocked(fmt.Sprintf("it compares each record of %s with a result over all of them; group the records by what is compared, and compare the groups in HAVING", p.view.Topic))
}

// reads says whether a tree takes anything from the topic.
func (p *planner) reads(v any, in []cte) bool {
	found := false
	tree.VisitTables(v, func(n tree.Node) {
		if w, ok := cteOf(in, n); ok {
			found = found || w.kind != reference
		} else {
			found = found || p.isTopic(n)
		}
	})
	return found
}

func (p *planner) isTopic(n tree.Node) bool {
	return n.Str("type") == "BASE_TABLE" && n.Str("schema_name") == "" && strings.EqualFold(n.Str("table_name"), p.view.Topic)
}

// overRecords is of a SELECT from records.
func (p *planner) overRecords(q tree.Node, in []cte) (kind, error) {
	for _, clause := range []string{"where_clause", "group_expressions"} {
		if p.reads(q[clause], in) {
			return 0, p.compares()
		}
	}
	distinct, limit := false, false
	for _, m := range q.Nodes("modifiers") {
		switch t := m.Str("type"); {
		case len(m.List("distinct_on_targets")) > 0:
			return 0, blocked("DISTINCT ON keeps one row of several, which needs all rows; arg_max(column, order) with GROUP BY gives the same from partials")
		case t == "DISTINCT_MODIFIER":
			distinct = true
		case strings.HasPrefix(t, "LIMIT"):
			limit = true
		}
	}
	if p.aggregates(q) || distinct {
		return results, p.group(q, in)
	}
	for _, clause := range []string{"select_list", "qualify", "modifiers"} {
		if w := firstWindow(q[clause]); w != nil {
			return 0, blocked(fmt.Sprintf("the window function %s(...) OVER is computed over all rows; over the groups of a GROUP BY it is not", strings.ToLower(w.Str("function_name"))))
		}
		if p.reads(q[clause], in) {
			return 0, p.compares()
		}
	}
	if limit {
		return results, p.keepRows(q, in)
	}
	return records, nil
}

// aggregates says whether a SELECT makes groups of its rows.
func (p *planner) aggregates(q tree.Node) bool {
	return q.Str("aggregate_handling") == "FORCE_AGGREGATES" || len(q.List("group_expressions")) > 0 || len(q.List("group_sets")) > 0 ||
		q.Sub("having") != nil || hasAggregate(p.duck, q["select_list"]) || hasAggregate(p.duck, q["qualify"]) || hasAggregate(p.duck, q["modifiers"])
}

func firstWindow(v any) (found tree.Node) {
	tree.Walk(v, func(n tree.Node) bool {
		if found == nil && n.Class() == "WINDOW" {
			found = n
		}
		return found == nil && !n.IsQuery()
	})
	return found
}

// standing is a query with every common table expression it may read written before it, so that it means the same by
// itself.
func standing(q tree.Node, in []cte) tree.Node {
	out := q.Clone()
	var all []any
	for _, w := range in {
		if w.kind != results {
			all = append(all, w.entry.Clone())
		}
	}
	if all != nil {
		out["cte_map"] = tree.Node{"map": all}
	}
	return out
}
