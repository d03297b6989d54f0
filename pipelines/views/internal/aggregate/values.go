package aggregate

import "fmt"

// ordering says how an aggregate's answer hangs on the order of its rows.
type ordering int

const (
	unordered ordering = iota
	ofRecords          // by place in the log, where nothing else decides
)

// overValues are the aggregates that are computed over a group's values as they were.
var overValues = map[string]ordering{
	"median": unordered, "quantile": unordered, "quantile_cont": unordered, "quantile_disc": unordered, "mad": unordered,
	"mode": unordered, "entropy": unordered, "histogram": unordered, "histogram_exact": unordered,
	"list": ofRecords, "array_agg": ofRecords, "string_agg": ofRecords, "group_concat": ofRecords, "listagg": ofRecords,
}

// ofOrder are the aggregates whose answer hangs on the order of their rows.
var ofOrder = map[string]bool{
	"first": true, "last": true, "any_value": true, "arg_min": true, "arg_max": true, "arg_min_null": true, "arg_max_null": true,
	"list": true, "array_agg": true, "string_agg": true, "group_concat": true, "listagg": true, "mode": true,
}

// NeedsValues says whether the aggregate has no smaller state than the values of a group.
func (a Call) NeedsValues() bool {
	_, ok := overValues[a.Plain()]
	return ok
}

// ListsRows says whether the answer has every value, in the order of the rows: list and string_agg.
func (a Call) ListsRows() bool { return overValues[a.Plain()] == ofRecords }

// TakesOrder says whether the answer hangs on the order of the rows.
func (a Call) TakesOrder() bool { return ofOrder[a.Plain()] }

// IgnoresDistinct says whether DISTINCT makes no difference to the aggregate.
func (a Call) IgnoresDistinct() bool { return indifferent[a.Plain()] }

// OverCounts is an aggregate over rows that each stand for a value and have the column often, how many times it occurred;
// empty for those that need each value as often as it occurred.
func (a Call) OverCounts(often string) string {
	switch x := a.Args[0]; a.Name {
	case "histogram":
		return fmt.Sprintf("map_from_entries(list({'key': %s, 'value': CAST(%s AS UBIGINT)} ORDER BY %[1]s)%[3]s)", x, often, a.Where(x+" IS NOT NULL"))
	case "entropy":
		where := a.Where(x + " IS NOT NULL")
		return fmt.Sprintf("coalesce(log2(sum(%[1]s)%[2]s) - sum(%[1]s * log2(%[1]s))%[2]s / sum(%[1]s)%[2]s, 0.0)", often, where)
	}
	return ""
}
