package views

import (
	"fmt"
	"strings"
)

// call is one aggregate with its arguments printed as SQL.
type call struct {
	name     string
	args     []string
	distinct bool
	filter   string // empty: none
}

func (a call) where(more ...string) string {
	if a.filter != "" {
		more = append(more, "("+a.filter+")")
	}
	if len(more) == 0 {
		return ""
	}
	return " FILTER (WHERE " + strings.Join(more, " AND ") + ")"
}

// itself are the aggregates that are their own state and merge.
var itself = map[string]bool{
	"sum": true, "min": true, "max": true, "bool_and": true, "bool_or": true, "bit_and": true, "bit_or": true,
	"bit_xor": true, "product": true, "fsum": true, "kahan_sum": true, "sumkahan": true,
}

// indifferent are the aggregates to which DISTINCT makes no difference.
var indifferent = map[string]bool{"min": true, "max": true, "bool_and": true, "bool_or": true, "bit_and": true, "bit_or": true}

var sameAs = map[string]string{
	"mean": "avg", "variance": "var_samp", "stddev": "stddev_samp", "countif": "count_if",
	"min_by": "arg_min", "argmin": "arg_min", "max_by": "arg_max", "argmax": "arg_max", "arbitrary": "first",
}

// plain is the aggregate's name without aliases.
func (a call) plain() string {
	if plain, ok := sameAs[a.name]; ok {
		return plain
	}
	return a.name
}

// aggregateMacros are DuckDB's macros with an aggregate inside.
var aggregateMacros = map[string]bool{
	"geomean": true, "geometric_mean": true, "wavg": true, "weighted_avg": true, "json_group_array": true,
	"json_group_object": true, "json_group_structure": true,
}

// typer says which type an expression has over the view's rows.
type typer func(expr string) (string, error)

// reduce gives the final expression of an aggregate over the state columns that add declares. A reason says why the
// aggregate cannot be merged.
func (a call) reduce(typeOf typer, add func(partial, merge string) string) (final, reason string, err error) {
	a.name = a.plain()
	if final := a.reduceMacro(add); final != "" {
		return final, "", nil
	}
	switch {
	case a.name == "count_star" || a.name == "count":
		arg := strings.Join(a.args, ", ")
		if arg == "" {
			arg = "*"
		}
		return a.count(arg, add), "", nil
	case a.isMoment():
		return a.reduceMoment(add), "", nil
	case a.isRanked():
		final, reason = a.reduceRanked(add)
		return final, reason, nil
	case a.name == "bitstring_agg" && len(a.args) == 3:
		return add("bitstring_agg("+strings.Join(a.args, ", ")+")"+a.where(), "bit_or(%s)"), "", nil
	case len(a.args) != 1:
		return "", fmt.Sprintf("%s with %d arguments needs all rows at once", a.name, len(a.args)), nil
	case itself[a.name]:
		return add(a.name+"("+a.args[0]+")"+a.where(), a.name+"(%s)"), "", nil
	case a.name == "count_if":
		return add("count_if("+a.args[0]+")"+a.where(), "sum(%s)"), "", nil
	case a.name == "avg":
		return a.reduceAvg(typeOf, add)
	}
	return "", fmt.Sprintf("%s needs all rows at once", a.name), nil
}

func (a call) count(arg string, add func(partial, merge string) string) string {
	return add("count("+arg+")"+a.where(), "CAST(coalesce(sum(%s), 0) AS BIGINT)")
}

// reduceAvg keeps the exact sum where DuckDB does, and divides at the end.
func (a call) reduceAvg(typeOf typer, add func(partial, merge string) string) (string, string, error) {
	t, err := typeOf(a.args[0])
	if err != nil {
		return "", "", err
	}
	arg := a.args[0]
	switch {
	case strings.HasPrefix(t, "DECIMAL") || exactSums[t]:
	case temporal[t].micros != "":
		return a.reduceTemporal(t, add), "", nil
	case t == "INTERVAL":
		return a.reduceInterval(add), "", nil
	case doubleSums[t]:
		arg = "CAST(" + arg + " AS DOUBLE)"
	default:
		return "", fmt.Sprintf("avg over %s needs all rows at once", t), nil
	}
	sum := add("sum("+arg+")"+a.where(), "sum(%s)")
	return fmt.Sprintf("CAST(%s AS DOUBLE) / nullif(%s, 0)", sum, a.count(a.args[0], add)), "", nil
}

var exactSums = map[string]bool{
	"BOOLEAN": true, "TINYINT": true, "SMALLINT": true, "INTEGER": true, "BIGINT": true, "HUGEINT": true,
	"UTINYINT": true, "USMALLINT": true, "UINTEGER": true, "UBIGINT": true,
}

var doubleSums = map[string]bool{"FLOAT": true, "DOUBLE": true, "UHUGEINT": true, "BIGNUM": true}

// tied are the aggregates whose answer hangs on the order of records: the one with the smallest or largest key wins.
var tied = map[string]struct {
	with       string // min or max over a struct whose first fields are the key
	args       int
	skip       bool // rows whose (first) argument is NULL do not take part
	descending bool // the earliest record wins under max
}{
	"arg_min":      {"min", 2, true, false},
	"arg_max":      {"max", 2, true, true},
	"arg_min_null": {"min", 2, false, false},
	"arg_max_null": {"max", 2, false, true},
	"first":        {"min", 1, false, false},
	"any_value":    {"min", 1, true, false},
	"last":         {"max", 1, false, false},
}

// tie gives the aggregate over a struct of the key, the record's place in the log and the value; and the field of the
// struct that is the answer.
func (a call) tie(order []string) (expr, field string) {
	t := tied[a.plain()]
	var fields, where []string
	if t.args == 2 {
		fields = append(fields, "'v': "+a.args[1])
		where = append(where, "("+a.args[1]+") IS NOT NULL")
	}
	for i, o := range order {
		if t.descending {
			o = "-" + o
		}
		fields = append(fields, fmt.Sprintf("'o%d': %s", i, o))
	}
	fields = append(fields, "'x': "+a.args[0])
	if t.skip {
		where = append(where, "("+a.args[0]+") IS NOT NULL")
	}
	return t.with + "({" + strings.Join(fields, ", ") + "})" + a.where(where...), "x"
}

// recordOrder is the place of a topic's record in the log, as ascending integers.
func recordOrder(alias string) []string {
	a := quoteName(alias)
	return []string{"epoch_us(" + a + "._timestamp)", a + "._partition", a + "._offset"}
}
