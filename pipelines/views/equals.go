package views

import (
	"slices"
	"strings"
)

// equals finds for each table that the query reads once what its WHERE demands of the table's columns: that they equal
// constants. Only a SELECT from the table alone counts, for what stands in its WHERE decides over the table's rows and nothing else.
func (a *adhoc) equals() error {
	reads := map[string]int{}
	names := map[uintptr]string{} // of the nodes of FROM, by address
	visitTables(a.query, func(n node) {
		key := str(n, "schema_name") + "." + str(n, "table_name")
		reads[key]++
		names[address(n)] = key
	})
	var failed error
	walk(a.query, func(n node) bool {
		from := sub(n, "from_table")
		if str(n, "type") != "SELECT_NODE" || from == nil || failed != nil {
			return failed == nil
		}
		key, known := names[address(from)]
		i := slices.IndexFunc(a.tables, func(t Table) bool { return t.Schema+"."+t.Name == key })
		if !known || i < 0 || reads[key] != 1 || len(list(from, "column_name_alias")) > 0 || from["sample"] != nil || n["sample"] != nil {
			return true
		}
		for _, c := range conjuncts(sub(n, "where_clause")) {
			column, value := a.equal(c, from, key)
			if column == "" {
				continue
			}
			text, err := a.c.printExpr(value)
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

// conjuncts are the conditions that an expression joins by AND.
func conjuncts(e node) (out []node) {
	if str(e, "type") != "CONJUNCTION_AND" {
		return []node{e}
	}
	for _, c := range nodes(list(e, "children")) {
		out = append(out, conjuncts(c)...)
	}
	return out
}

// equal is the table's column and the constant that a condition demands it to be; no column if it is another condition.
func (a *adhoc) equal(c, from node, key string) (column string, value node) {
	if str(c, "type") != "COMPARE_EQUAL" {
		return "", nil
	}
	ref, value := sub(c, "left"), sub(c, "right")
	if class(ref) != "COLUMN_REF" {
		ref, value = value, ref
	}
	names := columnNames(ref)
	if class(ref) != "COLUMN_REF" || !isConstant(value) || len(names) > 2 || len(names) == 2 && !strings.EqualFold(names[0], tableAlias(from)) {
		return "", nil
	}
	for _, known := range a.columns[key] {
		if strings.EqualFold(known.Name, names[len(names)-1]) {
			return known.Name, value
		}
	}
	return "", nil
}
