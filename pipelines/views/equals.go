package views

import (
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// equals finds for each table that the query reads once what its WHERE demands of the table's columns: that they equal
// constants. Only a SELECT from the table alone counts, for what stands in its WHERE decides over the table's rows and nothing else.
func (a *adhoc) equals() error {
	reads := map[string]int{}
	names := map[uintptr]string{} // of the nodes of FROM, by address
	tree.VisitTables(a.query, func(n tree.Node) {
		key := n.Str("schema_name") + "." + n.Str("table_name")
		reads[key]++
		names[n.Address()] = key
	})
	var failed error
	tree.Walk(a.query, func(n tree.Node) bool {
		from := n.Sub("from_table")
		if n.Str("type") != "SELECT_NODE" || from == nil || failed != nil {
			return failed == nil
		}
		key, known := names[from.Address()]
		i := slices.IndexFunc(a.tables, func(t Table) bool { return t.Schema+"."+t.Name == key })
		if !known || i < 0 || reads[key] != 1 || len(from.List("column_name_alias")) > 0 || from["sample"] != nil || n["sample"] != nil {
			return true
		}
		for _, c := range tree.Conjuncts(n.Sub("where_clause")) {
			column, value := a.equal(c, from, key)
			if column == "" {
				continue
			}
			text, err := a.duck.PrintExpr(value)
			if err != nil {
				failed = err
				return false
			}
			a.tables[i].Equals = append(a.tables[i].Equals, Equal{column, text})
		}
		return true
	})
	return failed
}

// equal is the table's column and the constant that a condition demands it to be; no column if it is another condition.
func (a *adhoc) equal(c, from tree.Node, key string) (column string, value tree.Node) {
	if c.Str("type") != "COMPARE_EQUAL" {
		return "", nil
	}
	ref, value := c.Sub("left"), c.Sub("right")
	if ref.Class() != "COLUMN_REF" {
		ref, value = value, ref
	}
	names := ref.ColumnNames()
	if ref.Class() != "COLUMN_REF" || !value.IsConstant() || len(names) > 2 || len(names) == 2 && !strings.EqualFold(names[0], from.TableAlias()) {
		return "", nil
	}
	for _, known := range a.columns[key] {
		if strings.EqualFold(known.Name, names[len(names)-1]) {
			return known.Name, value
		}
	}
	return "", nil
}
