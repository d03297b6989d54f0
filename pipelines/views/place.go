package views

import (
	"slices"

	"github.com/millrace/millrace/pipelines/views/internal/tree"
	"github.com/millrace/millrace/schemas"
)

// placeColumns say where in the log a record lies, and so in which order records came: the first decides first.
var placeColumns = []string{"_timestamp", "_partition", "_offset"}

// handedOn is the name under which a subquery that is made to hands on one of placeColumns.
func handedOn(column string) string { return "millrace" + column }

// recordOrder is the place of a topic's record in the log, as ascending integers.
func recordOrder(alias string) []string {
	order := columnsOf(alias, placeColumns)
	order[0] = "epoch_us(" + order[0] + ")"
	return order
}

// handedOrder is the place that a subquery hands on, as ascending integers.
func handedOrder(alias string) []string {
	var names []string
	for _, c := range placeColumns {
		names = append(names, handedOn(c))
	}
	return columnsOf(alias, names)
}

func columnsOf(alias string, names []string) (out []string) {
	for _, name := range names {
		out = append(out, schemas.QuoteIdent(alias)+"."+name)
	}
	return out
}

// placeMark is the field that tells the entries of an ORDER BY that placeOrder made from others.
const placeMark = "millrace_place"

// placeOrder is an entry of ORDER BY for a part of a record's place in the log.
func placeOrder(e tree.Node) tree.Node {
	o := tree.Ascending(e)
	o[placeMark] = true
	return o
}

// byPlace says whether an order is that of the records' place in the log, and then of the value itself.
func byPlace(orders []tree.Node) bool {
	n := len(placeColumns)
	return (len(orders) == n || len(orders) == n+1) && !slices.ContainsFunc(orders[:n], func(o tree.Node) bool { return !o.Flag(placeMark) })
}
