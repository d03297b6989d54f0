package tree

import "slices"

// HasOrder says whether a query has an ORDER BY.
func HasOrder(q Node) bool {
	return slices.ContainsFunc(q.Nodes("modifiers"), func(m Node) bool { return m.Str("type") == "ORDER_MODIFIER" })
}

// CompleteOrder makes an ORDER BY total over the answer's rows: every column it leaves out follows, from left to
// right. A LIMIT without ORDER BY gets the whole of it.
func CompleteOrder(q Node, columns int) {
	modifiers := q.List("modifiers")
	at := -1
	for i, m := range Nodes(modifiers) {
		switch m.Str("type") {
		case "ORDER_MODIFIER":
			at = i
		case "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER":
			if at < 0 {
				order := Node{"type": "ORDER_MODIFIER", "orders": []any{}}
				modifiers = slices.Insert(modifiers, i, any(order))
				at = i
			}
		case "DISTINCT_MODIFIER":
			if len(m.List("distinct_on_targets")) > 0 {
				return // which row stays is decided before the order is complete
			}
		}
	}
	if at < 0 {
		return
	}
	q["modifiers"] = modifiers
	order := modifiers[at].(Node)
	used := map[int]bool{}
	for _, o := range order.Nodes("orders") {
		e := o.Sub("expression")
		if e.Class() == "STAR" {
			return
		}
		if p, ok := e.Position(); ok {
			used[p] = true
		}
	}
	for p := 1; p <= columns; p++ {
		if !used[p] {
			order["orders"] = append(order.List("orders"), orderBy(p))
		}
	}
}

// orderBy is an entry of ORDER BY for an output column by its position.
func orderBy(p int) Node {
	return Node{"type": "ORDER_DEFAULT", "null_order": "ORDER_DEFAULT", "expression": Int(p)}
}

// Ascending is an entry of ORDER BY for an expression.
func Ascending(e Node) Node {
	return Node{"type": "ORDER_DEFAULT", "null_order": "ORDER_DEFAULT", "expression": e}
}

// NameOrder replaces what an ORDER BY orders by, of a query with so many output columns: ORDER BY ALL is written out, a
// position stays, and name gives what stands for any other expression. Errors are those of name.
func NameOrder(m Node, columns int, name func(e Node) (Node, error)) error {
	var orders []any
	for _, o := range m.Nodes("orders") {
		e := o.Sub("expression")
		if e.Class() == "STAR" {
			for i := range columns {
				each := orderBy(i + 1)
				each["type"], each["null_order"] = o["type"], o["null_order"]
				orders = append(orders, each)
			}
			continue
		}
		if _, ok := e.Position(); !ok {
			var err error
			if o["expression"], err = name(e); err != nil {
				return err
			}
		}
		orders = append(orders, o)
	}
	m["orders"] = orders
	return nil
}
