package views

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/aggregate"
	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// settler makes a query's answer one that does not hang on how rows are read or cut: it decides ties by the records' place
// in the log, puts lists in that order, completes the ORDER BY of a LIMIT, and computes approximations by sketches that
// come to the same however the rows are cut.
type settler struct {
	duck     *engine.Conn
	isTopic  func(fromTable tree.Node) bool // of a table that is no common table expression
	sketches bool                           // approximations are replaced
	moments  bool                           // only this: aggregates that DuckDB computes with less care than the plans do become the plans' own
	used     bool                           // some aggregate reads the record's place in the log
	sketched bool                           // some aggregate is a sketch
}

// settleQuery is of a query and all within it; in are the common table expressions in scope.
func (s *settler) settleQuery(v any, in []cte) error {
	n, ok := v.(tree.Node)
	if !ok || !n.IsQuery() {
		var failed error
		tree.Children(v, func(c any) any {
			if failed == nil {
				failed = s.settleQuery(c, in)
			}
			return c
		})
		return failed
	}
	in = slices.Clip(in)
	for _, entry := range n.Sub("cte_map").Nodes("map") {
		if err := s.settleQuery(entry["value"], in); err != nil {
			return err
		}
		in = append(in, cte{name: strings.ToLower(entry.Str("key")), entry: entry})
	}
	for _, k := range tree.SortedKeys(n) {
		if k != "cte_map" {
			if err := s.settleQuery(n[k], in); err != nil {
				return err
			}
		}
	}
	if n.Str("type") == "SELECT_NODE" {
		return s.settleSelect(n, in)
	}
	return nil
}

func (s *settler) settleSelect(sel tree.Node, in []cte) error {
	sc := settling{settler: s, sel: sel, in: in}
	nameSubqueries(sel)
	takes := s.takesOrder(sel)
	for _, t := range tree.FromTables(sel.Sub("from_table")) {
		switch {
		case s.handsOn(t, in):
			sc.order = append(sc.order, recordOrder(t.TableAlias())...)
		case takes && s.makeHandOn(t, sel, in):
			sc.order = append(sc.order, handedOrder(t.TableAlias())...)
		}
	}
	for i, item := range sel.Nodes("select_list") {
		before := tree.Encode(item)
		name := item.Str("alias")
		if name == "" && item.Class() != "STAR" {
			var err error
			if name, err = s.duck.PrintExpr(item); err != nil {
				return err
			}
		}
		settled, err := sc.settle(item)
		if err != nil {
			return err
		}
		if tree.Encode(settled) != before {
			sel.List("select_list")[i] = settled.(tree.Node).WithAlias(name)
		}
	}
	for _, key := range []string{"having", "modifiers", "qualify"} {
		if sel[key] == nil {
			continue
		}
		settled, err := sc.settle(sel[key])
		if err != nil {
			return err
		}
		sel[key] = settled
	}
	return nil
}

// nameSubqueries writes the names that DuckDB gives to subqueries in FROM without one.
func nameSubqueries(sel tree.Node) {
	n := 0
	for _, t := range tree.FromTables(sel.Sub("from_table")) {
		if t.Str("type") == "SUBQUERY" && t.Str("alias") == "" {
			if n++; n == 1 {
				t["alias"] = "unnamed_subquery"
			} else {
				t["alias"] = fmt.Sprintf("unnamed_subquery%d", n)
			}
		}
	}
}

// handsOn says whether the rows of a table in FROM are a topic's records, with their place in the log among its columns, in
// no order but that.
func (s *settler) handsOn(t tree.Node, in []cte) bool {
	if len(t.List("column_name_alias")) > 0 {
		return false
	}
	var q tree.Node
	switch t.Str("type") {
	case "BASE_TABLE":
		w, ok := cteOf(in, t)
		if !ok {
			return s.isTopic(t)
		}
		value := w.entry.Sub("value")
		if len(value.List("aliases")) > 0 {
			return false
		}
		q = value.Sub("query").Sub("node")
		in = in[:slices.IndexFunc(in, func(o cte) bool { return o.entry.Address() == w.entry.Address() })]
	case "SUBQUERY":
		q = t.Sub("subquery").Sub("node")
	}
	return q != nil && s.handsOnAll(q, in)
}

func (s *settler) handsOnAll(q tree.Node, in []cte) bool {
	for _, entry := range q.Sub("cte_map").Nodes("map") {
		in = append(slices.Clip(in), cte{name: strings.ToLower(entry.Str("key")), entry: entry})
	}
	if len(q.List("modifiers")) > 0 {
		return false
	}
	if q.Str("type") == "SET_OPERATION_NODE" {
		return q.Str("setop_type") == "UNION" && q.Flag("setop_all") && s.handsOnAll(q.Sub("left"), in) && s.handsOnAll(q.Sub("right"), in)
	}
	if q.Str("type") != "SELECT_NODE" || len(q.List("group_expressions")) > 0 || q.Str("aggregate_handling") == "FORCE_AGGREGATES" || q["having"] != nil {
		return false
	}
	from := 0
	for _, t := range tree.FromTables(q.Sub("from_table")) {
		if s.handsOn(t, in) {
			from++
		}
	}
	if from != 1 {
		return false
	}
	shown := map[string]bool{}
	for _, item := range q.Nodes("select_list") {
		switch item.Class() {
		case "STAR":
			if len(item.List("exclude_list"))+len(item.List("replace_list"))+len(item.List("rename_list"))+len(item.List("qualified_exclude_list")) == 0 && !item.Flag("columns") {
				return true
			}
		case "COLUMN_REF":
			names := item.ColumnNames()
			if last := strings.ToLower(names[len(names)-1]); item.Str("alias") == "" || strings.EqualFold(item.Str("alias"), last) {
				shown[last] = true
			}
		}
	}
	return !slices.ContainsFunc(placeColumns, func(c string) bool { return !shown[c] })
}

// takesOrder says whether a SELECT has an aggregate whose answer hangs on the order of rows.
func (s *settler) takesOrder(sel tree.Node) bool {
	found := false
	for _, clause := range []string{"select_list", "having", "qualify", "modifiers"} {
		tree.Walk(sel[clause], func(n tree.Node) bool {
			a, ok := callOf(n)
			found = found || ok && a.TakesOrder()
			return !found && !n.IsQuery()
		})
	}
	return found && !s.moments
}

// makeHandOn adds the place in the log to what a subquery in FROM selects, if its rows are a topic's records in no order
// and nobody would see that it selects more.
func (s *settler) makeHandOn(t, sel tree.Node, in []cte) bool {
	for _, item := range sel.Nodes("select_list") {
		if item.Class() == "STAR" {
			return false
		}
	}
	if t.Str("type") == "SUBQUERY" {
		return s.addPlace(t.Sub("subquery").Sub("node"), in)
	}
	w, ok := cteOf(in, t)
	if t.Str("type") != "BASE_TABLE" || !ok || len(w.entry.Sub("value").List("aliases")) > 0 {
		return false
	}
	// another reader of the common table expression might see more columns: this one gets its own copy
	q := w.entry.Sub("value").Sub("query").Sub("node").Clone()
	before := in[:slices.IndexFunc(in, func(o cte) bool { return o.entry.Address() == w.entry.Address() })]
	same := true // names mean there what they mean here
	tree.VisitTables(q, func(t tree.Node) {
		here, _ := cteOf(in, t)
		there, _ := cteOf(before, t)
		same = same && here.entry.Address() == there.entry.Address()
	})
	if !same || !s.addPlace(q, before) {
		return false
	}
	alias := t.TableAlias()
	for _, k := range []string{"schema_name", "catalog_name", "table_name", "at_clause"} {
		delete(t, k)
	}
	t["type"], t["alias"], t["subquery"] = "SUBQUERY", alias, tree.Node{"node": q, "named_param_map": []any{}}
	return true
}

func (s *settler) addPlace(q tree.Node, in []cte) bool {
	if q.Str("type") != "SELECT_NODE" || len(q.Sub("cte_map").List("map"))+len(q.List("modifiers"))+len(q.List("group_expressions")) > 0 ||
		q.Str("aggregate_handling") == "FORCE_AGGREGATES" || q["having"] != nil || q["qualify"] != nil {
		return false
	}
	var order []string
	for _, t := range tree.FromTables(q.Sub("from_table")) {
		switch {
		case s.handsOn(t, in):
			order = append(order, recordOrder(t.TableAlias())...)
		case s.makeHandOn(t, q, in):
			order = append(order, handedOrder(t.TableAlias())...)
		}
	}
	for _, item := range q.Nodes("select_list") {
		if hasAggregate(s.duck, item) {
			return false
		}
	}
	if len(order) != len(placeColumns) {
		return false
	}
	for i, o := range order {
		e, err := s.duck.Expr(o)
		if err != nil {
			return false
		}
		q["select_list"] = append(q.List("select_list"), e.WithAlias(handedOn(placeColumns[i])))
	}
	s.used = true
	return true
}

// settling is of one SELECT.
type settling struct {
	*settler
	sel   tree.Node
	in    []cte
	order []string // the place of the rows' records; empty: not to be had
}

// settle replaces aggregates in one clause, but not in the SELECTs nested in it.
func (s settling) settle(v any) (any, error) {
	var failed error
	out := tree.Rewrite(v, func(n tree.Node) (tree.Node, bool) {
		if failed != nil || n.IsQuery() {
			return n, true
		}
		r, err := s.settleCall(n)
		if err != nil {
			failed = err
			return n, true
		}
		return r, r != nil
	})
	return out, failed
}

// settleCall gives what stands for an aggregate; nil: it stays.
func (s settling) settleCall(n tree.Node) (tree.Node, error) {
	a, ok := callOf(n)
	if !ok {
		return nil, nil
	}
	if s.moments {
		return s.settleMoment(a, n)
	}
	orders := n.Sub("order_bys").Nodes("orders")
	name := a.Plain()
	if args := a.TieArgs(); args > 0 && len(n.List("children")) == args && !a.Distinct && len(orders) == 0 {
		return s.settleTie(a, n)
	}
	if (name == "arg_min" || name == "arg_max") && len(n.List("children")) == 3 && !a.Distinct && len(orders) == 0 {
		if err := printCall(s.duck, &a, n); err != nil {
			return nil, err
		}
		s.used = s.used || len(s.order) > 0
		a.Name = name
		settled, err := s.duck.Expr(a.SettleRanked(s.order))
		return settled.WithAlias(n.Str("alias")), err
	}
	if a.IsSketch() && s.sketches {
		return s.settleSketch(a, n)
	}
	switch {
	case (a.ListsRows() || name == "mode" || a.TakesOrder() && len(orders) > 0) && !a.Distinct && len(s.order) > 0:
		by := n.Sub("order_bys")
		for _, o := range s.order {
			e, err := s.duck.Expr(o)
			if err != nil {
				return nil, err
			}
			by["orders"] = append(by.List("orders"), placeOrder(e))
		}
		s.used = true
		byValue(n) // a join makes several rows of a record
	case a.ListsRows() && a.Distinct && len(orders) == 0, name == "mode" && len(orders) == 0:
		byValue(n)
	}
	return nil, nil
}

// byValue puts an aggregate's argument behind what its rows are ordered by.
func byValue(n tree.Node) {
	if x := n.Nodes("children")[0]; tree.HasColumn(x) {
		by := n.Sub("order_bys")
		by["orders"] = append(by.List("orders"), tree.Ascending(x.Clone().WithAlias("")))
	}
}

// settleMoment replaces an aggregate over moments.
func (s settling) settleMoment(a aggregate.Call, n tree.Node) (tree.Node, error) {
	if err := printCall(s.duck, &a, n); err != nil {
		return nil, err
	}
	text, ok := a.Settled()
	if !ok {
		return nil, nil
	}
	settled, err := s.duck.Expr(text)
	return settled.WithAlias(n.Str("alias")), err
}

// settleTie replaces an aggregate whose answer is the value of one row among equals.
func (s settling) settleTie(a aggregate.Call, n tree.Node) (tree.Node, error) {
	if len(s.order) == 0 && (a.Plain() == "first" || a.Plain() == "last") {
		return nil, nil // the rows come from a subquery, whose order may be meant
	}
	s.used = s.used || len(s.order) > 0
	if err := printCall(s.duck, &a, n); err != nil {
		return nil, err
	}
	value, field := a.Tie(s.order)
	settled, err := s.duck.Expr("struct_extract(" + value + ", '" + field + "')")
	return settled.WithAlias(n.Str("alias")), err
}

// settleSketch replaces an approximation.
func (s settling) settleSketch(a aggregate.Call, n tree.Node) (tree.Node, error) {
	if err := printCall(s.duck, &a, n); err != nil {
		return nil, err
	}
	text, reason, err := a.Sketch(s.typeOf)
	var unknown blocked
	switch {
	case errors.As(err, &unknown) || reason != "":
		return nil, nil // then it is DuckDB's own, over all rows
	case err != nil:
		return nil, err
	}
	s.sketched = true
	settled, err := s.duck.Expr(text)
	return settled.WithAlias(n.Str("alias")), err
}

func (s settling) typeOf(expr string) (string, error) {
	return typeWithin(s.duck, standing(s.sel, s.in), expr)
}
