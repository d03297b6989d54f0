package views

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// grouper makes the plans of one SELECT that groups records.
type grouper struct {
	*planner
	in      []cte
	query   tree.Node // becomes the SELECT over results
	core    tree.Node // as it was, by itself
	scope   *scope
	items   []tree.Node // the SELECT list with aliases put in place
	aliases map[string]tree.Node
	keys    []tree.Node
	index   map[string]int // of keys
	sets    [][]int        // indexes of keys, for GROUPING SETS and the like
	main    *section
	states  map[string]string // partial -> name
	bags    []*bag
	levels  []string // GROUPING(...) calls over key0, key1, ...
}

// group turns a SELECT that groups records into one over results.
func (p *planner) group(q tree.Node, in []cte) error {
	g := &grouper{planner: p, in: in, query: q, core: standing(q, in), aliases: map[string]tree.Node{}, index: map[string]int{}, states: map[string]string{}}
	g.main = &section{}
	var err error
	if g.scope, err = newScope(p.duck, g.core); err != nil {
		return err
	}
	if err = g.unaliasItems(); err != nil {
		return err
	}
	if err = g.groups(); err != nil {
		return err
	}
	g.main.from = g.rowsOf()
	if err = g.finalSelect(); err != nil {
		return err
	}
	return g.finish()
}

// rowsOf is a SELECT of nothing from the rows that are grouped.
func (g *grouper) rowsOf() tree.Node {
	q := tree.EmptySelect(g.core).Clone()
	if w := g.core.Sub("where_clause"); w != nil {
		q["where_clause"] = g.scope.unalias(w, g.aliases, false)
	}
	return q
}

// unaliasItems puts aliases of the SELECT list in place where later items use them.
func (g *grouper) unaliasItems() error {
	for _, item := range g.query.Nodes("select_list") {
		if item.Class() == "STAR" {
			return blocked("* beside an aggregate is computed over all rows; name the columns")
		}
		e := g.scope.unalias(item, g.aliases, false)
		g.items = append(g.items, e)
		if a := strings.ToLower(e.Str("alias")); a != "" {
			if _, taken := g.aliases[a]; !taken {
				g.aliases[a] = e.Clone().WithAlias("")
			}
		}
	}
	return nil
}

// groups finds the group keys: listed, by position, by alias, GROUP BY ALL, or all items of a SELECT DISTINCT.
func (g *grouper) groups() error {
	listed := g.core.Nodes("group_expressions")
	all := g.core.Str("aggregate_handling") == "FORCE_AGGREGATES" || !g.planner.aggregates(g.core)
	if all {
		for _, item := range g.items {
			if !hasAggregate(g.duck, item) && tree.HasColumn(item) {
				g.addKey(item)
			}
		}
		if len(g.keys) == 0 && !slices.ContainsFunc(g.items, func(e tree.Node) bool { return hasAggregate(g.duck, e) }) {
			return blocked("it selects constants only")
		}
		return g.lastSession()
	}
	keyOf := make([]int, len(listed))
	for i, e := range listed {
		if at, ok := e.Position(); ok && at >= 1 && at <= len(g.items) {
			keyOf[i] = g.addKey(g.items[at-1])
		} else {
			keyOf[i] = g.addKey(g.scope.unalias(e, g.aliases, false))
		}
	}
	if sets := g.core.List("group_sets"); len(sets) > 1 {
		for _, s := range sets {
			set := []int{}
			for _, i := range s.([]any) {
				set = append(set, keyOf[tree.Number(i)])
			}
			g.sets = append(g.sets, set)
		}
	}
	return g.lastSession()
}

// lastSession puts a session behind the other keys.
func (g *grouper) lastSession() error {
	at := slices.IndexFunc(g.keys, isSession)
	if at < 0 {
		return nil
	}
	g.keys = append(slices.Delete(slices.Clone(g.keys), at, at+1), g.keys[at])
	if slices.ContainsFunc(g.keys[:len(g.keys)-1], isSession) {
		return blocked("two sessions in one GROUP BY are computed over all rows")
	}
	for i, k := range g.keys {
		g.index[g.scope.key(k, nil)] = i
	}
	return g.fuse()
}

func (g *grouper) addKey(e tree.Node) int {
	k := g.scope.key(e, nil)
	if _, ok := g.index[k]; !ok {
		g.index[k] = len(g.keys)
		g.keys = append(g.keys, e)
	}
	return g.index[k]
}

func keyName(i int) string { return fmt.Sprintf("key%d", i) }

// finalSelect turns the query into the SELECT over results.
func (g *grouper) finalSelect() error {
	q := g.query
	selected := make([]tree.Node, len(g.items))
	for i, item := range g.items {
		name, err := g.nameOf(item, i)
		if err != nil {
			return err
		}
		e, err := g.final(item, nil)
		if err != nil {
			return err
		}
		selected[i] = e.WithAlias(name)
	}
	for _, clause := range []string{"having", "qualify"} {
		if h := q.Sub(clause); h != nil {
			e, err := g.final(g.scope.unalias(h, g.aliases, true), nil)
			if err != nil {
				return err
			}
			q[clause] = e
		}
	}
	q["select_list"], q["where_clause"], q["having"] = tree.AsList(selected), q["having"], nil
	q["group_expressions"], q["group_sets"], q["aggregate_handling"] = []any{}, []any{}, "STANDARD_HANDLING"
	for _, m := range q.Nodes("modifiers") {
		if m.Str("type") == "ORDER_MODIFIER" {
			if err := tree.NameOrder(m, len(g.items), g.orderExpr); err != nil {
				return err
			}
		}
	}
	q["from_table"] = g.standIn(g.source)
	if g.isRoot(q) {
		g.top = g
	}
	return nil
}

// nameOf is the name of an output column, which other plans must not change.
func (g *grouper) nameOf(item tree.Node, i int) (string, error) {
	switch {
	case g.isRoot(g.query) && len(g.items) == len(g.view.Columns):
		return g.view.Columns[i].Name, nil
	case item.Str("alias") != "":
		return item.Str("alias"), nil
	}
	original := g.core.Nodes("select_list")[i]
	if original.Class() == "COLUMN_REF" {
		names := original.ColumnNames()
		return names[len(names)-1], nil
	}
	return g.duck.PrintExpr(original)
}

// orderExpr is what ORDER BY orders by over results: an output column by its position, anything else by its expression.
func (g *grouper) orderExpr(e tree.Node) (tree.Node, error) {
	if e.Class() == "COLUMN_REF" && len(e.ColumnNames()) == 1 {
		for i, item := range g.items {
			if strings.EqualFold(item.Str("alias"), e.ColumnNames()[0]) {
				return tree.Int(i + 1), nil
			}
		}
	}
	e = g.scope.unalias(e, g.aliases, false)
	key := g.scope.key(e, nil)
	for i, item := range g.items {
		if g.scope.key(item, nil) == key {
			return tree.Int(i + 1), nil
		}
	}
	return g.final(e, nil)
}

// final rewrites an expression over the topic's rows into one over results: group keys and aggregates become columns.
func (g *grouper) final(e tree.Node, params []string) (tree.Node, error) {
	var failed error
	fail := func(err error) (tree.Node, bool) { failed = err; return e, true }
	var visit func(params []string) func(n tree.Node) (tree.Node, bool)
	visit = func(params []string) func(n tree.Node) (tree.Node, bool) {
		return func(n tree.Node) (tree.Node, bool) {
			if failed != nil {
				return n, true
			}
			if n.Class() == "" {
				return nil, false
			}
			if i, ok := g.index[g.scope.key(n, params)]; ok {
				return tree.ColumnRef(keyName(i)).WithAlias(n.Str("alias")), true
			}
			if isAggregate(g.duck, n) {
				r, err := g.aggregate(n)
				if err != nil {
					return fail(err)
				}
				return r.WithAlias(n.Str("alias")), true
			}
			switch {
			case n.Class() == "COLUMN_REF":
				if !slices.Contains(params, strings.ToLower(n.ColumnNames()[0])) {
					return fail(blocked(fmt.Sprintf("column %s is used outside GROUP BY and aggregates; put any_value() around it", strings.Join(n.ColumnNames(), "."))))
				}
			case n.Class() == "SUBQUERY":
				if err := g.subquery(n); err != nil {
					return fail(err)
				}
				if child := n.Sub("child"); child != nil {
					n["child"] = tree.Rewrite(child, visit(params))
				}
				return n, true
			case n.Str("type") == "GROUPING_FUNCTION":
				level, err := g.level(n)
				if err != nil {
					return fail(err)
				}
				return level.WithAlias(n.Str("alias")), true
			}
			if more := n.LambdaParams(); len(more) > 0 {
				inner := append(slices.Clip(params), more...)
				tree.Children(n, func(c any) any { return tree.Rewrite(c, visit(inner)) })
				return n, true
			}
			return nil, false
		}
	}
	out := tree.Rewrite(e.Clone(), visit(params))
	return out.(tree.Node), failed
}

// subquery is of one outside an aggregate: it must bind by itself, for no record is left that it could look at.
func (g *grouper) subquery(n tree.Node) error {
	q := n.Sub("subquery").Sub("node")
	if text, err := g.duck.Print(standing(q, g.in)); err != nil {
		return err
	} else if _, err := g.duck.Describe(text); err != nil && !g.readsResults(q) {
		return blocked("a subquery outside an aggregate reads the topic's row")
	}
	_, err := g.splitExpr(n["subquery"], g.in)
	return err
}

func (g *grouper) readsResults(q tree.Node) bool {
	found := false
	tree.VisitTables(q, func(n tree.Node) {
		w, ok := cteOf(g.in, n)
		found = found || ok && w.kind == results
	})
	return found
}

// level is a GROUPING(...) call, as a column of results.
func (g *grouper) level(n tree.Node) (tree.Node, error) {
	var args []string
	for _, c := range n.Nodes("children") {
		i, ok := g.index[g.scope.key(g.scope.unalias(c, g.aliases, false), nil)]
		if !ok {
			return nil, blocked("GROUPING of what is no group key is computed over all rows")
		}
		args = append(args, keyName(i))
	}
	call := "GROUPING(" + strings.Join(args, ", ") + ")"
	i := slices.Index(g.levels, call)
	if i < 0 {
		i = len(g.levels)
		g.levels = append(g.levels, call)
	}
	return tree.ColumnRef(levelName(i)), nil
}

func levelName(i int) string { return fmt.Sprintf("level%d", i) }

// aggregate gives the final expression of an aggregate and declares its state.
func (g *grouper) aggregate(n tree.Node) (tree.Node, error) {
	a, _ := callOf(n)
	if g.reads(n, g.in) {
		return nil, g.compares()
	}
	if bagged, err := g.bagged(a, n); bagged != nil || err != nil {
		return bagged, err
	}
	if err := printCall(g.duck, &a, n); err != nil {
		return nil, err
	}
	if a.TieArgs() > 0 {
		return nil, blocked(fmt.Sprintf("%s takes rows in the order that a subquery gives them; write the order into the call: %[1]s(x ORDER BY y)", a.Name))
	}
	text, reason, err := a.Reduce(g.typeOf, g.addState)
	if err != nil {
		return nil, err
	}
	if reason != "" {
		return nil, blocked(reason)
	}
	if note := a.Note(); note != "" {
		g.note(note)
	}
	return g.duck.Expr(text)
}

func (g *grouper) addState(partial, merge string) string {
	if name, ok := g.states[partial]; ok {
		return name
	}
	s := g.newState()
	s.text, s.merge = partial, strings.ReplaceAll(strings.ReplaceAll(merge, "%[1]s", s.name), "%s", s.name)
	g.states[partial] = s.name
	g.main.states = append(g.main.states, s)
	return s.name
}

func (g *grouper) typeOf(expr string) (string, error) { return typeWithin(g.duck, g.core, expr) }

// finish puts what the SELECT needs into State.
func (g *grouper) finish() error {
	if len(g.keys) == 0 && len(g.main.states) == 0 && len(g.bags) == 0 {
		g.addState("count(*)", "CAST(coalesce(sum(%s), 0) AS BIGINT)") // GROUP BY (): one row, and a State must have a column
	}
	if len(g.main.states) > 0 || len(g.bags) == 0 {
		for i, k := range g.keys {
			if g.fused() && i == len(g.keys)-1 {
				break
			}
			text, err := g.duck.PrintExpr(k)
			if err != nil {
				return err
			}
			g.main.keys = append(g.main.keys, g.newKey(text))
		}
		g.sections = append(g.sections, g.main)
	} else {
		g.main = nil
	}
	for _, b := range g.bags {
		g.sections = append(g.sections, &b.section)
	}
	if g.sets != nil {
		g.note("grouping sets: the groups by all their columns are kept, and put together when the view is asked for")
	}
	if g.twice() && len(g.bags) > 0 {
		return blocked("a grouping set that is there twice is computed over all rows; leave one out")
	}
	return nil
}

// twice says whether one grouping set is there more than once.
func (g *grouper) twice() bool {
	seen := map[string]bool{}
	return slices.ContainsFunc(g.sets, func(set []int) bool {
		k := fmt.Sprint(slices.Compact(slices.Sorted(slices.Values(set))))
		again := seen[k]
		seen[k] = true
		return again
	})
}
