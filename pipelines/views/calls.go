package views

import (
	"fmt"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/aggregate"
	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// hasAggregate says whether an expression makes one row of many.
func hasAggregate(duck *engine.Conn, e any) bool {
	found := false
	tree.Walk(e, func(n tree.Node) bool {
		if n.IsQuery() {
			return false
		}
		found = found || isAggregate(duck, n)
		return !found
	})
	return found
}

// isAggregate says whether an expression is a call of an aggregate.
func isAggregate(duck *engine.Conn, n tree.Node) bool {
	a, ok := callOf(n)
	return ok && (duck.IsAggregate(a.Name) || aggregate.IsMacro(a.Name))
}

// typeWithin is the type of an expression over the rows that a SELECT reads.
func typeWithin(duck *engine.Conn, sel tree.Node, expr string) (string, error) {
	e, err := duck.Expr(expr)
	if err != nil {
		return "", err
	}
	q := tree.EmptySelect(sel)
	q["select_list"] = []any{e}
	text, err := duck.Print(q)
	if err != nil {
		return "", err
	}
	cols, err := duck.Describe(text)
	if err != nil {
		return "", blocked(fmt.Sprintf("the type of %s is not known without the whole query", expr))
	}
	return cols[0].Type, nil
}

// callOf reads the name of a function call.
func callOf(n tree.Node) (aggregate.Call, bool) {
	if n.Class() != "FUNCTION" {
		return aggregate.Call{}, false
	}
	return aggregate.Call{Name: strings.ToLower(n.Str("function_name")), Distinct: n.Flag("distinct")}, true
}

// printCall fills in a call's arguments and filter.
func printCall(duck *engine.Conn, a *aggregate.Call, n tree.Node) error {
	for _, arg := range n.Nodes("children") {
		text, err := duck.PrintExpr(arg)
		if err != nil {
			return err
		}
		a.Args = append(a.Args, text)
	}
	if f := n.Sub("filter"); f != nil {
		text, err := duck.PrintExpr(f)
		if err != nil {
			return err
		}
		a.Filter = text
	}
	return nil
}
