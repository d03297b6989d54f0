package views

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
	"github.com/millrace/millrace/schemas"
)

// partName is the column of State that tells the sections of a view apart, if it has several.
const partName = "part"

// rowsName is what a partial plan that reads the topic's rows more than once reads them from.
const rowsName = "__millrace_rows__"

// partialOf is the SELECT of a section's columns over the topic's rows in a table.
func (p *planner) partialOf(g *section, source string, packed bool) (string, error) {
	q := g.from.Clone()
	tree.VisitTables(q, func(n tree.Node) {
		if p.isTopic(n) {
			n["alias"], n["table_name"] = n.TableAlias(), source
		}
	})
	if g.kept != nil {
		return p.partialRows(g, q, packed)
	}
	var selected, groups, set []any
	for i, c := range g.columns() {
		text := c.text
		if packed {
			text = c.packed(text)
		}
		e, err := p.duck.Expr(text)
		if err != nil {
			return "", err
		}
		selected = append(selected, e.WithAlias(c.name))
		if i < len(g.keys) || g.fuse != nil && c == g.fuse.start {
			groups = append(groups, tree.Int(i+1))
			set = append(set, json.Number(strconv.Itoa(len(set))))
		}
	}
	q["select_list"] = selected
	if g.fuse != nil { // the time twice, once to group by
		stop, err := p.duck.Expr("max(" + g.fuse.stop.text + ")")
		if err != nil {
			return "", err
		}
		if packed {
			if stop, err = p.duck.Expr(g.fuse.stop.packed("max(" + g.fuse.stop.text + ")")); err != nil {
				return "", err
			}
		}
		selected[len(g.keys)+1] = stop.WithAlias(g.fuse.stop.name)
	}
	if len(groups) > 0 {
		q["group_expressions"], q["group_sets"] = groups, []any{set}
	}
	return p.duck.Print(q)
}

func (p *planner) partialRows(g *section, q tree.Node, packed bool) (string, error) {
	text, err := p.duck.Print(q)
	if err != nil {
		return "", err
	}
	var names, cols []string
	for _, s := range g.states {
		names = append(names, s.name)
		if packed {
			cols = append(cols, s.packed(s.name)+" AS "+s.name)
		} else {
			cols = append(cols, s.name)
		}
	}
	from := "(" + text + ") AS kept(" + strings.Join(names, ", ") + ")"
	if g.kept.first != "" {
		from = "(SELECT * FROM " + from + g.kept.first + ")"
	}
	return "SELECT " + strings.Join(cols, ", ") + " FROM " + from, nil
}

// typeStates asks DuckDB for the types of keys and states, and finds their carriers.
func (p *planner) typeStates() error {
	v := p.view
	if len(p.sections) > 1 {
		v.State = []Column{{Name: partName, Type: "INTEGER"}}
	}
	var keys, states []Column
	for _, g := range p.sections {
		text, err := p.partialOf(g, v.Topic, false)
		if err != nil {
			return err
		}
		cols, err := p.duck.Describe(text)
		if err != nil {
			return p.unbound(err)
		}
		for i, c := range g.columns() {
			t, err := schemas.ParseType(cols[i].Type)
			if err != nil {
				return blocked(fmt.Sprintf("a state of type %s cannot travel between layers", cols[i].Type))
			}
			c.plain, c.carrier = cols[i].Type, cols[i].Type
			if carrier := t.Carrier().String(); carrier != t.String() {
				c.carrier = carrier
			}
			if i < len(g.keys) {
				keys = append(keys, Column{Name: c.name, Type: c.carrier})
			} else {
				states = append(states, Column{Name: c.name, Type: c.carrier})
			}
		}
	}
	v.Keys = len(v.State) + len(keys)
	v.State = slices.Concat(v.State, keys, states)
	return nil
}

// lost matches what DuckDB says of a column of a query around.
var lost = regexp.MustCompile(`^Referenced (?:column|table) "([^"]*)" not found`)

// unbound is why a part of the query cannot stand by itself.
func (p *planner) unbound(err error) blocked {
	message := engine.ErrorOf(err).FirstLine()
	if m := lost.FindStringSubmatch(message); m != nil {
		return blocked(fmt.Sprintf("a subquery over %s looks at %s of the row around it; group %[1]s by what is compared, and join the groups", p.view.Topic, m[1]))
	}
	return blocked("its partial does not bind: " + message)
}

// unpacked is a section's rows with carriers cast back, as a table in FROM.
func (p *planner) unpacked(g *section) string {
	var cols []string
	plain := len(p.sections) == 1
	for _, c := range g.columns() {
		if c.plain == c.carrier {
			cols = append(cols, c.name)
		} else {
			plain = false
			cols = append(cols, "CAST("+c.name+" AS "+c.plain+") AS "+c.name)
		}
	}
	if plain {
		return sourceMark
	}
	text := "(SELECT " + strings.Join(cols, ", ") + " FROM " + sourceMark
	if len(p.sections) > 1 {
		text += fmt.Sprintf(" WHERE %s = %d", partName, slices.Index(p.sections, g))
	}
	return text + ")"
}

// stretched is unpacked with the islands of sessions numbered.
func (p *planner) stretched(g *section) string {
	if g.fuse != nil {
		return g.fuse.islands(g, p.unpacked(g))
	}
	return p.unpacked(g)
}

// mergeOf folds a section's rows, unpacked.
func (p *planner) mergeOf(g *section) string { return p.fold(g, false) }

func (p *planner) fold(g *section, packed bool) string {
	var cols, by []string
	for i, c := range g.columns() {
		expr := c.merge
		switch {
		case g.kept != nil:
			expr = c.name
		case i < len(g.keys):
			expr = "part." + c.name
			by = append(by, expr)
		}
		if packed {
			expr = c.packed(expr)
		}
		cols = append(cols, expr+" AS "+c.name)
	}
	from := p.stretched(g) + " AS part"
	if g.fuse != nil {
		by = append(by, "part.island")
	}
	if g.kept != nil && g.kept.first != "" {
		from = "(SELECT * FROM " + from + g.kept.first + ")"
	}
	return "SELECT " + strings.Join(cols, ", ") + " FROM " + from + groupBy(by)
}

// together makes one SELECT of State of what each section gives.
func (p *planner) together(of func(g *section) (string, error)) (string, error) {
	if len(p.sections) == 1 {
		return of(p.sections[0])
	}
	var parts, cols []string
	for i, g := range p.sections {
		text, err := of(g)
		if err != nil {
			return "", err
		}
		parts = append(parts, fmt.Sprintf("(SELECT %d AS %s, * FROM (%s))", i, partName, text))
	}
	for _, c := range p.view.State {
		cols = append(cols, c.Name)
	}
	return "SELECT " + strings.Join(cols, ", ") + " FROM (" + strings.Join(parts, " UNION ALL BY NAME ") + ")", nil
}

// partialSQL reads the topic's rows once, whatever the view does with them. It gives the columns of what of makes of each section.
func (p *planner) partialSQL(of func(*section) (*section, error)) (string, error) {
	reads := 0
	for _, g := range p.sections {
		tree.VisitTables(g.from, func(n tree.Node) {
			if p.isTopic(n) {
				reads++
			}
		})
	}
	source := sourceMark
	if reads > 1 {
		source = rowsName
	}
	text, err := p.together(func(g *section) (string, error) {
		g, err := of(g)
		if err != nil {
			return "", err
		}
		return p.partialOf(g, source, true)
	})
	if reads > 1 {
		var cols []string
		for _, c := range p.view.Wanted[p.view.Topic] {
			cols = append(cols, schemas.QuoteIdent(c))
		}
		if strings.HasPrefix(text, "WITH ") {
			text = "SELECT * FROM (" + text + ")"
		}
		text = rowsOnce + "(SELECT " + strings.Join(cols, ", ") + " FROM " + sourceMark + ") " + text
	}
	return text, err
}

// printPlans fills in the plans' texts.
func (p *planner) printPlans() error {
	var err error
	plans := &p.view.Plans
	if plans.Partial, err = p.partialSQL(func(g *section) (*section, error) { return g, nil }); err != nil {
		return err
	}
	if plans.Merge, err = p.together(func(g *section) (string, error) { return p.fold(g, true), nil }); err != nil {
		return err
	}
	plans.Final, err = p.finalSQL()
	return err
}

func (p *planner) finalSQL() (string, error) {
	root := p.root.Clone()
	s := &settler{duck: p.duck, moments: true, isTopic: func(tree.Node) bool { return false }}
	if err := s.settleQuery(root, nil); err != nil { // what is left to do over merged groups
		return "", err
	}
	text, err := p.duck.Print(root)
	for i, sql := range p.standIns {
		text = strings.ReplaceAll(text, standInName(i), "("+sql()+")")
	}
	return text, err
}

// check binds every plan, so that no plan of a compiled view can fail to bind later, and casts what the final plan
// gives in another type than the SELECT.
func (p *planner) check() error {
	v := p.view
	if err := p.expect("partial", v.PartialSQL(v.Topic), v.State); err != nil {
		return err
	}
	if err := p.duck.CreateTable("", sourceMark, v.State); err != nil {
		return err
	}
	if err := p.expect("merge", v.MergeSQL(sourceMark), v.State); err != nil {
		return err
	}
	got, err := p.duck.Describe(v.FinalSQL(sourceMark))
	if err != nil {
		return blocked("its final plan does not bind: " + engine.ErrorOf(err).FirstLine())
	}
	if !slices.Equal(got, v.Columns) {
		v.Plans.Final = castColumns(v.Plans.Final, got, v.Columns)
	}
	if p.fuses() {
		// what a session is, DuckDB has no word for: it is what the plans make of it
		v.Plans.Raw = strings.ReplaceAll(v.Plans.Final, sourceMark, "("+strings.ReplaceAll(v.Plans.Partial, sourceMark, mark(0))+")")
	}
	if err := p.expect("final", v.FinalSQL(sourceMark), v.Columns); err != nil {
		return err
	}
	p.keyColumns()
	return nil
}

func (p *planner) fuses() bool {
	return slices.ContainsFunc(p.sections, func(g *section) bool { return g.fuse != nil })
}

// castColumns gives an answer the types, and the names, that it should have.
func castColumns(text string, got, want []Column) string {
	var names, cols []string
	for i, c := range want {
		names = append(names, fmt.Sprintf("c%d", i))
		expr := names[i]
		if i >= len(got) || got[i].Type != c.Type {
			expr = "CAST(" + expr + " AS " + c.Type + ")"
		}
		cols = append(cols, expr+" AS "+schemas.QuoteIdent(c.Name))
	}
	return "SELECT " + strings.Join(cols, ", ") + " FROM (" + text + ") AS answer(" + strings.Join(names, ", ") + ")"
}

func (p *planner) expect(plan, text string, want []Column) error {
	got, err := p.duck.Describe(text)
	if err != nil {
		return blocked(fmt.Sprintf("its %s plan does not bind: %s", plan, engine.ErrorOf(err).FirstLine()))
	}
	if !slices.Equal(got, want) {
		return blocked(fmt.Sprintf("its %s plan gives %v, not %v", plan, got, want))
	}
	return nil
}

// keyColumns says which answer columns are group keys that travel as they are.
func (p *planner) keyColumns() {
	windowed := firstWindow(p.root["select_list"]) != nil || firstWindow(p.root["qualify"]) != nil || firstWindow(p.root["modifiers"]) != nil
	if p.top == nil || windowed || p.top.sets != nil || len(p.sections) > 1 || slices.ContainsFunc(p.root.Nodes("modifiers"), func(m tree.Node) bool { return strings.HasPrefix(m.Str("type"), "LIMIT") }) {
		return
	}
	for i, item := range p.top.items {
		k, ok := p.top.index[p.top.scope.key(item, nil)]
		if !ok || k >= len(p.sections[0].keys) {
			continue
		}
		if c := p.sections[0].keys[k]; c.plain == c.carrier && c.plain == p.view.Columns[i].Type {
			p.view.KeyColumns[p.view.Columns[i].Name] = c.name
		}
	}
}
