package tree

import "strings"

// NameAs gives an expression a name, by an alias if it needs one.
func NameAs(e Node, name string) {
	names := e.ColumnNames()
	if e["alias"] = name; len(names) > 0 && names[len(names)-1] == name {
		e["alias"] = ""
	}
}

// RenameRefs writes another name for the first of a reference's names; alone says whether also where there is only one.
func RenameRefs(v any, old, name string, alone bool) {
	Walk(v, func(n Node) bool {
		if n.Class() == "COLUMN_REF" && strings.EqualFold(n.ColumnNames()[0], old) && (alone || len(n.ColumnNames()) > 1) {
			n.List("column_names")[0] = name
		}
		if n.Class() == "STAR" && strings.EqualFold(n.Str("relation_name"), old) {
			n["relation_name"] = name
		}
		for _, e := range n.Nodes("qualified_exclude_list") {
			if strings.EqualFold(e.Str("table"), old) {
				e["table"] = name
			}
		}
		return true
	})
}

// RenameCTE gives another name to common table expression i of a query, wherever it is read.
func RenameCTE(q Node, i int, name string) {
	entries := q.Sub("cte_map").Nodes("map")
	old := strings.ToLower(entries[i].Str("key"))
	entries[i]["key"] = name
	if inner := entries[i].Sub("value").Sub("query").Sub("node"); inner.Str("type") == "RECURSIVE_CTE_NODE" {
		inner["cte_name"] = name
		Children(inner, func(c any) any { renameReads(c, old, name); return c })
	}
	for _, later := range entries[i+1:] {
		renameReads(later["value"], old, name)
	}
	for _, k := range SortedKeys(q) {
		if k != "cte_map" {
			renameReads(q[k], old, name)
		}
	}
}

// renameReads gives a table another name wherever a tree reads it and means the one of the query around.
func renameReads(v any, old, name string) {
	n, ok := v.(Node)
	if !ok {
		Children(v, func(c any) any { renameReads(c, old, name); return c })
		return
	}
	switch n.Str("type") {
	case "BASE_TABLE":
		if n.Str("schema_name") == "" && n.Str("catalog_name") == "" && strings.EqualFold(n.Str("table_name"), old) {
			n["alias"], n["table_name"] = n.TableAlias(), name
		}
		return
	case "RECURSIVE_CTE_NODE":
		if strings.EqualFold(n.Str("cte_name"), old) {
			return
		}
	}
	for _, e := range n.Sub("cte_map").Nodes("map") {
		renameReads(e["value"], old, name)
		if strings.EqualFold(e.Str("key"), old) {
			return
		}
	}
	for _, k := range SortedKeys(n) {
		if k != "cte_map" {
			renameReads(n[k], old, name)
		}
	}
}
