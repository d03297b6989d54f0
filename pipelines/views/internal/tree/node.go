package tree

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// Node is one object of DuckDB's parse tree: its fields by name, each a node, a list []any, a text, a json.Number, a boolean
// or nil. Numbers are json.Number, for locations and wide integers do not fit a float64. A nil node has no fields.
type Node map[string]any

// Decode reads the tree that json_serialize_sql gives.
func Decode(text string) (Node, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var n map[string]any
	err := d.Decode(&n)
	return objects(n).(Node), err
}

// objects makes nodes of the objects in what was decoded.
func objects(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(Node, len(v))
		for k, x := range v {
			out[k] = objects(x)
		}
		return out
	case []any:
		for i, x := range v {
			v[i] = objects(x)
		}
	}
	return v
}

// Encode is a tree as JSON, with a line break at its end: equal for equal trees.
func Encode(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // a tree holds only maps, lists, strings, numbers, booleans and nil
	}
	return b.String()
}

// Clone is a copy of a tree that shares nothing with it.
func (n Node) Clone() Node { return cloneAny(n).(Node) }

// Str is a field that is a text; empty if there is none.
func (n Node) Str(key string) string { s, _ := n[key].(string); return s }

// Sub is a field that is a node; nil if there is none.
func (n Node) Sub(key string) Node { m, _ := n[key].(Node); return m }

// List is a field that is a list; nil if there is none. It is the tree's own.
func (n Node) List(key string) []any { l, _ := n[key].([]any); return l }

// Nodes are the nodes in a field that is a list.
func (n Node) Nodes(key string) []Node { return Nodes(n.List(key)) }

// Flag is a field that is a boolean.
func (n Node) Flag(key string) bool { b, _ := n[key].(bool); return b }

// Class is what kind of expression a node is: COLUMN_REF, FUNCTION, CONSTANT ...; empty if it is none.
func (n Node) Class() string { return n.Str("class") }

// IsQuery says whether a node is a query: a SELECT, a set operation or a recursive CTE.
func (n Node) IsQuery() bool { _, ok := n["cte_map"]; return ok }

// ColumnNames are the names in a reference to a column: its own last, unless fields are taken from it.
func (n Node) ColumnNames() []string {
	var out []string
	for _, x := range n.List("column_names") {
		s, _ := x.(string)
		out = append(out, s)
	}
	return out
}

// WithAlias returns the expression itself under another alias; an argument's alias is its name in struct_pack(a := 1).
func (n Node) WithAlias(alias string) Node {
	n["alias"] = alias
	return n
}

// TableAlias is the name by which a table in FROM is known to the SELECT.
func (n Node) TableAlias() string {
	if a := n.Str("alias"); a != "" {
		return a
	}
	if n.Str("type") == "TABLE_FUNCTION" {
		return n.Sub("function").Str("function_name")
	}
	return n.Str("table_name")
}

// Address tells the nodes of one tree apart: a common table expression may have a topic's name.
func (n Node) Address() uintptr { return reflect.ValueOf(n).Pointer() }

func cloneAny(v any) any {
	switch v := v.(type) {
	case Node:
		out := make(Node, len(v))
		for k, x := range v {
			out[k] = cloneAny(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = cloneAny(x)
		}
		return out
	}
	return v
}

// Nodes are the nodes in a list.
func Nodes(l []any) []Node {
	out := make([]Node, 0, len(l))
	for _, x := range l {
		if n, ok := x.(Node); ok {
			out = append(out, n)
		}
	}
	return out
}

// AsList is nodes as a field of a node holds them.
func AsList(l []Node) []any {
	out := make([]any, len(l))
	for i, n := range l {
		out[i] = n
	}
	return out
}

// Children visits the direct children of v in a fixed order and replaces each with what f gives.
func Children(v any, f func(any) any) {
	switch v := v.(type) {
	case Node:
		for _, k := range SortedKeys(v) {
			switch v[k].(type) {
			case Node, []any:
				v[k] = f(v[k])
			}
		}
	case []any:
		for i, x := range v {
			switch x.(type) {
			case Node, []any:
				v[i] = f(x)
			}
		}
	}
}

// SortedKeys are the names of a node's fields, in the order in which trees are gone through.
func SortedKeys(n Node) []string {
	ks := make([]string, 0, len(n))
	for k := range n {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}

// Walk visits every node of a tree, parents first; f says whether to go into the node.
func Walk(v any, f func(Node) bool) {
	if n, ok := v.(Node); ok && !f(n) {
		return
	}
	Children(v, func(c any) any { Walk(c, f); return c })
}

// Rewrite replaces nodes, parents first: where f gives a node, it stands for the old one, alias and all, and is not
// gone into.
func Rewrite(v any, f func(Node) (Node, bool)) any {
	if n, ok := v.(Node); ok {
		if r, ok := f(n); ok {
			return r
		}
	}
	Children(v, func(c any) any { return Rewrite(c, f) })
	return v
}

// VisitTables calls f for every base table in a tree that is not a common table expression in scope there.
func VisitTables(v any, f func(Node)) { visitScoped(v, nil, f) }

func visitScoped(v any, ctes []string, f func(Node)) {
	n, ok := v.(Node)
	if !ok {
		Children(v, func(c any) any { visitScoped(c, ctes, f); return c })
		return
	}
	if n.Str("type") == "BASE_TABLE" {
		if n.Str("schema_name") != "" || n.Str("catalog_name") != "" || !slices.Contains(ctes, strings.ToLower(n.Str("table_name"))) {
			f(n)
		}
		return
	}
	if !n.IsQuery() {
		Children(n, func(c any) any { visitScoped(c, ctes, f); return c })
		return
	}
	ctes = slices.Clone(ctes)
	if n.Str("type") == "RECURSIVE_CTE_NODE" {
		ctes = append(ctes, strings.ToLower(n.Str("cte_name")))
	}
	for _, e := range n.Sub("cte_map").Nodes("map") {
		visitScoped(e["value"], ctes, f)
		ctes = append(ctes, strings.ToLower(e.Str("key")))
	}
	for _, k := range SortedKeys(n) {
		if k != "cte_map" {
			visitScoped(n[k], ctes, f)
		}
	}
}
