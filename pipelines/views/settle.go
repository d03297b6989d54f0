package views

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/aggregate"
)

// settler makes a query's answer one that does not hang on how rows are read or cut: it decides ties by the records' place
// in the log, puts lists in that order, completes the ORDER BY of a LIMIT, and computes approximations by sketches that
// come to the same however the rows are cut.
type settler struct {
	c        *Compiler
	isTopic  func(fromTable node) bool // of a table that is no common table expression
	sketches bool                      // approximations are replaced
	moments  bool                      // only this: aggregates that DuckDB computes with less care than the plans do become the plans' own
	used     bool                      // some aggregate reads the record's place in the log
	sketched bool                      // some aggregate is a sketch
}

// settleQuery is of a query and all within it; in are the common table expressions in scope.
func (s *settler) settleQuery(v any, in []with) error {
	n, ok := v.(node)
	if !ok || !isQuery(n) {
		var failed error
		children(v, func(c any) any {
			if failed == nil {
				failed = s.settleQuery(c, in)
			}
			return c
		})
		return failed
	}
	in = slices.Clip(in)
	for _, entry := range nodes(list(sub(n, "cte_map"), "map")) {
		if err := s.settleQuery(entry["value"], in); err != nil {
			return err
		}
		in = append(in, with{name: strings.ToLower(str(entry, "key")), entry: entry})
	}
	for _, k := range sortedKeys(n) {
		if k != "cte_map" {
			if err := s.settleQuery(n[k], in); err != nil {
				return err
			}
		}
	}
	if str(n, "type") == "SELECT_NODE" {
		return s.settleSelect(n, in)
	}
	return nil
}

func (s *settler) settleSelect(sel node, in []with) error {
	sc := settling{settler: s, sel: sel, in: in}
	nameSubqueries(sel)
	takes := s.takesOrder(sel)
	for _, t := range fromTables(sub(sel, "from_table")) {
		switch {
		case s.handsOn(t, in):
			sc.order = append(sc.order, recordOrder(tableAlias(t))...)
		case takes && s.makeHandOn(t, sel, in):
			sc.order = append(sc.order, handedOrder(tableAlias(t))...)
		}
	}
	for i, item := range nodes(list(sel, "select_list")) {
		before := encodeTree(item)
		name := str(item, "alias")
		if name == "" && class(item) != "STAR" {
			var err error
			if name, err = s.c.printExpr(item); err != nil {
				return err
			}
		}
		settled, err := sc.settle(item)
		if err != nil {
			return err
		}
		if encodeTree(settled) != before {
			list(sel, "select_list")[i] = withAlias(settled.(node), name)
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
func nameSubqueries(sel node) {
	n := 0
	for _, t := range fromTables(sub(sel, "from_table")) {
		if str(t, "type") == "SUBQUERY" && str(t, "alias") == "" {
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
func (s *settler) handsOn(t node, in []with) bool {
	if len(list(t, "column_name_alias")) > 0 {
		return false
	}
	var q node
	switch str(t, "type") {
	case "BASE_TABLE":
		w, ok := scopeOf(in, t)
		if !ok {
			return s.isTopic(t)
		}
		value := sub(w.entry, "value")
		if len(list(value, "aliases")) > 0 {
			return false
		}
		q = sub(sub(value, "query"), "node")
		in = in[:slices.IndexFunc(in, func(o with) bool { return address(o.entry) == address(w.entry) })]
	case "SUBQUERY":
		q = sub(sub(t, "subquery"), "node")
	}
	return q != nil && s.handsOnAll(q, in)
}

func (s *settler) handsOnAll(q node, in []with) bool {
	for _, entry := range nodes(list(sub(q, "cte_map"), "map")) {
		in = append(slices.Clip(in), with{name: strings.ToLower(str(entry, "key")), entry: entry})
	}
	if len(list(q, "modifiers")) > 0 {
		return false
	}
	if str(q, "type") == "SET_OPERATION_NODE" {
		return str(q, "setop_type") == "UNION" && flag(q, "setop_all") && s.handsOnAll(sub(q, "left"), in) && s.handsOnAll(sub(q, "right"), in)
	}
	if str(q, "type") != "SELECT_NODE" || len(list(q, "group_expressions")) > 0 || str(q, "aggregate_handling") == "FORCE_AGGREGATES" || q["having"] != nil {
		return false
	}
	from := 0
	for _, t := range fromTables(sub(q, "from_table")) {
		if s.handsOn(t, in) {
			from++
		}
	}
	if from != 1 {
		return false
	}
	shown := map[string]bool{}
	for _, item := range nodes(list(q, "select_list")) {
		switch class(item) {
		case "STAR":
			if len(list(item, "exclude_list"))+len(list(item, "replace_list"))+len(list(item, "rename_list"))+len(list(item, "qualified_exclude_list")) == 0 && !flag(item, "columns") {
				return true
			}
		case "COLUMN_REF":
			names := columnNames(item)
			if last := strings.ToLower(names[len(names)-1]); str(item, "alias") == "" || strings.EqualFold(str(item, "alias"), last) {
				shown[last] = true
			}
		}
	}
	return shown["_timestamp"] && shown["_partition"] && shown["_offset"]
}

// takesOrder says whether a SELECT has an aggregate whose answer hangs on the order of rows.
func (s *settler) takesOrder(sel node) bool {
	found := false
	for _, clause := range []string{"select_list", "having", "qualify", "modifiers"} {
		walk(sel[clause], func(n node) bool {
			a, ok := aggregateCall(n)
			found = found || ok && a.TakesOrder()
			return !found && !isQuery(n)
		})
	}
	return found && !s.moments
}

// recordOrder is the place of a topic's record in the log, as ascending integers.
func recordOrder(alias string) []string {
	a := quoteName(alias)
	return []string{"epoch_us(" + a + "._timestamp)", a + "._partition", a + "._offset"}
}

// handed are the names under which a subquery that is made to hands on the place of its rows' records.
var handed = []string{"millrace_timestamp", "millrace_partition", "millrace_offset"}

func handedOrder(alias string) (out []string) {
	for _, c := range handed {
		out = append(out, quoteName(alias)+"."+c)
	}
	return out
}

// makeHandOn adds the place in the log to what a subquery in FROM selects, if its rows are a topic's records in no order
// and nobody would see that it selects more.
func (s *settler) makeHandOn(t, sel node, in []with) bool {
	for _, item := range nodes(list(sel, "select_list")) {
		if class(item) == "STAR" {
			return false
		}
	}
	if str(t, "type") == "SUBQUERY" {
		return s.addPlace(sub(sub(t, "subquery"), "node"), in)
	}
	w, ok := scopeOf(in, t)
	if str(t, "type") != "BASE_TABLE" || !ok || len(list(sub(w.entry, "value"), "aliases")) > 0 {
		return false
	}
	// another reader of the common table expression might see more columns: this one gets its own copy
	q := clone(sub(sub(sub(w.entry, "value"), "query"), "node"))
	before := in[:slices.IndexFunc(in, func(o with) bool { return address(o.entry) == address(w.entry) })]
	same := true // names mean there what they mean here
	visitTables(q, func(t node) {
		here, _ := scopeOf(in, t)
		there, _ := scopeOf(before, t)
		same = same && address(here.entry) == address(there.entry)
	})
	if !same || !s.addPlace(q, before) {
		return false
	}
	alias := tableAlias(t)
	for _, k := range []string{"schema_name", "catalog_name", "table_name", "at_clause"} {
		delete(t, k)
	}
	t["type"], t["alias"], t["subquery"] = "SUBQUERY", alias, node{"node": q, "named_param_map": []any{}}
	return true
}

func (s *settler) addPlace(q node, in []with) bool {
	if str(q, "type") != "SELECT_NODE" || len(list(sub(q, "cte_map"), "map"))+len(list(q, "modifiers"))+len(list(q, "group_expressions")) > 0 ||
		str(q, "aggregate_handling") == "FORCE_AGGREGATES" || q["having"] != nil || q["qualify"] != nil {
		return false
	}
	var order []string
	for _, t := range fromTables(sub(q, "from_table")) {
		switch {
		case s.handsOn(t, in):
			order = append(order, recordOrder(tableAlias(t))...)
		case s.makeHandOn(t, q, in):
			order = append(order, handedOrder(tableAlias(t))...)
		}
	}
	for _, item := range nodes(list(q, "select_list")) {
		if s.c.hasAggregate(item) {
			return false
		}
	}
	if len(order) != len(handed) {
		return false
	}
	for i, o := range order {
		e, err := s.c.expr(o)
		if err != nil {
			return false
		}
		q["select_list"] = append(list(q, "select_list"), withAlias(e, handed[i]))
	}
	s.used = true
	return true
}

// settling is of one SELECT.
type settling struct {
	*settler
	sel   node
	in    []with
	order []string // the place of the rows' records; empty: not to be had
}

// settle replaces aggregates in one clause, but not in the SELECTs nested in it.
func (s settling) settle(v any) (any, error) {
	var failed error
	out := rewrite(v, func(n node) (node, bool) {
		if failed != nil || isQuery(n) {
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
func (s settling) settleCall(n node) (node, error) {
	a, ok := aggregateCall(n)
	if !ok {
		return nil, nil
	}
	if s.moments {
		return s.settleMoment(a, n)
	}
	orders := nodes(list(sub(n, "order_bys"), "orders"))
	name := a.Plain()
	if args := a.TieArgs(); args > 0 && len(list(n, "children")) == args && !a.Distinct && len(orders) == 0 {
		return s.settleTie(a, n)
	}
	if (name == "arg_min" || name == "arg_max") && len(list(n, "children")) == 3 && !a.Distinct && len(orders) == 0 {
		if err := s.c.printCall(&a, n); err != nil {
			return nil, err
		}
		s.used = s.used || len(s.order) > 0
		a.Name = name
		settled, err := s.c.expr(a.SettleRanked(s.order))
		return withAlias(settled, str(n, "alias")), err
	}
	if a.IsSketch() && s.sketches {
		return s.settleSketch(a, n)
	}
	switch {
	case (a.ListsRows() || name == "mode" || a.TakesOrder() && len(orders) > 0) && !a.Distinct && len(s.order) > 0:
		by := sub(n, "order_bys")
		for _, o := range s.order {
			e, err := s.c.expr(o)
			if err != nil {
				return nil, err
			}
			by["orders"] = append(list(by, "orders"), ascending(e))
		}
		s.used = true
		byValue(n) // a join makes several rows of a record
	case a.ListsRows() && a.Distinct && len(orders) == 0, name == "mode" && len(orders) == 0:
		byValue(n)
	}
	return nil, nil
}

// byValue puts an aggregate's argument behind what its rows are ordered by.
func byValue(n node) {
	if x := nodes(list(n, "children"))[0]; hasColumn(x) {
		by := sub(n, "order_bys")
		by["orders"] = append(list(by, "orders"), ascending(withAlias(clone(x), "")))
	}
}

func ascending(e node) node {
	return node{"type": "ORDER_DEFAULT", "null_order": "ORDER_DEFAULT", "expression": e}
}

// settleMoment replaces an aggregate over moments.
func (s settling) settleMoment(a aggregate.Call, n node) (node, error) {
	if err := s.c.printCall(&a, n); err != nil {
		return nil, err
	}
	text, ok := a.Settled()
	if !ok {
		return nil, nil
	}
	settled, err := s.c.expr(text)
	return withAlias(settled, str(n, "alias")), err
}

// settleTie replaces an aggregate whose answer is the value of one row among equals.
func (s settling) settleTie(a aggregate.Call, n node) (node, error) {
	if len(s.order) == 0 && (a.Plain() == "first" || a.Plain() == "last") {
		return nil, nil // the rows come from a subquery, whose order may be meant
	}
	s.used = s.used || len(s.order) > 0
	if err := s.c.printCall(&a, n); err != nil {
		return nil, err
	}
	value, field := a.Tie(s.order)
	settled, err := s.c.expr("struct_extract(" + value + ", '" + field + "')")
	return withAlias(settled, str(n, "alias")), err
}

// settleSketch replaces an approximation.
func (s settling) settleSketch(a aggregate.Call, n node) (node, error) {
	if err := s.c.printCall(&a, n); err != nil {
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
	settled, err := s.c.expr(text)
	return withAlias(settled, str(n, "alias")), err
}

func (s settling) typeOf(expr string) (string, error) {
	return s.c.typeWithin(standing(s.sel, s.in), expr)
}

// aggregateCall reads the name of a function call.
func aggregateCall(n node) (aggregate.Call, bool) {
	if class(n) != "FUNCTION" {
		return aggregate.Call{}, false
	}
	return aggregate.Call{Name: strings.ToLower(str(n, "function_name")), Distinct: flag(n, "distinct")}, true
}

// printCall fills in a call's arguments and filter.
func (c *Compiler) printCall(a *aggregate.Call, n node) error {
	for _, arg := range nodes(list(n, "children")) {
		text, err := c.printExpr(arg)
		if err != nil {
			return err
		}
		a.Args = append(a.Args, text)
	}
	if f := sub(n, "filter"); f != nil {
		text, err := c.printExpr(f)
		if err != nil {
			return err
		}
		a.Filter = text
	}
	return nil
}
