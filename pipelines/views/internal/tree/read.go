package tree

import (
	"encoding/json"
	"strings"
)

// Number is a number of the tree.
func Number(v any) int {
	n, _ := v.(json.Number)
	i, _ := n.Int64()
	return int(i)
}

// Conjuncts are the conditions that an expression joins by AND.
func Conjuncts(e Node) (out []Node) {
	if e.Str("type") != "CONJUNCTION_AND" {
		return []Node{e}
	}
	for _, c := range e.Nodes("children") {
		out = append(out, Conjuncts(c)...)
	}
	return out
}

// HasColumn says whether an expression has a column in it.
func HasColumn(e Node) bool {
	found := false
	Walk(e, func(n Node) bool { found = found || n.Class() == "COLUMN_REF"; return !found })
	return found
}

// HasQuery says whether there is a query in a tree.
func HasQuery(v any) bool {
	found := false
	Walk(v, func(n Node) bool { found = found || n.IsQuery(); return !found })
	return found
}

// FromTables lists the leaves of a FROM clause from left to right.
func FromTables(from Node) []Node {
	switch from.Str("type") {
	case "", "EMPTY":
		return nil
	case "JOIN":
		return append(FromTables(from.Sub("left")), FromTables(from.Sub("right"))...)
	}
	return []Node{from}
}

// Position is the integer that an expression of GROUP BY or ORDER BY consists of.
func (n Node) Position() (int, bool) {
	if n.Class() != "CONSTANT" {
		return 0, false
	}
	value := n.Sub("value")
	if id := value.Sub("type").Str("id"); id != "INTEGER" && id != "BIGINT" {
		return 0, false
	}
	number, ok := value["value"].(json.Number)
	if !ok {
		return 0, false
	}
	i, err := number.Int64()
	return int(i), err == nil
}

// Int is the whole number that a constant is.
func (n Node) Int() (int64, bool) {
	value := n.Sub("value")
	if n.Class() != "CONSTANT" || value.Flag("is_null") {
		return 0, false
	}
	number, ok := value["value"].(json.Number)
	if id := value.Sub("type").Str("id"); !ok || !strings.HasSuffix(id, "INT") && id != "INTEGER" {
		return 0, false
	}
	i, err := number.Int64()
	return i, err == nil
}

// IsConstant says whether an expression is a constant, or a cast of one.
func (n Node) IsConstant() bool {
	if n.Class() == "CAST" {
		n = n.Sub("child")
	}
	return n.Class() == "CONSTANT"
}
