package views

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// node is one object of DuckDB's parse tree. Numbers in it are json.Number, for locations and wide integers do not fit
// a float64.
type node = map[string]any

func decodeTree(text string) (node, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var n node
	err := d.Decode(&n)
	return n, err
}

func encodeTree(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // a tree holds only maps, lists, strings, numbers, booleans and nil
	}
	return b.String()
}

func clone(n node) node { return cloneAny(n).(node) }

func cloneAny(v any) any {
	switch v := v.(type) {
	case node:
		out := make(node, len(v))
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

func str(n node, key string) string { s, _ := n[key].(string); return s }

func sub(n node, key string) node { m, _ := n[key].(node); return m }

func list(n node, key string) []any { l, _ := n[key].([]any); return l }

func flag(n node, key string) bool { b, _ := n[key].(bool); return b }

func class(n node) string { return str(n, "class") }

func nodes(l []any) []node {
	out := make([]node, 0, len(l))
	for _, x := range l {
		if n, ok := x.(node); ok {
			out = append(out, n)
		}
	}
	return out
}

func anys(l []node) []any {
	out := make([]any, len(l))
	for i, n := range l {
		out[i] = n
	}
	return out
}

// location is the byte offset of a node in the text that was parsed, -1 if it has none.
func location(n node) int {
	num, ok := n["query_location"].(json.Number)
	if !ok {
		return -1
	}
	i, err := num.Int64()
	if err != nil {
		return -1
	}
	return int(i)
}

// isQuery says whether a node is a query: a SELECT, a set operation or a recursive CTE.
func isQuery(n node) bool { _, ok := n["cte_map"]; return ok }

func columnNames(n node) []string {
	var out []string
	for _, x := range list(n, "column_names") {
		s, _ := x.(string)
		out = append(out, s)
	}
	return out
}

func columnRef(names ...string) node {
	l := make([]any, len(names))
	for i, s := range names {
		l[i] = s
	}
	return node{"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "query_location": nowhere, "column_names": l}
}

// children visits the direct children of v in a fixed order and replaces each with what f gives.
func children(v any, f func(any) any) {
	switch v := v.(type) {
	case node:
		for _, k := range sortedKeys(v) {
			switch v[k].(type) {
			case node, []any:
				v[k] = f(v[k])
			}
		}
	case []any:
		for i, x := range v {
			switch x.(type) {
			case node, []any:
				v[i] = f(x)
			}
		}
	}
}

func sortedKeys(n node) []string {
	ks := make([]string, 0, len(n))
	for k := range n {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}

// walk visits every node of a tree, parents first; f says whether to go into the node.
func walk(v any, f func(node) bool) {
	if n, ok := v.(node); ok && !f(n) {
		return
	}
	children(v, func(c any) any { walk(c, f); return c })
}

// rewrite replaces nodes, parents first: where f gives a node, it stands for the old one, alias and all, and is not
// gone into.
func rewrite(v any, f func(node) (node, bool)) any {
	if n, ok := v.(node); ok {
		if r, ok := f(n); ok {
			return r
		}
	}
	children(v, func(c any) any { return rewrite(c, f) })
	return v
}

// withAlias returns the expression under another alias; an argument's alias is its name in struct_pack(a := 1).
func withAlias(n node, alias string) node {
	n["alias"] = alias
	return n
}

// visitTables calls f for every base table that is not a common table expression in scope there.
func visitTables(query node, f func(node)) { visitScoped(query, nil, f) }

func visitScoped(v any, ctes []string, f func(node)) {
	n, ok := v.(node)
	if !ok {
		children(v, func(c any) any { visitScoped(c, ctes, f); return c })
		return
	}
	if str(n, "type") == "BASE_TABLE" {
		if str(n, "schema_name") != "" || str(n, "catalog_name") != "" || !slices.Contains(ctes, strings.ToLower(str(n, "table_name"))) {
			f(n)
		}
		return
	}
	if !isQuery(n) {
		children(n, func(c any) any { visitScoped(c, ctes, f); return c })
		return
	}
	ctes = slices.Clone(ctes)
	if str(n, "type") == "RECURSIVE_CTE_NODE" {
		ctes = append(ctes, strings.ToLower(str(n, "cte_name")))
	}
	for _, e := range nodes(list(sub(n, "cte_map"), "map")) {
		visitScoped(e["value"], ctes, f)
		ctes = append(ctes, strings.ToLower(str(e, "key")))
	}
	for _, k := range sortedKeys(n) {
		if k != "cte_map" {
			visitScoped(n[k], ctes, f)
		}
	}
}
