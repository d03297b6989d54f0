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
	nameColumns(q, b.view.Columns)
	names := append(append([]string(nil), b.view.Topics...), b.view.References...)
	visitTables(q, func(n node) {
		i := slices.IndexFunc(names, func(s string) bool { return strings.EqualFold(s, str(n, "table_name")) })
		n["alias"] = tableAlias(n)
		n["table_name"] = mark(i)
	})
	ties := &settler{c: b.c, isTopic: func(t node) bool {
		i, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(str(t, "table_name"), tableMark), "__"))
		return err == nil && i < len(b.view.Topics)
	}}
	if err := ties.settleTies(q); err != nil {
		return err
	}
	b.tied = ties.used
	completeOrder(q, len(b.view.Columns))
	text, err := b.c.print(clone(q))
	if err != nil {
		return err
	}
	b.view.Plans.Raw, b.rawTree = text, q
	got, err := b.c.describe(b.view.RawSQL(nil))
	if err != nil {
		return fmt.Errorf("view %s: raw plan: %s\n%s", b.view.Name, engineError(err).message, b.view.RawSQL(nil))
	}
	if !slices.Equal(got, b.view.Columns) {
		return fmt.Errorf("view %s: raw plan gives %v, not %v", b.view.Name, got, b.view.Columns)
	}
	return nil
}

// nameColumns writes the answer's names into the SELECT list, for an unnamed column is called after its text, and plans
// change the text.
func nameColumns(q node, columns []Column) {
	for str(q, "type") == "SET_OPERATION_NODE" {
		q = sub(q, "left")
	}
	items := nodes(list(q, "select_list"))
	if len(items) != len(columns) {
		return
	}
	for _, item := range items {
		if class(item) == "STAR" {
			return
		}
	}
	for i, item := range items {
		if class(item) != "COLUMN_REF" && str(item, "alias") == "" {
			item["alias"] = columns[i].Name
		}
	}
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
