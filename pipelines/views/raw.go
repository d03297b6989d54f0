package views

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// settle fixes the answer where SQL leaves it open.
func (b *build) settle() error {
	b.settled = clone(b.query)
	nameColumns(b.settled, b.view.Columns)
	s := &settler{c: b.c, sketches: true, isTopic: func(t node) bool {
		_, _, ok := lookup(b.topics, str(t, "table_name"))
		return ok
	}}
	if err := s.settleQuery(b.settled, nil); err != nil {
		return err
	}
	b.tied, b.sketched = s.used, s.sketched
	completeOrder(b.settled, len(b.view.Columns))
	return nil
}

// raw makes the plan that runs the SELECT itself over all rows.
func (b *build) raw() error {
	q := clone(b.settled)
	s := &settler{c: b.c, moments: true, isTopic: func(node) bool { return false }}
	if err := s.settleQuery(q, nil); err != nil {
		return err
	}
	names := append(append([]string(nil), b.view.Topics...), b.view.References...)
	visitTables(q, func(n node) {
		i := slices.IndexFunc(names, func(s string) bool { return strings.EqualFold(s, str(n, "table_name")) })
		n["alias"] = tableAlias(n)
		n["table_name"] = mark(i)
	})
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
		b.view.Plans.Raw, b.rawCast = castColumns(text, got, b.view.Columns), true
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
	return node{"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "query_location": nowhere,
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

// integer is a number of the tree.
func integer(v any) int {
	n, _ := v.(json.Number)
	i, _ := n.Int64()
	return int(i)
}
