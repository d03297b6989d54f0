package views

import (
	"fmt"
	"slices"
	"strings"
)

// obstacles lists the clauses and functions that keep a view from being merged, apart from aggregates.
func (p *planner) obstacles() []string {
	var out []string
	add := func(format string, args ...any) {
		if s := fmt.Sprintf(format, args...); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	q := p.query
	switch {
	case len(p.view.Topics) == 0:
		add("it reads no topic")
	case len(p.view.Topics) > 1:
		add("it reads several topics: %s", strings.Join(p.view.Topics, ", "))
	}
	if str(q, "type") != "SELECT_NODE" {
		add("UNION, INTERSECT, EXCEPT and recursion are computed over all rows")
		return out
	}
	if len(list(sub(q, "cte_map"), "map")) > 0 {
		add("WITH (a common table expression) is computed over all rows")
	}
	if q["qualify"] != nil {
		add("QUALIFY is computed over all rows")
	}
	if len(p.view.Topics) == 1 {
		p.fromObstacles(add)
	}
	p.clauseObstacles(add)
	return out
}

func (p *planner) clauseObstacles(add func(string, ...any)) {
	q := p.query
	if sets := list(q, "group_sets"); len(sets) > 1 {
		add("ROLLUP, CUBE and GROUPING SETS are computed over all rows")
	}
	for _, m := range nodes(list(q, "modifiers")) {
		if len(list(m, "distinct_on_targets")) > 0 {
			add("DISTINCT ON keeps one row of several, which needs all rows")
		}
	}
	for _, clause := range []string{"select_list", "having", "modifiers", "group_expressions", "where_clause"} {
		walk(q[clause], func(n node) bool {
			if isQuery(n) {
				return false
			}
			if str(n, "type") == "ORDER_MODIFIER" {
				if orders := nodes(list(n, "orders")); len(orders) == 1 && class(sub(orders[0], "expression")) == "STAR" {
					return false
				}
			}
			name := strings.ToLower(str(n, "function_name"))
			switch {
			case class(n) == "WINDOW":
				add("the window function %s(...) OVER is computed over all rows", name)
			case class(n) == "STAR" && flag(n, "columns"):
				add("COLUMNS(...) is computed over all rows; name the columns")
			case class(n) == "STAR":
				add("* selects rows as they are")
			case class(n) == "POSITIONAL_REFERENCE":
				add("#1 names a column by its place; write its name")
			case str(n, "type") == "GROUPING_FUNCTION":
				add("GROUPING is computed over all rows")
			case class(n) == "FUNCTION" && (name == "unnest" || name == "unlist" || name == "generate_subscripts" || name == "regexp_split_to_table"):
				add("%s in the SELECT list makes several rows of one", name)
			}
			return true
		})
	}
}

// fromObstacles checks that each row of the topic meets the reference tables by itself: no reference row without a
// topic row, no topic row that depends on another.
func (p *planner) fromObstacles(add func(string, ...any)) {
	reads := 0
	visitTables(p.query, func(n node) {
		if p.isTopic(n) {
			reads++
		}
	})
	if reads > 1 {
		add("it reads %s more than once", p.view.Topic)
		return
	}
	for _, t := range fromTables(sub(p.query, "from_table")) {
		if p.isTopic(t) {
			p.alias = tableAlias(t)
			if len(list(t, "column_name_alias")) > 0 {
				add("%s has its columns renamed in FROM", p.view.Topic)
			}
		}
	}
	if p.alias == "" {
		add("it reads %s inside a subquery", p.view.Topic)
		return
	}
	p.joinObstacles(sub(p.query, "from_table"), add)
}

func (p *planner) isTopic(n node) bool {
	return str(n, "type") == "BASE_TABLE" && str(n, "schema_name") == "" && strings.EqualFold(str(n, "table_name"), p.view.Topic)
}

func (p *planner) joinObstacles(from node, add func(string, ...any)) {
	if str(from, "type") != "JOIN" {
		return
	}
	left, right := sub(from, "left"), sub(from, "right")
	onLeft := slices.ContainsFunc(fromTables(left), p.isTopic)
	onRight := slices.ContainsFunc(fromTables(right), p.isTopic)
	kind, ref := str(from, "join_type"), str(from, "ref_type")
	switch {
	case !onLeft && !onRight:
		return
	case ref == "POSITIONAL":
		add("POSITIONAL JOIN pairs rows by their place")
	case ref == "ASOF" && onRight:
		add("ASOF JOIN with %s on the right looks at all its rows", p.view.Topic)
	case kind == "INNER" || onLeft && (kind == "LEFT" || kind == "SEMI" || kind == "ANTI") || onRight && kind == "RIGHT":
	default:
		add("%s JOIN keeps rows of the reference table that no record matches", joinName(kind))
	}
	p.joinObstacles(left, add)
	p.joinObstacles(right, add)
}

func joinName(kind string) string {
	if kind == "OUTER" {
		return "FULL"
	}
	return kind
}
