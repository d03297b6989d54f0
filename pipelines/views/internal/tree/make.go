package tree

import (
	"encoding/json"
	"strconv"
)

// ColumnRef is a reference to a column: its name, or the names of its table and itself, or of fields in it too.
func ColumnRef(names ...string) Node {
	l := make([]any, len(names))
	for i, s := range names {
		l[i] = s
	}
	return Node{"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "query_location": nowhere, "column_names": l}
}

// Constant is a constant expression of a value in the tree's own form.
func Constant(value Node) Node {
	return Node{"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "query_location": nowhere, "value": value}
}

// constantOf is a constant of a type.
func constantOf(id string, value any) Node {
	return Constant(Node{"type": Node{"id": id, "type_info": nil}, "is_null": false, "value": value})
}

// Int is an INTEGER constant, which in GROUP BY and ORDER BY is a column by its position.
func Int(i int) Node { return constantOf("INTEGER", json.Number(strconv.Itoa(i))) }

// Text is a VARCHAR constant.
func Text(s string) Node { return constantOf("VARCHAR", s) }

// True is the constant true.
func True() Node { return constantOf("BOOLEAN", true) }

// AllOf joins conditions, at least one, by AND.
func AllOf(conditions []Node) Node {
	if len(conditions) == 1 {
		return conditions[0]
	}
	return Node{"class": "CONJUNCTION", "type": "CONJUNCTION_AND", "alias": "", "query_location": nowhere, "children": AsList(conditions)}
}

// Star is all columns, of one table if it is named.
func Star(table string) Node {
	return Node{"class": "STAR", "type": "STAR", "alias": "", "query_location": nowhere, "relation_name": table,
		"exclude_list": []any{}, "replace_list": []any{}, "columns": false, "expr": nil, "qualified_exclude_list": []any{}, "rename_list": []any{}}
}

// EmptySelect is a SELECT with nothing but the FROM clause of another, and the common table expressions it may read.
func EmptySelect(sel Node) Node {
	ctes := sel.Sub("cte_map")
	if ctes == nil {
		ctes = Node{"map": []any{}}
	}
	return Node{
		"type": "SELECT_NODE", "modifiers": []any{}, "cte_map": ctes, "select_list": []any{},
		"from_table": sel["from_table"], "where_clause": nil, "group_expressions": []any{}, "group_sets": []any{},
		"aggregate_handling": "STANDARD_HANDLING", "having": nil, "sample": nil, "qualify": nil,
	}
}

// SelectFrom is a SELECT of expressions from a FROM clause.
func SelectFrom(from Node, items ...Node) Node {
	q := EmptySelect(Node{"from_table": from})
	q["select_list"] = AsList(items)
	return q
}

// Subquery is a query in FROM.
func Subquery(q Node, alias string) Node {
	return Node{"type": "SUBQUERY", "alias": alias, "sample": nil, "query_location": nowhere,
		"subquery": Node{"node": q, "named_param_map": []any{}}, "column_name_alias": []any{}}
}

// SubqueryFor is a query that stands in FROM for what stood there.
func SubqueryFor(t, q Node, alias string) Node {
	out := Subquery(q, alias)
	out["sample"], out["query_location"], out["column_name_alias"] = t["sample"], t["query_location"], t["column_name_alias"]
	return out
}

// Table is a table in FROM.
func Table(name, alias string) Node {
	return Node{"type": "BASE_TABLE", "alias": alias, "sample": nil, "query_location": nowhere,
		"schema_name": "", "catalog_name": "", "table_name": name, "column_name_alias": []any{}, "at_clause": nil}
}

// CrossJoin is a FROM clause with the tables of two.
func CrossJoin(left, right Node) Node {
	if left == nil || left.Str("type") == "EMPTY" {
		return right
	}
	return Node{"type": "JOIN", "alias": "", "sample": nil, "left": left, "right": right, "condition": nil, "join_type": "INNER",
		"ref_type": "CROSS", "using_columns": []any{}, "delim_flipped": false, "duplicate_eliminated_columns": []any{}}
}
