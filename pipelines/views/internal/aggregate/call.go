package aggregate

import (
	"fmt"
	"strings"
)

// Call is one call of an aggregate, its arguments and filter as SQL over rows.
type Call struct {
	Name     string   // lower case, as it is written
	Args     []string // without aliases
	Distinct bool
	Filter   string // empty: none
}

// Where is the call's FILTER with more conditions; empty if there are none.
func (a Call) Where(more ...string) string {
	if a.Filter != "" {
		more = append(more, "("+a.Filter+")")
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

// Plain is the aggregate's name where it has several: avg for mean.
func (a Call) Plain() string {
	if plain, ok := sameAs[a.Name]; ok {
		return plain
	}
	return a.Name
}

// aggregateMacros are DuckDB's macros with an aggregate inside.
var aggregateMacros = map[string]bool{
	"geomean": true, "geometric_mean": true, "wavg": true, "weighted_avg": true, "json_group_array": true,
	"json_group_object": true, "json_group_structure": true,
}

// IsMacro says whether a function is one of DuckDB's macros with an aggregate inside.
func IsMacro(name string) bool { return aggregateMacros[name] }

// Typer says which type an expression has over the view's rows.
type Typer func(expr string) (string, error)

// AddState declares a state column of a group and gives its name: what it is over rows, and what it is over several
// states of the group, with %s (or %[1]s) for the column's name. The same column is declared once.
type AddState func(partial, merge string) (column string)

// Reduce gives the final expression of an aggregate over the state columns that add declares. A reason says why the
// aggregate cannot be merged. Errors are those of typeOf.
func (a Call) Reduce(typeOf Typer, add AddState) (final, reason string, err error) {
	a.Name = a.Plain()
	if final := a.reduceMacro(add); final != "" {
		return final, "", nil
	}
	switch {
	case a.Name == "count_star" || a.Name == "count":
		arg := strings.Join(a.Args, ", ")
		if arg == "" {
			arg = "*"
		}
		return a.count(arg, add), "", nil
	case a.isMoment():
		return a.reduceMoment(add), "", nil
	case a.isRanked():
		final, reason = a.reduceRanked(add)
		return final, reason, nil
	case a.Name == "bitstring_agg" && len(a.Args) == 3:
		return add("bitstring_agg("+strings.Join(a.Args, ", ")+")"+a.Where(), "bit_or(%s)"), "", nil
	case len(a.Args) != 1:
		return "", fmt.Sprintf("%s with %d arguments needs all rows at once", a.Name, len(a.Args)), nil
	case itself[a.Name]:
		return add(a.Name+"("+a.Args[0]+")"+a.Where(), a.Name+"(%s)"), "", nil
	case a.Name == "count_if":
		return add("count_if("+a.Args[0]+")"+a.Where(), "sum(%s)"), "", nil
	case a.Name == "avg":
		return a.reduceAvg(typeOf, add)
	}
	return "", fmt.Sprintf("%s needs all rows at once", a.Name), nil
}

func (a Call) count(arg string, add AddState) string {
	return add("count("+arg+")"+a.Where(), "CAST(coalesce(sum(%s), 0) AS BIGINT)")
}

// reduceAvg keeps the exact sum where DuckDB does, and divides at the end.
func (a Call) reduceAvg(typeOf Typer, add AddState) (string, string, error) {
	t, err := typeOf(a.Args[0])
	if err != nil {
		return "", "", err
	}
	arg := a.Args[0]
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
	sum := add("sum("+arg+")"+a.Where(), "sum(%s)")
	return fmt.Sprintf("CAST(%s AS DOUBLE) / nullif(%s, 0)", sum, a.count(a.Args[0], add)), "", nil
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

// TieArgs is how many arguments a call has whose answer is the value of one row, chosen among equals by the order of
// records: arg_min and its like, first, last and any_value. It is 0 for other aggregates.
func (a Call) TieArgs() int { return tied[a.Plain()].args }

// Tie gives the aggregate over a struct of the key, the record's place in the log and the value; and the field of the
// struct that is the answer.
func (a Call) Tie(order []string) (expr, field string) {
	t := tied[a.Plain()]
	var fields, where []string
	if t.args == 2 {
		fields = append(fields, "'v': "+a.Args[1])
		where = append(where, "("+a.Args[1]+") IS NOT NULL")
	}
	for i, o := range order {
		if t.descending {
			o = "-" + o
		}
		fields = append(fields, fmt.Sprintf("'o%d': %s", i, o))
	}
	fields = append(fields, "'x': "+a.Args[0])
	if t.skip {
		where = append(where, "("+a.Args[0]+") IS NOT NULL")
	}
	return t.with + "({" + strings.Join(fields, ", ") + "})" + a.Where(where...), "x"
}
