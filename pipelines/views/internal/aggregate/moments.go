package aggregate

import (
	"fmt"
	"strings"
)

// Moments are kept around a mean and merged by the formulas of Chan, Golub and LeVeque and of Pébay: no large power sum
// is ever subtracted from another, so an offset costs no digits. Over part rows with n rows of means u_i and v_i, the sum
// q of the products around the means merges to
//
//	q = sum of q_i + n_i (u_i - u)(v_i - v)
//
// The higher powers are kept around a center c near the mean, with the first power, which says how near it is:
//
//	p_k = sum over i and over j <= k of (k over j) (c_i - c)^(k-j) p_ji, where p_0i = n_i
//
// A mean never leaves the bounds of its values, so constants have moments of exactly zero, as they have in DuckDB.

// moment is an aggregate over the moments of one column or of pairs: those without a NULL.
type moment struct {
	args  int
	final func(m *moments) string
	// settles says that DuckDB's own answer hangs on the order of rows where a value is not finite, or loses its digits
	// to an offset.
	settles bool
}

// momentOf are the aggregates over moments. What is not finite fails where it fails in DuckDB, and is NaN where
// DuckDB's answer hangs on the order of rows.
var momentOf = map[string]moment{
	"var_pop":     {1, func(m *moments) string { return m.spread(m.x, "%s / "+m.rows()) }, false},
	"stddev_pop":  {1, func(m *moments) string { return m.spread(m.x, "sqrt(%s / "+m.rows()+")") }, false},
	"var_samp":    {1, func(m *moments) string { return m.from(2, m.finite(m.around(m.x, m.x)+" / "+m.others())) }, false},
	"stddev_samp": {1, func(m *moments) string { return m.from(2, m.finite("sqrt("+m.around(m.x, m.x)+" / "+m.others()+")")) }, false},
	"sem":         {1, (*moments).sem, false},

	"skewness":     {1, (*moments).skewness, true},
	"kurtosis":     {1, (*moments).kurtosis, true},
	"kurtosis_pop": {1, (*moments).kurtosisPop, true},

	"covar_pop":  {2, func(m *moments) string { return m.from(1, orNaN(m.around(m.y, m.x)+" / "+m.rows())) }, true},
	"covar_samp": {2, func(m *moments) string { return m.from(2, orNaN(m.around(m.y, m.x)+" / "+m.others())) }, true},
	"corr":       {2, (*moments).corr, false},

	"regr_count":     {2, func(m *moments) string { return "CAST(" + m.rows() + " AS UINTEGER)" }, false},
	"regr_avgx":      {2, func(m *moments) string { return m.average(m.x) }, false},
	"regr_avgy":      {2, func(m *moments) string { return m.average(m.y) }, false},
	"regr_sxx":       {2, func(m *moments) string { return m.spread(m.x, "%s") }, false},
	"regr_syy":       {2, func(m *moments) string { return m.spread(m.y, "%s") }, false},
	"regr_sxy":       {2, func(m *moments) string { return m.from(1, orNaN(m.around(m.y, m.x))) }, true},
	"regr_slope":     {2, (*moments).slope, true},
	"regr_intercept": {2, (*moments).intercept, true},
	"regr_r2":        {2, (*moments).r2, false},
}

// isMoment says whether the call is one of momentOf.
func (a Call) isMoment() bool {
	m, ok := momentOf[a.Name]
	return ok && len(a.Args) == m.args && !a.Distinct
}

// reduceMoment is Reduce for the aggregates of momentOf.
func (a Call) reduceMoment(add AddState) string {
	return momentOf[a.Name].final(a.moments(add))
}

// moments gives expressions over the moments of the columns y and x, and declares the states that they need. One column
// is both.
type moments struct {
	Call
	y, x string
	add  AddState
}

func (a Call) moments(add AddState) *moments {
	x, y := "CAST("+a.Args[len(a.Args)-1]+" AS DOUBLE)", "CAST("+a.Args[0]+" AS DOUBLE)"
	if a.Distinct { // of one column
		a.Args = []string{"DISTINCT " + a.Args[0]}
		x = "DISTINCT " + x
		y = x
	}
	return &moments{Call: a, y: y, x: x, add: add}
}

// pairs is the filter of the rows that take part.
func (m *moments) pairs() string {
	if m.y == m.x {
		return m.Where()
	}
	return m.Where("("+m.y+") IS NOT NULL", "("+m.x+") IS NOT NULL")
}

// rows is how many take part.
func (m *moments) rows() string {
	if m.y == m.x {
		return m.count(m.Args[0], m.add)
	}
	return m.add("count(*)"+m.pairs(), "CAST(coalesce(sum(%s), 0) AS BIGINT)")
}

func (m *moments) others() string { return "(" + m.rows() + " - 1)" }

// from is the expression if at least so many rows take part, else NULL.
func (m *moments) from(rows int, expr string) string {
	return fmt.Sprintf("CASE WHEN %s >= %d THEN %s END", m.rows(), rows, expr)
}

const nan = "CAST('NaN' AS DOUBLE)"

func orNaN(expr string) string {
	return "CASE WHEN isfinite(" + expr + ") THEN " + expr + " ELSE " + nan + " END"
}

func (m *moments) outOfRange() string {
	return "error('" + strings.ToUpper(m.Name) + " is out of range!')"
}

func (m *moments) finite(expr string) string {
	return "CASE WHEN NOT isfinite(" + expr + ") THEN " + m.outOfRange() + " ELSE " + expr + " END"
}

// center is a column's mean over rows of the topic.
func (m *moments) center(column string) string {
	return fmt.Sprintf("least(greatest(fsum(%[1]s)%[2]s / count(%[1]s)%[2]s, min(%[1]s)%[2]s), max(%[1]s)%[2]s)", column, m.pairs())
}

// merged is the mean over part rows that have their mean in the given column.
func (m *moments) merged(mean string) string {
	return fmt.Sprintf("least(greatest(sum(%[1]s * %[2]s) / sum(%[2]s), min(%[1]s)), max(%[1]s))", mean, m.rows())
}

func (m *moments) mean(column string) string {
	return m.add(m.center(column), m.merged("%[1]s"))
}

// overParts sums an expression over the part rows that have a row in them. In it they are part, with the fields given
// and n.
func (m *moments) overParts(fields, expr string) string {
	n := m.rows()
	return "list_sum(list_transform(list({'n': " + n + ", " + fields + "}) FILTER (WHERE " + n + " > 0), lambda part: " + expr + "))"
}

// around is the sum of the products of two columns around their means.
func (m *moments) around(u, v string) string {
	mu, mv := m.mean(u), m.mean(v)
	return m.add("regr_sxy("+u+", "+v+")"+m.pairs(), m.overParts("'u': "+mu+", 'v': "+mv+", 'q': %[1]s",
		"part.q + part.n * (part.u - "+m.merged(mu)+") * (part.v - "+m.merged(mv)+")"))
}

// power is the sum of the k-th powers of what x is off its mean.
func (m *moments) power(k int) string {
	mean := m.mean(m.x)
	fields, expr, over := "'c': "+mean, "", 1
	off := "(part.c - " + m.merged(mean) + ")"
	for j := k; j > 0; j-- { // from p_k down to p_1; over is (k over j)
		state := "%[1]s"
		if j < k {
			state = m.power(j)
		}
		fields += fmt.Sprintf(", 'p%d': %s", j, state)
		expr += fmt.Sprintf("%d * pow(%s, %d) * part.p%d + ", over, off, k-j, j)
		over = over * j / (k - j + 1)
	}
	expr += fmt.Sprintf("pow(%s, %d) * part.n", off, k)
	return m.add("list_aggregate(list_transform("+m.off()+", lambda d: "+strings.Repeat("d * ", k-1)+"d), 'fsum')", m.overParts(fields, expr))
}

// off is the list of what the values of x are off their mean.
func (m *moments) off() string {
	return "list_transform(list(" + m.x + ")" + m.Where() + ", lambda millrace_x: millrace_x - " + m.center(m.x) + ")"
}

// spread is the form of the sum of squares around the mean. One row has none, even where it is not finite.
func (m *moments) spread(column, form string) string {
	return fmt.Sprintf("CASE WHEN %[1]s > 1 THEN %[2]s WHEN %[1]s = 1 THEN CAST(0 AS DOUBLE) END", m.rows(), m.finite(fmt.Sprintf(form, m.around(column, column))))
}

func (m *moments) sem() string {
	return m.from(1, m.finite("sqrt("+m.around(m.x, m.x)+" / "+m.rows()+") / sqrt("+m.rows()+")"))
}

func (m *moments) average(column string) string {
	return m.add("sum("+column+")"+m.pairs(), "sum(%s)") + " / " + m.rows()
}

func (m *moments) corr() string {
	n, sxx, syy := m.rows(), m.around(m.x, m.x), m.around(m.y, m.y)
	deviations := fmt.Sprintf("(sqrt(%[2]s / %[1]s) * sqrt(%[3]s / %[1]s))", n, sxx, syy)
	return fmt.Sprintf("CASE WHEN %[1]s = 1 THEN %[2]s WHEN NOT isfinite(%[3]s) OR NOT isfinite(%[4]s) THEN %[5]s WHEN %[6]s = 0 THEN %[2]s ELSE %[7]s / %[1]s / %[6]s END",
		n, nan, sxx, syy, m.outOfRange(), deviations, m.around(m.y, m.x))
}

func (m *moments) r2() string {
	sxx, syy := m.around(m.x, m.x), m.around(m.y, m.y)
	return fmt.Sprintf("CASE WHEN %[1]s < 2 OR %[2]s = 0 THEN NULL WHEN isfinite(%[2]s) AND %[3]s = 0 THEN CAST(1 AS DOUBLE) ELSE pow(%[4]s, 2) END", m.rows(), sxx, syy, m.corr())
}

// slope is NaN over a constant x.
func (m *moments) slope() string {
	sxx := m.around(m.x, m.x)
	return fmt.Sprintf("CASE WHEN %[1]s = 1 OR %[2]s = 0 THEN %[3]s WHEN NOT isfinite(%[2]s) THEN %[4]s ELSE %[5]s / %[2]s END",
		m.rows(), sxx, nan, m.outOfRange(), orNaN(m.around(m.y, m.x)))
}

func (m *moments) intercept() string {
	slope := m.slope()
	return "CASE WHEN NOT isnan(" + slope + ") THEN " + m.mean(m.y) + " - " + slope + " * " + m.mean(m.x) + " END"
}

// central are the second, third and fourth moment around the mean itself, each divided by the number of rows.
func (m *moments) central() (m2, m3, m4 string) {
	n := m.rows()
	part := func(k int) string { return "(" + m.power(k) + " / " + n + ")" }
	d := part(1)
	m2 = fmt.Sprintf("(%s - pow(%s, 2))", part(2), d)
	m3 = fmt.Sprintf("(%s - 3 * %s * %s + 2 * pow(%[2]s, 3))", part(3), d, part(2))
	m4 = fmt.Sprintf("(%s - 4 * %s * %s + 6 * pow(%[2]s, 2) * %[4]s - 3 * pow(%[2]s, 4))", part(4), d, part(3), part(2))
	return m2, m3, m4
}

func (m *moments) skewness() string {
	n := "CAST(" + m.rows() + " AS DOUBLE)"
	m2, m3, _ := m.central()
	cubed := "sqrt(pow(greatest(" + m2 + ", 0), 3))"
	return m.from(3, fmt.Sprintf("CASE WHEN %[1]s = 0 THEN %[2]s ELSE %[3]s END", cubed, nan,
		m.finite(fmt.Sprintf("sqrt(%[1]s * (%[1]s - 1)) / (%[1]s - 2) * %[2]s / %[3]s", n, m3, cubed))))
}

func (m *moments) kurtosis() string {
	n := "CAST(" + m.rows() + " AS DOUBLE)"
	return m.peaked(4, fmt.Sprintf("(%[1]s - 1) * ((%[1]s + 1) * %%s - 3 * (%[1]s - 1)) / ((%[1]s - 2) * (%[1]s - 3))", n))
}

func (m *moments) kurtosisPop() string { return m.peaked(2, "%s - 3") }

// peaked is the form of the fourth moment over the square of the second, from so many rows that are not all the same.
func (m *moments) peaked(rows int, form string) string {
	m2, _, m4 := m.central()
	return m.from(rows, "CASE WHEN "+m2+" <= 0 THEN NULL ELSE "+m.finite(fmt.Sprintf(form, "("+m4+" / ("+m2+" * "+m2+"))"))+" END")
}

// Settled is an aggregate as the expression that merging one part would give, if DuckDB's own answer hangs on the order
// of rows or loses its digits to an offset: then recomputing and merging mean the same.
func (a Call) Settled() (expr string, ok bool) {
	a.Name = a.Plain()
	if m := momentOf[a.Name]; !m.settles || len(a.Args) != m.args || a.Distinct && m.args > 1 {
		return "", false
	}
	var fields []string
	names := map[string]string{}
	add := func(partial, _ string) string {
		if _, ok := names[partial]; !ok {
			names[partial] = fmt.Sprintf("millrace_part.s%d", len(fields))
			fields = append(fields, fmt.Sprintf("'s%d': %s", len(fields), partial))
		}
		return names[partial]
	}
	final := a.reduceMoment(add)
	return "list_transform([{" + strings.Join(fields, ", ") + "}], lambda millrace_part: " + final + ")[1]", true
}
