package views

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace/millrace/schemas"
)

// wire is a State column: its type in the plans and the type it travels as.
type wire struct {
	name, plain, carrier string
}

func (w wire) packed(expr string) string {
	if w.plain == w.carrier {
		return expr
	}
	return "CAST(" + expr + " AS " + w.carrier + ")"
}

// partialQuery is the SELECT of keys and states over the topic's rows.
func (p *planner) partialQuery(source string, wires []wire) (string, error) {
	var exprs []string
	for _, k := range p.keys {
		text, err := p.c.printExpr(k)
		if err != nil {
			return "", err
		}
		exprs = append(exprs, text)
	}
	for _, s := range p.states {
		exprs = append(exprs, s.partial)
	}
	var selected []any
	var groups, set []any
	for i, text := range exprs {
		name := p.columnName(i)
		if wires != nil {
			text = wires[i].packed(text)
		}
		e, err := p.c.expr(text)
		if err != nil {
			return "", err
		}
		selected = append(selected, withAlias(e, name))
		if i < len(p.keys) {
			groups = append(groups, positionNode(i+1))
			set = append(set, json.Number(strconv.Itoa(i)))
		}
	}
	q := clone(emptySelect(p.query))
	if w := sub(p.query, "where_clause"); w != nil {
		q["where_clause"] = p.scope.expand(w, p.aliases, false)
	}
	for _, t := range fromTables(sub(q, "from_table")) {
		if str(t, "type") == "BASE_TABLE" && strings.EqualFold(str(t, "table_name"), p.view.Topic) && str(t, "schema_name") == "" {
			t["alias"], t["table_name"] = p.alias, source
		}
	}
	q["select_list"] = selected
	if len(groups) > 0 {
		q["group_expressions"], q["group_sets"] = groups, []any{set}
	}
	return p.c.print(q)
}

func (p *planner) columnName(i int) string {
	if i < len(p.keys) {
		return keyName(i)
	}
	return p.states[i-len(p.keys)].name
}

// typeStates asks DuckDB for the types of keys and states, and finds their carriers.
func (p *planner) typeStates() error {
	text, err := p.partialQuery(p.view.Topic, nil)
	if err != nil {
		return err
	}
	cols, err := p.c.describe(text)
	if err != nil {
		return blocked("its partial does not bind: " + firstLine(engineError(err).message))
	}
	for _, col := range cols {
		t, err := schemas.ParseType(col.Type)
		if err != nil {
			return blocked(fmt.Sprintf("a state of type %s cannot travel between layers", col.Type))
		}
		w := wire{name: col.Name, plain: col.Type, carrier: col.Type}
		if carrier := t.Carrier().String(); carrier != t.String() {
			w.carrier = carrier
		}
		p.wires = append(p.wires, w)
		p.view.State = append(p.view.State, Column{w.name, w.carrier})
	}
	p.view.Keys = len(p.keys)
	return nil
}

// unpacked is what merge and final read: the source with carriers cast back.
func (p *planner) unpacked() string {
	if !slices.ContainsFunc(p.wires, func(w wire) bool { return w.plain != w.carrier }) {
		return sourceMark
	}
	var cols []string
	for _, w := range p.wires {
		if w.plain == w.carrier {
			cols = append(cols, w.name)
		} else {
			cols = append(cols, "CAST("+w.name+" AS "+w.plain+") AS "+w.name)
		}
	}
	return "(SELECT " + strings.Join(cols, ", ") + " FROM " + sourceMark + ")"
}

func (p *planner) mergeSQL(packed bool) string {
	var cols, by []string
	for i, w := range p.wires {
		expr := w.name
		if i >= len(p.keys) {
			expr = p.states[i-len(p.keys)].merge
		} else {
			by = append(by, w.name)
		}
		if packed {
			expr = w.packed(expr)
		}
		cols = append(cols, expr+" AS "+w.name)
	}
	text := "SELECT " + strings.Join(cols, ", ") + " FROM " + p.unpacked() + " AS part"
	if len(by) > 0 {
		text += " GROUP BY " + qualifiedList("part", by)
	}
	return text
}

func qualifiedList(table string, cols []string) string {
	out := make([]string, len(cols))
	for i, c := range cols {
		out[i] = table + "." + c
	}
	return strings.Join(out, ", ")
}

// printPlans fills in the plans' texts. final is the SELECT over merged State rows, whose FROM is set here.
func (p *planner) printPlans(final node) error {
	var err error
	plans := &p.view.Plans
	if plans.Partial, err = p.partialQuery(sourceMark, p.wires); err != nil {
		return err
	}
	plans.Merge = p.mergeSQL(true)
	if plans.Answer, err = p.finalOver(final, "("+p.mergeSQL(false)+")"); err != nil {
		return err
	}
	if plans.Final = plans.Answer; len(p.keys) > 0 {
		plans.Final, err = p.finalOver(final, p.unpacked())
	}
	return err
}

func (p *planner) finalOver(final node, from string) (string, error) {
	n, err := p.c.selectNode("SELECT * FROM " + from + " AS merged")
	if err != nil {
		return "", err
	}
	final["from_table"] = n["from_table"]
	return p.c.print(clone(final))
}

// check binds every plan, so that no plan of a compiled view can fail to bind later, and casts what the final plan
// gives in another type than the SELECT.
func (p *planner) check(final node) error {
	v := p.view
	if err := p.expect("partial", v.PartialSQL(v.Topic), v.State); err != nil {
		return err
	}
	if err := p.c.createTable("", sourceMark, v.State); err != nil {
		return err
	}
	if err := p.expect("merge", v.MergeSQL(sourceMark), v.State); err != nil {
		return err
	}
	got, err := p.c.describe(v.AnswerSQL(sourceMark))
	if err != nil {
		return blocked("its final plan does not bind: " + firstLine(engineError(err).message))
	}
	if !slices.Equal(got, v.Columns) {
		if err := p.castFinal(final, got); err != nil {
			return err
		}
	}
	if err := p.expect("answer", v.AnswerSQL(sourceMark), v.Columns); err != nil {
		return err
	}
	if err := p.expect("final", v.FinalSQL(sourceMark), v.Columns); err != nil {
		return err
	}
	p.keyColumns()
	return nil
}

func (p *planner) castFinal(final node, got []Column) error {
	for i, item := range nodes(list(final, "select_list")) {
		if got[i].Type == p.view.Columns[i].Type {
			continue
		}
		text, err := p.c.printExpr(item)
		if err != nil {
			return err
		}
		e, err := p.c.expr("CAST(" + text + " AS " + p.view.Columns[i].Type + ")")
		if err != nil {
			return err
		}
		list(final, "select_list")[i] = withAlias(e, p.view.Columns[i].Name)
	}
	return p.printPlans(final)
}

func (p *planner) expect(plan, text string, want []Column) error {
	got, err := p.c.describe(text)
	if err != nil {
		return blocked(fmt.Sprintf("its %s plan does not bind: %s", plan, firstLine(engineError(err).message)))
	}
	if !slices.Equal(got, want) {
		return blocked(fmt.Sprintf("its %s plan gives %v, not %v", plan, got, want))
	}
	return nil
}

// keyColumns says which answer columns are group keys that travel as they are.
func (p *planner) keyColumns() {
	if p.hidden {
		return
	}
	for i, item := range p.items {
		k, ok := p.keyIndex[p.scope.key(item, nil)]
		if ok && p.wires[k].plain == p.wires[k].carrier && p.wires[k].plain == p.view.Columns[i].Type {
			p.view.KeyColumns[p.view.Columns[i].Name] = keyName(k)
		}
	}
}
