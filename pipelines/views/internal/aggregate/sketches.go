package aggregate

import (
	"fmt"
	"math"
	"strings"
)

// sketches are DuckDB's approximate aggregates, whose own answers hang on how the rows are read. In their place stand
// expressions that come to the same for every cut of the rows.
//
//	approx_count_distinct(x)  from the 2,048 smallest hashes of x: exact up to 2,047 values; of more the standard error is 2.2 %
//	approx_quantile(x, q)     from counts of x in steps of 2 %: within 1 % of the value at that rank; exact for DECIMAL, HUGEINT and what is no number
//	approx_top_k(x, k)        from counts of every value: exact; among equals the smallest values
var sketches = map[string]func(a Call, typeOf Typer) (text, reason string, err error){
	"approx_count_distinct": smallestHashes,
	"approx_quantile":       logarithmicSteps,
	"approx_top_k":          mostFrequent,
}

// IsSketch says whether the call is an approximation that Sketch replaces.
func (a Call) IsSketch() bool { return sketches[a.Plain()] != nil }

// Sketch is the expression that stands for an approximation. A reason says why there is none. Errors are those of typeOf.
func (a Call) Sketch(typeOf Typer) (text, reason string, err error) {
	return sketches[a.Plain()](a, typeOf)
}

const hashesKept = 2048

// smallestHashes keeps the smallest hashes; how dense they lie says how many there are.
func smallestHashes(a Call, _ Typer) (text, reason string, err error) {
	x := "(" + a.Args[0] + ")"
	kept := fmt.Sprintf("min(DISTINCT hash(%s), %d)%s", x, hashesKept, a.Where(x+" IS NOT NULL"))
	return fmt.Sprintf("(CASE WHEN len(%[1]s) < %[2]d THEN len(%[1]s) WHEN len(%[1]s) = %[2]d THEN CAST(round(%[3]d / (list_extract(%[1]s, %[2]d) / 18446744073709551616.0::DOUBLE)) AS BIGINT) ELSE 0 END)",
		kept, hashesKept, hashesKept-1), "", nil
}

// Steps are numbered by the logarithm of the magnitude, moved so that all numbers are above zero; the sign is the value's.
const (
	stepRatio    = 1.01 / 0.99 // of a step's ends
	stepZero     = 40_000      // number of the step that ends at 1
	stepInfinity = 100_000
	stepNaN      = 200_000 // last in DuckDB's order
)

// integers are the types whose quantiles are approximated and rounded, with their bounds.
var integers = map[string][2]string{
	"TINYINT": {"-128", "127"}, "SMALLINT": {"-32768", "32767"}, "INTEGER": {"-2147483648", "2147483647"},
	"BIGINT": {"-9223372036854774784", "9223372036854774784"}, "UTINYINT": {"0", "255"}, "USMALLINT": {"0", "65535"},
	"UINTEGER": {"0", "4294967295"}, "UBIGINT": {"0", "18446744073709549568"},
}

func logarithmicSteps(a Call, typeOf Typer) (text, reason string, err error) {
	if len(a.Args) != 2 {
		return "", "approx_quantile needs a value and a share", nil
	}
	kind, err := typeOf(a.Args[0])
	if err != nil {
		return "", "", err
	}
	bounds, integer := integers[kind]
	if !integer && kind != "DOUBLE" && kind != "FLOAT" {
		return fmt.Sprintf("quantile_disc(%s, %s)%s", a.Args[0], a.Args[1], a.Where()), "", nil
	}
	shares, err := typeOf(a.Args[1])
	if err != nil {
		return "", "", err
	}
	x := "CAST(" + a.Args[0] + " AS DOUBLE)"
	step := fmt.Sprintf("CASE WHEN %[1]s = 0 THEN 0 WHEN isnan(%[1]s) THEN %[2]d WHEN isinf(%[1]s) THEN CAST(sign(%[1]s) AS INTEGER) * %[3]d ELSE CAST(sign(%[1]s) * (ceil(ln(abs(%[1]s)) / %[4]v) + %[5]d) AS INTEGER) END",
		x, stepNaN, stepInfinity, math.Log(stepRatio), stepZero)
	value := fmt.Sprintf("CASE WHEN %%[1]s IS NULL OR %%[1]s = 0 THEN 0 * CAST(%%[1]s AS DOUBLE) WHEN %%[1]s = %d THEN 'nan'::DOUBLE WHEN abs(%%[1]s) = %d THEN sign(%%[1]s) * 'inf'::DOUBLE ELSE sign(%%[1]s) * pow(%v, abs(%%[1]s) - %d) * %v END",
		stepNaN, stepInfinity, stepRatio, stepZero, 2/(stepRatio+1))
	if integer {
		value = "CASE WHEN %[1]s IS NOT NULL THEN least(greatest(round(" + value + "), " + bounds[0] + "), " + bounds[1] + ") END"
	}
	value = "CAST(" + value + " AS " + kind + ")"
	at := fmt.Sprintf("quantile_disc(%s, %s)%s", step, a.Args[1], a.Where())
	if strings.HasSuffix(shares, "]") {
		return fmt.Sprintf("list_transform(%s, lambda millrace_step: %s)", at, fmt.Sprintf(value, "millrace_step")), "", nil
	}
	return fmt.Sprintf(value, at), "", nil
}

func mostFrequent(a Call, _ Typer) (text, reason string, err error) {
	if len(a.Args) != 2 {
		return "", "approx_top_k needs a value and a number", nil
	}
	return fmt.Sprintf("list_transform(list_slice(list_sort(list_transform(map_entries(histogram(%[1]s)%[2]s), lambda e: {'n': -CAST(struct_extract(e, 'value') AS BIGINT), 'v': struct_extract(e, 'key')})), 1, %[3]s), lambda e: struct_extract(e, 'v'))",
		a.Args[0], a.Where(), a.Args[1]), "", nil
}
