package views

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// keptRows is a SELECT whose rows are State as they are. With a LIMIT that is known, each part keeps no more of them than
// the answer may need.
type keptRows struct {
	first string // ORDER BY and LIMIT over State columns; empty: all
}

// keepRows turns a query of kind records into one over State that holds its rows.
func (p *planner) keepRows(q tree.Node, in []cte) error {
	core := standing(q, in)
	text, err := p.duck.Print(core.Clone())
	if err != nil {
		return err
	}
	cols, err := p.duck.Describe(text)
	if err != nil {
		return p.unbound(err)
	}
	g := &section{from: core, kept: &keptRows{}}
	for range cols {
		g.states = append(g.states, p.newState())
	}
	final, err := p.duck.Select("SELECT 1")
	if err != nil {
		return err
	}
	final["select_list"] = []any{}
	for i, c := range cols {
		name := c.Name
		if p.isRoot(q) {
			name = p.view.Columns[i].Name
		}
		final["select_list"] = append(final.List("select_list"), tree.ColumnRef(g.states[i].name).WithAlias(name))
	}
	modifiers := core.List("modifiers")
	core["modifiers"] = []any{}
	for _, m := range tree.Nodes(modifiers) {
		if m.Str("type") == "ORDER_MODIFIER" {
			err := tree.NameOrder(m, len(cols), func(e tree.Node) (tree.Node, error) { return p.rowOrder(e, core, cols, g) })
			if err != nil {
				return err
			}
		}
	}
	final["modifiers"] = modifiers
	tree.CompleteOrder(final, len(cols))
	if g.kept.first, err = p.first(final, g); err != nil {
		return err
	}
	final["from_table"] = p.standIn(func() string { return p.mergeOf(g) })
	if g.kept.first != "" {
		p.note("LIMIT: no part keeps more rows than the answer may need")
	} else {
		p.note("it does not group: its rows are kept as they are")
	}
	p.sections = append(p.sections, g)
	for k := range q {
		delete(q, k)
	}
	for k, v := range final {
		q[k] = v
	}
	return nil
}

// rowOrder is what ORDER BY orders by over kept rows: an output column by its position, anything else one more column that
// the rows then have.
func (p *planner) rowOrder(e, core tree.Node, cols []Column, g *section) (tree.Node, error) {
	if names := e.ColumnNames(); e.Class() == "COLUMN_REF" && len(names) == 1 {
		if at := slices.IndexFunc(cols, func(c Column) bool { return strings.EqualFold(names[0], c.Name) }); at >= 0 {
			return tree.Int(at + 1), nil
		}
	}
	if core.Str("type") != "SELECT_NODE" {
		return nil, blocked("ORDER BY of what UNION does not select is computed over all rows")
	}
	s := p.newState()
	core["select_list"] = append(core.List("select_list"), e.Clone().WithAlias(s.name))
	g.states = append(g.states, s)
	return tree.ColumnRef(s.name), nil
}

// first is the ORDER BY and LIMIT that each part may apply by itself.
func (p *planner) first(final tree.Node, g *section) (string, error) {
	limit, found := int64(0), false
	only := tree.Node{"type": "ORDER_MODIFIER", "orders": []any{}}
	for _, m := range final.Nodes("modifiers") {
		switch m.Str("type") {
		case "ORDER_MODIFIER":
			only = m.Clone()
		case "LIMIT_MODIFIER":
			n, ok := m.Sub("limit").Int()
			skip := int64(0)
			if m["offset"] != nil {
				var known bool
				skip, known = m.Sub("offset").Int()
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
	for _, o := range only.Nodes("orders") {
		if at, ok := o.Sub("expression").Position(); ok {
			o["expression"] = tree.ColumnRef(g.states[at-1].name)
		}
	}
	q, err := p.duck.Select("SELECT 1")
	if err != nil {
		return "", err
	}
	q["modifiers"] = []any{only}
	text, err := p.duck.Print(q)
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(text, "SELECT 1") + fmt.Sprintf(" LIMIT %d", limit), nil
}
