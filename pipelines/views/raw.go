package views

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// raw makes the plan that runs the SELECT itself over all rows.
func (b *build) raw() error {
	q := clone(b.query)
	names := append(append([]string(nil), b.view.Topics...), b.view.References...)
	visitTables(q, func(n node) {
		i := slices.IndexFunc(names, func(s string) bool { return strings.EqualFold(s, str(n, "table_name")) })
		n["alias"] = tableAlias(n)
		n["table_name"] = mark(i)
	})
	if err := b.settleTies(q); err != nil {
		return err
	}
	completeOrder(q, len(b.view.Columns))
	text, err := b.c.print(q)
	if err != nil {
		return err
	}
	b.view.Plans.Raw = text
	got, err := b.c.describe(b.view.RawSQL(nil))
	if err != nil {
		return fmt.Errorf("view %s: raw plan: %s", b.view.Name, engineError(err).message)
	}
	if !slices.Equal(got, b.view.Columns) {
		return fmt.Errorf("view %s: raw plan gives %v, not %v", b.view.Name, got, b.view.Columns)
	}
	return nil
}

// settleTies replaces, in every SELECT, the aggregates that hang on the order of records.
func (b *build) settleTies(q node) error {
	var failed error
	walk(q, func(n node) bool {
		if failed == nil && str(n, "type") == "SELECT_NODE" {
			failed = b.settleSelect(n)
		}
		return failed == nil
	})
	return failed
}

func (b *build) settleSelect(sel node) error {
	var order []string
	for _, t := range fromTables(sub(sel, "from_table")) {
		i, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(str(t, "table_name"), tableMark), "__"))
		if err == nil && i < len(b.view.Topics) && len(list(t, "column_name_alias")) == 0 {
			order = append(order, recordOrder(tableAlias(t))...)
		}
	}
	for i, item := range nodes(list(sel, "select_list")) {
		before := encodeTree(item)
		name := str(item, "alias")
		if name == "" && class(item) != "STAR" {
			var err error
			if name, err = b.c.printExpr(item); err != nil {
				return err
			}
		}
		settled, err := b.settle(item, order)
		if err != nil {
			return err
		}
		if encodeTree(settled) != before {
			list(sel, "select_list")[i] = withAlias(settled.(node), name)
		}
	}
	for _, key := range []string{"having", "modifiers", "qualify"} {
		if sel[key] == nil {
			continue
		}
		settled, err := b.settle(sel[key], order)
		if err != nil {
			return err
		}
		sel[key] = settled
	}
	return nil
}

// settle replaces such aggregates in one clause, but not in the SELECTs nested in it.
func (b *build) settle(v any, order []string) (any, error) {
	var failed error
	out := rewrite(v, func(n node) (node, bool) {
		if failed != nil || isQuery(n) {
			return n, true
		}
		a, ok := aggregateCall(n)
		t, isTied := tied[a.plain()]
		if !ok || !isTied || len(list(n, "children")) != t.args || a.distinct || len(list(sub(n, "order_bys"), "orders")) > 0 {
			return nil, false
		}
		if len(order) == 0 && t.args == 1 {
			return nil, false // the rows come from a subquery, whose order may be meant
		}
		b.tied = b.tied || len(order) > 0
		if failed = b.c.printCall(&a, n); failed != nil {
			return n, true
		}
		value, field := a.tie(order)
		settled, err := b.c.expr("struct_extract(" + value + ", '" + field + "')")
		if err != nil {
			failed = err
			return n, true
		}
		return withAlias(settled, str(n, "alias")), true
	})
	return out, failed
}

// aggregateCall reads the name of a function call.
func aggregateCall(n node) (call, bool) {
	if class(n) != "FUNCTION" {
		return call{}, false
	}
	return call{name: strings.ToLower(str(n, "function_name")), distinct: flag(n, "distinct")}, true
}

// printCall fills in a call's arguments and filter.
func (c *Compiler) printCall(a *call, n node) error {
	for _, arg := range nodes(list(n, "children")) {
		text, err := c.printExpr(arg)
		if err != nil {
			return err
		}
		a.args = append(a.args, text)
	}
	if f := sub(n, "filter"); f != nil {
		text, err := c.printExpr(f)
		if err != nil {
			return err
		}
		a.filter = text
	}
	return nil
}

// completeOrder makes an ORDER BY total over the answer's rows: every column it leaves out follows, from left to
// right. A LIMIT without ORDER BY gets the whole of it.
func completeOrder(q node, columns int) {
	modifiers := list(q, "modifiers")
	at := -1
	for i, m := range nodes(modifiers) {
		switch str(m, "type") {
		case "ORDER_MODIFIER":
			at = i
		case "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER":
			if at < 0 {
				order := node{"type": "ORDER_MODIFIER", "orders": []any{}}
				modifiers = slices.Insert(modifiers, i, any(order))
				at = i
			}
		case "DISTINCT_MODIFIER":
			if len(list(m, "distinct_on_targets")) > 0 {
				return // which row stays is decided before the order is complete
			}
		}
	}
	if at < 0 {
		return
	}
	q["modifiers"] = modifiers
	order := modifiers[at].(node)
	used := map[int]bool{}
	for _, o := range nodes(list(order, "orders")) {
		e := sub(o, "expression")
		if class(e) == "STAR" {
			return
		}
		if p, ok := position(e); ok {
			used[p] = true
		}
	}
	for p := 1; p <= columns; p++ {
		if !used[p] {
			order["orders"] = append(list(order, "orders"), orderBy(p))
		}
	}
}

func orderBy(p int) node {
	return node{"type": "ORDER_DEFAULT", "null_order": "ORDER_DEFAULT", "expression": positionNode(p)}
}

func positionNode(p int) node {
	return node{"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "query_location": json.Number("18446744073709551615"),
		"value": node{"type": node{"id": "INTEGER", "type_info": nil}, "is_null": false, "value": json.Number(strconv.Itoa(p))}}
}

// position is the integer that an expression of GROUP BY or ORDER BY consists of.
func position(e node) (int, bool) {
	if class(e) != "CONSTANT" {
		return 0, false
	}
	value := sub(e, "value")
	if id := str(sub(value, "type"), "id"); id != "INTEGER" && id != "BIGINT" {
		return 0, false
	}
	n, ok := value["value"].(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return int(i), err == nil
}
