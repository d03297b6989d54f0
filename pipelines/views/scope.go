package views

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/aggregate"
)

// scope is what the names in a SELECT mean: the tables of its FROM, in order, and the columns of each.
type scope struct {
	tables  []string                     // aliases, lower case
	columns map[string]map[string]string // table -> column in lower case -> as declared
}

// newScope asks DuckDB which columns each table in the FROM clause of a SELECT has.
func (c *Compiler) newScope(sel node) (*scope, error) {
	s := &scope{columns: map[string]map[string]string{}}
	probe := emptySelect(sel)
	for _, t := range fromTables(sub(sel, "from_table")) {
		alias := tableAlias(t)
		if alias == "" {
			continue
		}
		star, err := c.expr(quoteName(alias) + ".*")
		if err != nil {
			return nil, err
		}
		probe["select_list"] = []any{star}
		text, err := c.print(probe)
		if err != nil {
			return nil, err
		}
		cols, err := c.describe(text)
		if err != nil {
			continue // the right side of a SEMI or ANTI join has no columns here
		}
		key := strings.ToLower(alias)
		if s.columns[key] == nil {
			s.tables = append(s.tables, key)
			s.columns[key] = map[string]string{}
		}
		for _, col := range cols {
			s.columns[key][strings.ToLower(col.Name)] = col.Name
		}
	}
	return s, nil
}

// emptySelect is a SELECT with nothing but the FROM clause of another, and the common table expressions it may read.
func emptySelect(sel node) node {
	ctes := sub(sel, "cte_map")
	if ctes == nil {
		ctes = node{"map": []any{}}
	}
	return node{
		"type": "SELECT_NODE", "modifiers": []any{}, "cte_map": ctes, "select_list": []any{},
		"from_table": sel["from_table"], "where_clause": nil, "group_expressions": []any{}, "group_sets": []any{},
		"aggregate_handling": "STANDARD_HANDLING", "having": nil, "sample": nil, "qualify": nil,
	}
}

// fromTables lists the leaves of a FROM clause from left to right.
func fromTables(from node) []node {
	switch str(from, "type") {
	case "", "EMPTY":
		return nil
	case "JOIN":
		return append(fromTables(sub(from, "left")), fromTables(sub(from, "right"))...)
	}
	return []node{from}
}

func tableAlias(t node) string {
	if a := str(t, "alias"); a != "" {
		return a
	}
	if str(t, "type") == "TABLE_FUNCTION" {
		return str(sub(t, "function"), "function_name")
	}
	return str(t, "table_name")
}

// resolve finds the column that a reference means, and the struct fields taken from it.
func (s *scope) resolve(names []string) (table, column string, fields []string, ok bool) {
	first := strings.ToLower(names[0])
	if len(names) > 1 {
		if col, ok := s.columns[first][strings.ToLower(names[1])]; ok {
			return first, col, names[2:], true
		}
	}
	for _, t := range s.tables {
		if col, ok := s.columns[t][first]; ok {
			return t, col, names[1:], true
		}
	}
	return "", "", nil, false
}

// key is a text that is equal for expressions that mean the same to GROUP BY: places, the outer alias, upper and lower
// case of names and omitted table names do not matter.
func (s *scope) key(e node, params []string) string {
	return encodeTree(s.qualify(withAlias(clone(e), ""), params))
}

func (s *scope) qualify(v any, params []string) any {
	n, ok := v.(node)
	if !ok {
		children(v, func(c any) any { return s.qualify(c, params) })
		return v
	}
	delete(n, "query_location")
	if class(n) == "SUBQUERY" {
		walk(n, func(c node) bool { delete(c, "query_location"); return true })
		return n
	}
	if f, ok := n["function_name"].(string); ok {
		n["function_name"] = strings.ToLower(f)
	}
	if class(n) == "COLUMN_REF" {
		return s.qualifyRef(n, params)
	}
	params = append(slices.Clip(params), lambdaParams(n)...)
	children(n, func(c any) any { return s.qualify(c, params) })
	return n
}

func (s *scope) qualifyRef(n node, params []string) node {
	names := columnNames(n)
	if slices.Contains(params, strings.ToLower(names[0])) {
		return n
	}
	table, column, fields, ok := s.resolve(names)
	if !ok {
		return n
	}
	out := node{"class": "COLUMN_REF", "column_names": []any{table, strings.ToLower(column)}, "alias": ""}
	for _, f := range fields {
		out = node{"class": "FIELD", "of": out, "field": strings.ToLower(f), "alias": ""}
	}
	out["alias"] = n["alias"]
	return out
}

// lambdaFunctions take a lambda; anywhere else, a -> b takes a value out of JSON.
var lambdaFunctions = map[string]bool{
	"list_transform": true, "array_transform": true, "list_apply": true, "array_apply": true, "apply": true,
	"list_filter": true, "array_filter": true, "filter": true, "list_reduce": true, "array_reduce": true, "reduce": true,
}

// lambdaParams are the names that the lambdas among a function's arguments bind, in lower case.
func lambdaParams(n node) []string {
	if class(n) != "FUNCTION" || !lambdaFunctions[strings.ToLower(str(n, "function_name"))] {
		return nil
	}
	var out []string
	for _, arg := range nodes(list(n, "children")) {
		if class(arg) == "LAMBDA" {
			walk(arg["lhs"], func(p node) bool {
				if class(p) == "COLUMN_REF" {
					out = append(out, strings.ToLower(columnNames(p)[0]))
				}
				return true
			})
		}
	}
	return out
}

// expand puts the SELECT list's expressions in place of their aliases. A column of the FROM clause comes before an
// alias of the same name, unless aliasFirst.
func (s *scope) expand(e node, aliases map[string]node, aliasFirst bool) node {
	return s.expandAny(clone(e), aliases, aliasFirst, nil).(node)
}

func (s *scope) expandAny(v any, aliases map[string]node, aliasFirst bool, params []string) any {
	n, ok := v.(node)
	if !ok {
		children(v, func(c any) any { return s.expandAny(c, aliases, aliasFirst, params) })
		return v
	}
	if isQuery(n) {
		return n
	}
	if class(n) == "COLUMN_REF" {
		names := columnNames(n)
		name := strings.ToLower(names[0])
		item, ok := aliases[name]
		if !ok || len(names) > 1 || slices.Contains(params, name) {
			return n
		}
		if _, _, _, isColumn := s.resolve(names); isColumn && !aliasFirst {
			return n
		}
		return withAlias(clone(item), str(n, "alias"))
	}
	params = append(slices.Clip(params), lambdaParams(n)...)
	children(n, func(c any) any { return s.expandAny(c, aliases, aliasFirst, params) })
	return n
}

// hasAggregate says whether an expression makes one row of many.
func (c *Compiler) hasAggregate(e any) bool {
	found := false
	walk(e, func(n node) bool {
		if isQuery(n) {
			return false
		}
		found = found || c.isAggregate(n)
		return !found
	})
	return found
}

func (c *Compiler) isAggregate(n node) bool {
	a, ok := aggregateCall(n)
	return ok && (c.aggregates[a.Name] || aggregate.IsMacro(a.Name))
}

// typeWithin is the type of an expression over the rows that a SELECT reads.
func (c *Compiler) typeWithin(sel node, expr string) (string, error) {
	e, err := c.expr(expr)
	if err != nil {
		return "", err
	}
	q := emptySelect(sel)
	q["select_list"] = []any{e}
	text, err := c.print(q)
	if err != nil {
		return "", err
	}
	cols, err := c.describe(text)
	if err != nil {
		return "", blocked(fmt.Sprintf("the type of %s is not known without the whole query", expr))
	}
	return cols[0].Type, nil
}
