package aggregate

import "fmt"

// temporal are the types whose average DuckDB computes in whole microseconds: those of a value, and the value that has
// so many.
var temporal = map[string]struct{ micros, value string }{
	"DATE":                     timestamps("CAST(%[1]s AS TIMESTAMP)", "TIMESTAMP", "make_timestamp"),
	"TIMESTAMP_S":              timestamps("CAST(%[1]s AS TIMESTAMP)", "TIMESTAMP", "make_timestamp"),
	"TIMESTAMP_MS":             timestamps("CAST(%[1]s AS TIMESTAMP)", "TIMESTAMP", "make_timestamp"),
	"TIMESTAMP_NS":             timestamps("CAST(%[1]s AS TIMESTAMP)", "TIMESTAMP", "make_timestamp"),
	"TIMESTAMP":                timestamps("%[1]s", "TIMESTAMP", "make_timestamp"),
	"TIMESTAMP WITH TIME ZONE": timestamps("%[1]s", "TIMESTAMP WITH TIME ZONE", "make_timestamptz"),
	"TIME":                     {"epoch_us(%s)", "CASE WHEN %[1]s = 86400000000 THEN CAST('24:00:00' AS TIME) ELSE CAST(make_timestamp(%[1]s) AS TIME) END"},
	"TIME WITH TIME ZONE": {"((epoch_us(%[1]s) - date_part('timezone', %[1]s) * 1000000) %% 86400000000 + 86400000000) %% 86400000000",
		"CAST(CAST(make_timestamp(%s) AS TIME) AS TIME WITH TIME ZONE)"},
}

// timestamps are temporal's entry for x, which is a timestamp of the type t, and how one is made. DuckDB adds an infinite
// one up like any other: it is the largest or smallest number of microseconds.
func timestamps(x, t, made string) struct{ micros, value string } {
	const last = "9223372036854775807"
	least, most := "CAST('-infinity' AS "+t+")", "CAST('infinity' AS "+t+")"
	return struct{ micros, value string }{
		"CASE " + x + " WHEN " + most + " THEN " + last + " WHEN " + least + " THEN -" + last + " ELSE epoch_us(" + x + ") END",
		"CASE %[1]s WHEN " + last + " THEN " + most + " WHEN -" + last + " THEN " + least + " ELSE " + made + "(%[1]s) END",
	}
}

// reduceTemporal is reduceAvg over times. DuckDB cuts the quotient off and adds one if more than half of the count
// remains.
func (a Call) reduceTemporal(t string, add AddState) string {
	n := a.count(a.Args[0], add)
	sum := add("sum("+fmt.Sprintf(temporal[t].micros, a.Args[0])+")"+a.Where(), "sum(%s)")
	return fmt.Sprintf(temporal[t].value, fmt.Sprintf("CAST(%[1]s // %[2]s + CASE WHEN %[1]s %% %[2]s > %[2]s // 2 THEN 1 ELSE 0 END AS BIGINT)", sum, n))
}

// reduceInterval is reduceAvg over intervals. DuckDB divides months, days and microseconds by themselves, and hands what
// remains of months to days, and of days to microseconds; what remains of microseconds it adds as it is.
func (a Call) reduceInterval(add AddState) string {
	x, n := a.Args[0], a.count(a.Args[0], add)
	sum := func(form, most string) string {
		return "CAST(CAST(" + add("sum("+fmt.Sprintf(form, x)+")"+a.Where(), "sum(%s)") + " AS " + most + ") AS BIGINT)"
	}
	months := sum("date_part('year', %[1]s) * 12 + date_part('month', %[1]s)", "INTEGER")
	days := sum("date_part('day', %s)", "INTEGER")
	micros := sum("date_part('hour', %[1]s) * 3600000000 + date_part('minute', %[1]s) * 60000000 + date_part('microsecond', %[1]s)", "BIGINT")
	over := fmt.Sprintf("(%s %% %s * 30)", months, n)
	left := fmt.Sprintf("((%s %% %[2]s + %s %% %[2]s) * 86400000000)", days, n, over)
	return fmt.Sprintf("to_months(%[1]s // %[4]s) + to_days(CAST(%[2]s // %[4]s + %[5]s // %[4]s AS INTEGER)) + to_microseconds(%[3]s // %[4]s + %[3]s %% %[4]s + %[6]s // %[4]s)",
		months, days, micros, n, over, left)
}

// reduceMacro is Reduce for the averages that DuckDB defines as macros over other aggregates, and for favg; empty if the
// call is none of them.
func (a Call) reduceMacro(add AddState) string {
	sum := func(expr string) string { return add("sum("+expr+")", "sum(%s)") }
	switch {
	case a.Name == "favg" && len(a.Args) == 1:
		return add("fsum("+a.Args[0]+")"+a.Where(), "fsum(%s)") + " / " + a.count(a.Args[0], add)
	case (a.Name == "geomean" || a.Name == "geometric_mean") && len(a.Args) == 1:
		return "exp(" + sum("ln("+a.Args[0]+")") + " / " + a.count(a.Args[0], add) + ")"
	case (a.Name == "wavg" || a.Name == "weighted_avg") && len(a.Args) == 2:
		return sum("("+a.Args[0]+") * ("+a.Args[1]+")") + " / " + sum("CASE WHEN ("+a.Args[0]+") IS NOT NULL THEN "+a.Args[1]+" ELSE 0 END")
	}
	return ""
}
