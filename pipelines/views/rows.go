package views

import (
	"encoding/json"
	"fmt"
	"strings"
)

// keptRows is a SELECT whose rows are State as they are. With a LIMIT that is known, each part keeps no more of them than
// the answer may need.
type keptRows struct {
	first string // ORDER BY and LIMIT over State columns; empty: all
}

// keepRows turns a query of kind records into one over State that holds its rows.
func (p *planner) keepRows(q node, in []with) error {
	core := standing(q, in)
	text, err := p.c.print(clone(core))
	if err != nil {
		return err
	}
	cols, err := p.c.describe(text)
	if err != nil {
		return p.unbound(err)
	}
	g := &grouping{from: core, kept: &keptRows{}}
	for range cols {
		g.states = append(g.states, p.newState())
	}
	final, err := p.c.selectNode("SELECT 1")
	if err != nil {
		return err
	}
	final["select_list"] = []any{}
	for i, c := range cols {
		name := c.Name
		if p.isRoot(q) {
			name = p.view.Columns[i].Name
		}
		final["select_list"] = append(list(final, "select_list"), withAlias(columnRef(g.states[i].name), name))
	}
	modifiers := list(core, "modifiers")
	core["modifiers"] = []any{}
	for _, m := range nodes(modifiers) {
		if str(m, "type") == "ORDER_MODIFIER" {
			if err := p.orderRows(m, core, cols, g); err != nil {
				return err
			}
		}
	}
	final["modifiers"] = modifiers
	completeOrder(final, len(cols))
	if g.kept.first, err = p.first(final, g); err != nil {
		return err
	}
	final["from_table"] = p.place(func() string { return p.mergeOf(g) })
	if g.kept.first != "" {
		p.note("LIMIT: no part keeps more rows than the answer may need")
	} else {
		p.note("it does not group: its rows are kept as they are")
	}
	p.groupings = append(p.groupings, g)
	for k := range q {
		delete(q, k)
	}
	for k, v := range final {
		q[k] = v
	}
	return nil
}

func (p *planner) newState() *column {
	p.stated++
	return &column{name: fmt.Sprintf("s%d", p.stated-1)}
}

// orderRows names what ORDER BY orders by: an output column, or one more column that the rows then have.
func (p *planner) orderRows(m, core node, cols []Column, g *grouping) error {
	var orders []any
	for _, o := range nodes(list(m, "orders")) {
		e := sub(o, "expression")
		if class(e) == "STAR" {
			orders = append(orders, ofAll(o, len(cols))...)
			continue
		}
		if _, ok := position(e); !ok {
			at := -1
			for i, c := range cols {
				if class(e) == "COLUMN_REF" && len(columnNames(e)) == 1 && strings.EqualFold(columnNames(e)[0], c.Name) {
					at = i
					break
				}
			}
			if at < 0 {
				if str(core, "type") != "SELECT_NODE" {
					return blocked("ORDER BY of what UNION does not select is computed over all rows")
				}
				s := p.newState()
				core["select_list"] = append(list(core, "select_list"), withAlias(clone(e), s.name))
				g.states = append(g.states, s)
				o["expression"] = columnRef(s.name)
			} else {
				o["expression"] = positionNode(at + 1)
			}
		}
		orders = append(orders, o)
	}
	m["orders"] = orders
	return nil
}

// first is the ORDER BY and LIMIT that each part may apply by itself.
func (p *planner) first(final node, g *grouping) (string, error) {
	limit, found := int64(0), false
	only := node{"type": "ORDER_MODIFIER", "orders": []any{}}
	for _, m := range nodes(list(final, "modifiers")) {
		switch str(m, "type") {
		case "ORDER_MODIFIER":
			only = clone(m)
		case "LIMIT_MODIFIER":
			n, ok := constantInt(sub(m, "limit"))
			skip := int64(0)
			if m["offset"] != nil {
				var known bool
				skip, known = constantInt(sub(m, "offset"))
				ok = ok && known
			}
			limit, found = n+skip, ok
		default:
			return "", nil
		}
	}
	if !found || limit < 0 {
		return "", nil
	}
	for _, o := range nodes(list(only, "orders")) {
		if at, ok := position(sub(o, "expression")); ok {
			o["expression"] = columnRef(g.states[at-1].name)
		}
	}
	q, err := p.c.selectNode("SELECT 1")
	if err != nil {
		return "", err
	}
	q["modifiers"] = []any{only}
	text, err := p.c.print(q)
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(text, "SELECT 1") + fmt.Sprintf(" LIMIT %d", limit), nil
}

func constantInt(e node) (int64, bool) {
	if class(e) != "CONSTANT" || flag(sub(e, "value"), "is_null") {
		return 0, false
	}
	n, ok := sub(e, "value")["value"].(json.Number)
	if !ok || !strings.HasSuffix(str(sub(sub(e, "value"), "type"), "id"), "INT") && str(sub(sub(e, "value"), "type"), "id") != "INTEGER" {
		return 0, false
	}
	i, err := n.Int64()
	return i, err == nil
}
