package views

import (
	"fmt"
	"strconv"
	"strings"
)

// isRanked says whether the call is min or max of the n smallest or largest.
func (a call) isRanked() bool { return (a.name == "min" || a.name == "max") && len(a.args) == 2 }

// reduceRanked is reduce for the n smallest or largest: parts keep theirs in a sorted list, and of all lists' values the
// first n stay.
func (a call) reduceRanked(add func(partial, merge string) string) (final, reason string) {
	n := a.args[1]
	if i, err := strconv.Atoi(n); err != nil || i < 1 || i >= 1_000_000 { // DuckDB's own bounds
		return "", fmt.Sprintf("%s with %s rows needs all of them; write their number", a.name, n)
	}
	all, distinct := "list_sort(flatten(list(%[1]s) FILTER (WHERE %[1]s IS NOT NULL)), 'ASC', 'NULLS LAST')", ""
	if a.distinct { // list_distinct holds one NaN from another
		all, distinct = "list_filter("+all+", lambda v, i: i = 1 OR v IS DISTINCT FROM list_extract("+all+", i - 1))", "DISTINCT "
	}
	if a.name == "max" {
		all = "list_reverse(" + all + ")"
	}
	return add(a.name+"("+distinct+a.args[0]+", "+n+")"+a.where(), all+"[:"+n+"]"), ""
}

// settleRanked gives what stands for arg_min or arg_max of n rows: those that tie go by their place in the log.
func (a call) settleRanked(order []string) string {
	smallest := a.name == "arg_min"
	fields := []string{"'v': " + a.args[1]}
	for i, o := range order {
		if !smallest {
			o = "-" + o
		}
		fields = append(fields, fmt.Sprintf("'o%d': %s", i, o))
	}
	fields = append(fields, "'x': "+a.args[0])
	where := a.where("("+a.args[1]+") IS NOT NULL", "("+a.args[0]+") IS NOT NULL")
	return "list_transform(" + strings.TrimPrefix(a.name, "arg_") + "({" + strings.Join(fields, ", ") + "}, " + a.args[2] + ")" + where + ", lambda ranked: ranked.x)"
}
