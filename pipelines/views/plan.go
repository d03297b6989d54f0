package views

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// blocked is why a view is raw.
type blocked string

func (b blocked) Error() string { return string(b) }

// planner makes the three plans of a merged view.
type planner struct {
	*build
	scope     *scope
	alias     string // of the topic
	items     []node // the SELECT list with aliases put in place
	aliases   map[string]node
	keys      []node
	keyIndex  map[string]int
	states    []state
	stateName map[string]string // partial -> name
	wires     []wire            // of State
	hidden    bool              // LIMIT, OFFSET or DISTINCT stands between keys and answer
}

// merged makes the plans, or says in the view why it is raw.
func (b *build) merged() error {
	p := &planner{build: b, aliases: map[string]node{}, keyIndex: map[string]int{}, stateName: map[string]string{}}
	err := p.plan()
	var why blocked
	if errors.As(err, &why) {
		v := b.view
		raw := v.Plans.Raw
		v.Class, v.Reasons, v.Plans = Raw, append(v.Reasons, string(why)), Plans{Raw: raw}
		v.State, v.Keys, v.KeyColumns = nil, 0, map[string]string{}
		return nil
	}
	b.view.Class = Merged
	return err
}

func (p *planner) plan() error {
	if reasons := p.obstacles(); len(reasons) > 0 {
		p.view.Reasons = reasons[:len(reasons)-1]
		return blocked(reasons[len(reasons)-1])
	}
	var err error
	if p.scope, err = p.c.newScope(p.query); err != nil {
		return err
	}
	p.expandItems()
	if err := p.groups(); err != nil {
		return err
	}
	final := clone(p.query)
	if err := p.finalSelect(final); err != nil {
		return err
	}
	if err := p.typeStates(); err != nil {
		return err
	}
	if err := p.printPlans(final); err != nil {
		return err
	}
	if err := p.check(final); err != nil {
		return err
	}
	return p.magnitudes()
}

// expandItems puts aliases of the SELECT list in place where later items use them.
func (p *planner) expandItems() {
	for _, item := range nodes(list(p.query, "select_list")) {
		e := p.scope.expand(item, p.aliases, false)
		p.items = append(p.items, e)
		if a := strings.ToLower(str(e, "alias")); a != "" {
			if _, taken := p.aliases[a]; !taken {
				p.aliases[a] = withAlias(clone(e), "")
			}
		}
	}
}

// groups finds the group keys: listed, by position, by alias, GROUP BY ALL, or all items of a SELECT DISTINCT.
func (p *planner) groups() error {
	all := str(p.query, "aggregate_handling") == "FORCE_AGGREGATES"
	listed := nodes(list(p.query, "group_expressions"))
	if !all && len(listed) == 0 && !slices.ContainsFunc(p.items, p.hasAggregate) && sub(p.query, "having") == nil {
		if !p.distinct() {
			return blocked("it has no aggregate and no GROUP BY")
		}
		all = true
	}
	if all {
		for _, item := range p.items {
			if !p.hasAggregate(item) && hasColumn(item) {
				p.addKey(item)
			}
		}
		if len(p.keys) == 0 && !slices.ContainsFunc(p.items, p.hasAggregate) {
			return blocked("it selects constants only")
		}
		return nil
	}
	for _, g := range listed {
		if i, ok := position(g); ok && i >= 1 && i <= len(p.items) {
			p.addKey(p.items[i-1])
			continue
		}
		p.addKey(p.scope.expand(g, p.aliases, false))
	}
	return nil
}

func (p *planner) addKey(e node) {
	k := p.scope.key(e, nil)
	if _, ok := p.keyIndex[k]; !ok {
		p.keyIndex[k] = len(p.keys)
		p.keys = append(p.keys, e)
	}
}

func (p *planner) distinct() bool {
	return slices.ContainsFunc(nodes(list(p.query, "modifiers")), func(m node) bool { return str(m, "type") == "DISTINCT_MODIFIER" })
}

func (p *planner) hasAggregate(e node) bool {
	found := false
	walk(e, func(n node) bool {
		if isQuery(n) {
			return false
		}
		found = found || p.isAggregate(n)
		return !found
	})
	return found
}

func (p *planner) isAggregate(n node) bool {
	if class(n) != "FUNCTION" {
		return false
	}
	name := strings.ToLower(str(n, "function_name"))
	return p.c.aggregates[name] || aggregateMacros[name]
}

func hasColumn(e node) bool {
	found := false
	walk(e, func(n node) bool { found = found || class(n) == "COLUMN_REF"; return !found })
	return found
}

// finalSelect turns a copy of the query into the SELECT over merged State rows.
func (p *planner) finalSelect(q node) error {
	selected := make([]node, len(p.items))
	for i, item := range p.items {
		e, err := p.final(item, nil)
		if err != nil {
			return err
		}
		selected[i] = withAlias(e, p.view.Columns[i].Name)
	}
	q["select_list"] = anys(selected)
	q["where_clause"] = nil
	if h := sub(p.query, "having"); h != nil {
		e, err := p.final(p.scope.expand(h, p.aliases, true), nil)
		if err != nil {
			return err
		}
		q["where_clause"] = e
	}
	q["having"], q["group_expressions"], q["group_sets"], q["aggregate_handling"] = nil, []any{}, []any{}, "STANDARD_HANDLING"
	for _, m := range nodes(list(q, "modifiers")) {
		if t := str(m, "type"); t != "ORDER_MODIFIER" {
			p.hidden = p.hidden || strings.HasPrefix(t, "LIMIT")
			continue
		}
		if err := p.finalOrder(m); err != nil {
			return err
		}
	}
	completeOrder(q, len(p.items))
	return nil
}

// finalOrder names what ORDER BY orders by: an output column by its position, anything else by its expression.
func (p *planner) finalOrder(m node) error {
	var orders []any
	for _, o := range nodes(list(m, "orders")) {
		e := sub(o, "expression")
		if class(e) == "STAR" {
			for i := range p.items {
				each := orderBy(i + 1)
				each["type"], each["null_order"] = o["type"], o["null_order"]
				orders = append(orders, each)
			}
			continue
		}
		if _, ok := position(e); !ok {
			var err error
			if o["expression"], err = p.orderExpr(e); err != nil {
				return err
			}
		}
		orders = append(orders, o)
	}
	m["orders"] = orders
	return nil
}

func (p *planner) orderExpr(e node) (node, error) {
	if class(e) == "COLUMN_REF" && len(columnNames(e)) == 1 {
		for i, item := range p.items {
			if strings.EqualFold(str(item, "alias"), columnNames(e)[0]) {
				return positionNode(i + 1), nil
			}
		}
	}
	e = p.scope.expand(e, p.aliases, false)
	key := p.scope.key(e, nil)
	for i, item := range p.items {
		if p.scope.key(item, nil) == key {
			return positionNode(i + 1), nil
		}
	}
	return p.final(e, nil)
}

// final rewrites an expression over the topic's rows into one over State rows: group keys and aggregates become
// columns.
func (p *planner) final(e node, params []string) (node, error) {
	var failed error
	fail := func(err error) (node, bool) { failed = err; return e, true }
	var visit func(params []string) func(n node) (node, bool)
	visit = func(params []string) func(n node) (node, bool) {
		return func(n node) (node, bool) {
			if failed != nil {
				return n, true
			}
			if class(n) == "" {
				return nil, false
			}
			if i, ok := p.keyIndex[p.scope.key(n, params)]; ok {
				return withAlias(columnRef(keyName(i)), str(n, "alias")), true
			}
			if p.isAggregate(n) {
				r, err := p.aggregate(n)
				if err != nil {
					return fail(err)
				}
				return withAlias(r, str(n, "alias")), true
			}
			switch class(n) {
			case "COLUMN_REF":
				if !slices.Contains(params, strings.ToLower(columnNames(n)[0])) {
					return fail(blocked(fmt.Sprintf("column %s is used outside GROUP BY and aggregates", strings.Join(columnNames(n), "."))))
				}
			case "SUBQUERY":
				if err := p.standsAlone(n); err != nil {
					return fail(err)
				}
				if child := sub(n, "child"); child != nil {
					n["child"] = rewrite(child, visit(params))
				}
				return n, true
			}
			if more := lambdaParams(n); len(more) > 0 {
				inner := append(slices.Clip(params), more...)
				children(n, func(c any) any { return rewrite(c, visit(inner)) })
				return n, true
			}
			return nil, false
		}
	}
	out := rewrite(clone(e), visit(params))
	return out.(node), failed
}

// standsAlone says whether a subquery in the final plan reads nothing of the topic's row: it must bind by itself.
func (p *planner) standsAlone(n node) error {
	text, err := p.c.print(clone(sub(sub(n, "subquery"), "node")))
	if err != nil {
		return err
	}
	if _, err := p.c.describe(text); err != nil {
		return blocked("a subquery outside an aggregate reads the topic's row")
	}
	return nil
}

// aggregate gives the final expression of an aggregate and declares its state.
func (p *planner) aggregate(n node) (node, error) {
	a, _ := aggregateCall(n)
	if aggregateMacros[a.name] {
		return nil, blocked(a.name + " needs all rows at once")
	}
	if len(list(sub(n, "order_bys"), "orders")) > 0 {
		return nil, blocked("ORDER BY inside " + a.name + " needs all rows in order")
	}
	if err := p.c.printCall(&a, n); err != nil {
		return nil, err
	}
	if _, ok := tied[a.plain()]; ok {
		p.tied = true
	}
	text, reason, err := a.reduce(recordOrder(p.alias), p.typeOf, p.addState)
	if err != nil {
		return nil, err
	}
	if reason != "" {
		return nil, blocked(reason)
	}
	return p.c.expr(text)
}

func (p *planner) addState(partial, merge string) string {
	if name, ok := p.stateName[partial]; ok {
		return name
	}
	name := fmt.Sprintf("s%d", len(p.states))
	p.stateName[partial] = name
	p.states = append(p.states, state{name: name, partial: partial, merge: strings.ReplaceAll(strings.ReplaceAll(merge, "%[1]s", name), "%s", name)})
	return name
}

func keyName(i int) string { return fmt.Sprintf("k%d", i) }

func (p *planner) typeOf(expr string) (string, error) {
	e, err := p.c.expr(expr)
	if err != nil {
		return "", err
	}
	q := emptySelect(p.query)
	q["select_list"] = []any{e}
	text, err := p.c.print(q)
	if err != nil {
		return "", err
	}
	cols, err := p.c.describe(text)
	if err != nil {
		return "", blocked(fmt.Sprintf("the type of %s is not known without the whole query", expr))
	}
	return cols[0].Type, nil
}
