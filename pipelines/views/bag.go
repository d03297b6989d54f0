package views

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/aggregate"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// bag is State for aggregates that need their arguments as they were: each different tuple of them in a group, with how
// often it occurs. It holds the rows of a group whose arguments are NULL or that a FILTER leaves out, too, so that the
// aggregate over the bag is the aggregate over the rows, whatever it makes of them.
type bag struct {
	section
	mark    string // of the arguments
	outputs []output
	count   *column
	first   *column // place in the log of the first record; nil: nobody asks
}

// output is an aggregate over a bag.
type output struct {
	name, text string
	repeated   bool // tuples count as often as they occurred
}

// bagged gives the final expression of an aggregate that is computed over a bag, nil for one that is not.
func (g *grouper) bagged(a aggregate.Call, n tree.Node) (tree.Node, error) {
	name := a.Plain()
	orders := n.Sub("order_bys").Nodes("orders")
	known := a.NeedsValues()
	switch {
	case a.Distinct && !a.IgnoresDistinct():
	case len(orders) > 0 && a.TakesOrder():
	case len(orders) > 0 && !known:
		n["order_bys"] = tree.Node{"type": "ORDER_MODIFIER", "orders": []any{}} // to the others it makes no difference
		return nil, nil
	case !known:
		return nil, nil
	case a.ListsRows() && len(orders) == 0:
		return nil, blocked(fmt.Sprintf("%s takes rows in the order that a subquery gives them; write the order into the call: %[1]s(x ORDER BY y)", name))
	}
	if !known && !a.TakesOrder() && !g.plainly(name) {
		return nil, blocked(fmt.Sprintf("%s(DISTINCT ...) needs all rows at once", name))
	}
	g.noteBag(n)
	n = n.Clone()
	if name == "mode" && byPlace(orders) {
		return g.firstMode(n, orders)
	}
	b, err := g.bagOf(n)
	if err != nil {
		return nil, err
	}
	if text := g.counted(n, b); text != "" {
		return g.output(b, text, false)
	}
	s := settling{settler: &settler{duck: g.duck, moments: true}}
	settled, err := s.settle(n.WithAlias(""))
	if err != nil {
		return nil, err
	}
	text, err := g.duck.PrintExpr(settled.(tree.Node))
	if err != nil {
		return nil, err
	}
	return g.output(b, text, !a.Distinct)
}

// counted is an aggregate that needs no more than how often each value occurred; empty for the others.
func (g *grouper) counted(n tree.Node, b *bag) string {
	a, _ := callOf(n)
	if a.Distinct || g.sets != nil || g.fused() || len(n.List("children")) != 1 || printCall(g.duck, &a, n) != nil {
		return ""
	}
	return a.OverCounts(b.count.name)
}

// firstMode is mode, where of values that occur equally often the one that was there first is it: the bag keeps the place
// of the first.
func (g *grouper) firstMode(n tree.Node, orders []tree.Node) (tree.Node, error) {
	n["order_bys"] = tree.Node{"type": "ORDER_MODIFIER", "orders": []any{}}
	var fields []string
	for i := range placeColumns {
		text, err := g.duck.PrintExpr(orders[i].Sub("expression"))
		if err != nil {
			return nil, err
		}
		fields = append(fields, fmt.Sprintf("'o%d': %s", i, text))
	}
	b, err := g.bagOf(n)
	if err != nil {
		return nil, err
	}
	if b.first == nil {
		b.first = g.newState()
		b.first.text, b.first.merge = "min({"+strings.Join(fields, ", ")+"})", "min("+b.first.name+")"
		b.states = append(b.states, b.first)
	}
	a, _ := callOf(n)
	if err := printCall(g.duck, &a, n); err != nil {
		return nil, err
	}
	if g.sets != nil || g.fused() { // a value has several tuples there
		return g.output(b, fmt.Sprintf("mode(%[1]s ORDER BY %[2]s, %[1]s)%[3]s", a.Args[0], b.first.name, a.Where()), true)
	}
	return g.output(b, fmt.Sprintf("arg_min(%[1]s, {'n': -%[2]s, 'at': %[3]s, 'x': %[1]s})%[4]s", a.Args[0], b.count.name, b.first.name, a.Where(a.Args[0]+" IS NOT NULL")), false)
}

// output is a column of what a bag comes to.
func (g *grouper) output(b *bag, text string, repeated bool) (tree.Node, error) {
	if at := slices.IndexFunc(b.outputs, func(has output) bool { return has.text == text }); at >= 0 {
		return tree.ColumnRef(b.outputs[at].name), nil
	}
	o := output{name: fmt.Sprintf("b%d", g.outs), text: text, repeated: repeated}
	g.outs++
	b.outputs = append(b.outputs, o)
	return tree.ColumnRef(o.name), nil
}

// plainly says whether an aggregate is a function of the values alone.
func (g *grouper) plainly(name string) bool {
	return g.duck.IsAggregate(name) && !aggregate.IsMacro(name) && !strings.HasPrefix(name, "approx_")
}

// bagOf finds or makes the bag of an aggregate's arguments, and puts its columns in their place.
func (g *grouper) bagOf(n tree.Node) (*bag, error) {
	var args []tree.Node // slots
	put := []func(tree.Node){}
	var take func(e tree.Node, set func(tree.Node))
	take = func(e tree.Node, set func(tree.Node)) {
		switch {
		case e == nil || !tree.HasColumn(e):
		case e.Class() == "FUNCTION" && strings.EqualFold(e.Str("function_name"), "row"): // a struct without names, which cannot travel
			for i, c := range e.Nodes("children") {
				take(c, func(to tree.Node) { e.List("children")[i] = to })
			}
		default:
			args, put = append(args, e), append(put, set)
		}
	}
	for i, c := range n.Nodes("children") {
		take(c, func(e tree.Node) { n.List("children")[i] = e.WithAlias(c.Str("alias")) })
	}
	take(n.Sub("filter"), func(e tree.Node) { n["filter"] = e })
	for _, o := range n.Sub("order_bys").Nodes("orders") {
		take(o.Sub("expression"), func(e tree.Node) { o["expression"] = e })
	}
	texts := make([]string, len(args))
	for i, e := range args {
		var err error
		if texts[i], err = g.duck.PrintExpr(e); err != nil {
			return nil, err
		}
	}
	b, err := g.bagNamed(slices.Compact(slices.Sorted(slices.Values(texts))))
	if err != nil {
		return nil, err
	}
	column := func(text string) tree.Node {
		i := slices.IndexFunc(b.keys[len(g.keys):], func(k *column) bool { return k.text == text })
		return tree.ColumnRef(b.keys[len(g.keys)+i].name)
	}
	for i, text := range texts {
		put[i](column(text))
	}
	return b, nil
}

func (g *grouper) bagNamed(texts []string) (*bag, error) {
	mark := strings.Join(texts, "\x00")
	for _, b := range g.bags {
		if b.mark == mark {
			return b, nil
		}
	}
	b := &bag{mark: mark, count: g.newState()}
	b.count.text, b.count.merge = "count(*)", "CAST(sum("+b.count.name+") AS BIGINT)"
	b.from = g.rowsOf()
	for _, k := range g.keys {
		if isSession(k) {
			k = k.List("children")[0].(tree.Node) // the time itself: which session it is of is known when all are merged
		}
		text, err := g.duck.PrintExpr(k)
		if err != nil {
			return nil, err
		}
		b.keys = append(b.keys, g.newKey(text))
	}
	for _, text := range texts {
		b.keys = append(b.keys, g.newKey(text))
	}
	b.states = []*column{b.count}
	g.bags = append(g.bags, b)
	return b, nil
}

// rows is the bag's rows: once each tuple, or as often as it occurred.
func (b *bag) rows(p *planner, repeated bool) string {
	text := p.mergeOf(&b.section)
	if !repeated {
		return "(SELECT * FROM (" + text + ") WHERE " + b.count.name + " > 0)" // over no row, a bag without keys holds nothing
	}
	return fmt.Sprintf("(SELECT *, unnest(range(%s)) AS again FROM (%s))", b.count.name, text)
}
