package views

import (
	"strings"
)

// settler makes the aggregates that hang on the order of records independent of how rows are read.
type settler struct {
	c       *Compiler
	isTopic func(fromTable node) bool
	used    bool // some aggregate reads the record's place in the log
}

// settleTies replaces, in every SELECT, the aggregates that hang on the order of records.
func (s *settler) settleTies(q node) error {
	var failed error
	walk(q, func(n node) bool {
		if failed == nil && str(n, "type") == "SELECT_NODE" {
			failed = s.settleSelect(n)
		}
		return failed == nil
	})
	return failed
}

func (s *settler) settleSelect(sel node) error {
	var order []string
	for _, t := range fromTables(sub(sel, "from_table")) {
		if s.isTopic(t) && len(list(t, "column_name_alias")) == 0 {
			order = append(order, recordOrder(tableAlias(t))...)
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
		settled, err := s.settle(item, order)
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
		settled, err := s.settle(sel[key], order)
		if err != nil {
			return err
		}
		sel[key] = settled
	}
	return nil
}

// settle replaces such aggregates in one clause, but not in the SELECTs nested in it.
func (s *settler) settle(v any, order []string) (any, error) {
	var failed error
	out := rewrite(v, func(n node) (node, bool) {
		if failed != nil || isQuery(n) {
			return n, true
		}
		a, ok := aggregateCall(n)
		t, isTied := tied[a.plain()]
		if !ok || !isTied || len(list(n, "children")) != t.args || a.distinct || len(list(sub(n, "order_bys"), "orders")) > 0 {
			return nil, false
		}
		if len(order) == 0 && t.args == 1 {
			return nil, false // the rows come from a subquery, whose order may be meant
		}
		s.used = s.used || len(order) > 0
		if failed = s.c.printCall(&a, n); failed != nil {
			return n, true
		}
		value, field := a.tie(order)
		settled, err := s.c.expr("struct_extract(" + value + ", '" + field + "')")
		if err != nil {
			failed = err
			return n, true
		}
		return withAlias(settled, str(n, "alias")), true
	})
	return out, failed
}

// aggregateCall reads the name of a function call.
func aggregateCall(n node) (call, bool) {
	if class(n) != "FUNCTION" {
		return call{}, false
	}
	return call{name: strings.ToLower(str(n, "function_name")), distinct: flag(n, "distinct")}, true
}

// printCall fills in a call's arguments and filter.
func (c *Compiler) printCall(a *call, n node) error {
	for _, arg := range nodes(list(n, "children")) {
		text, err := c.printExpr(arg)
		if err != nil {
			return err
		}
		a.args = append(a.args, text)
	}
	if f := sub(n, "filter"); f != nil {
		text, err := c.printExpr(f)
		if err != nil {
			return err
		}
		a.filter = text
	}
	return nil
}
