package aggregate

import (
	"fmt"
	"strconv"
	"strings"
)

// isRanked says whether the call is min or max of the n smallest or largest.
func (a Call) isRanked() bool { return (a.Name == "min" || a.Name == "max") && len(a.Args) == 2 }

// reduceRanked is Reduce for the n smallest or largest: parts keep theirs in a sorted list, and of all lists' values the
// first n stay.
func (a Call) reduceRanked(add AddState) (final, reason string) {
	n := a.Args[1]
	if i, err := strconv.Atoi(n); err != nil || i < 1 || i >= 1_000_000 { // DuckDB's own bounds
		return "", fmt.Sprintf("%s with %s rows needs all of them; write their number", a.Name, n)
	}
	all, distinct := "list_sort(flatten(list(%[1]s) FILTER (WHERE %[1]s IS NOT NULL)), 'ASC', 'NULLS LAST')", ""
	if a.Distinct { // list_distinct holds one NaN from another
		all, distinct = "list_filter("+all+", lambda v, i: i = 1 OR v IS DISTINCT FROM list_extract("+all+", i - 1))", "DISTINCT "
	}
	if a.Name == "max" {
		all = "list_reverse(" + all + ")"
	}
	return add(a.Name+"("+distinct+a.Args[0]+", "+n+")"+a.Where(), all+"[:"+n+"]"), ""
}

// SettleRanked gives what stands for arg_min or arg_max of n rows: those that tie go by order, ascending integers that say
// the place of a row in the log.
func (a Call) SettleRanked(order []string) string {
	smallest := a.Name == "arg_min"
	fields := []string{"'v': " + a.Args[1]}
	for i, o := range order {
		if !smallest {
			o = "-" + o
		}
		fields = append(fields, fmt.Sprintf("'o%d': %s", i, o))
	}
	fields = append(fields, "'x': "+a.Args[0])
	where := a.Where("("+a.Args[1]+") IS NOT NULL", "("+a.Args[0]+") IS NOT NULL")
	return "list_transform(" + strings.TrimPrefix(a.Name, "arg_") + "({" + strings.Join(fields, ", ") + "}, " + a.Args[2] + ")" + where + ", lambda ranked: struct_extract(ranked, 'x'))" // HAVING does not know ranked.x
}
