package aggregate

import "fmt"

// Measure is the magnitude of what an aggregate's answer is rounded by, as an expression over rows that never fails;
// empty if it has none of its own. A moment around the mean is rounded by the deviation times the values, not by their
// squares: that is what a merge around the means keeps.
func (a Call) Measure() string {
	a.Name = a.Plain()
	if !a.isMoment() {
		return a.measureSum()
	}
	m := a.moments(nil)
	over := func(aggregate string) string { return aggregate + m.pairs() }
	rms := func(v string) string { return "sqrt(" + over("avg("+v+" * "+v+")") + ")" }
	dev := func(v string) string {
		return "(sqrt(abs(" + over("covar_pop("+v+", "+v+")") + ")) + 1e-16 * " + rms(v) + ")"
	}
	n := over("count(" + m.x + ")")
	product := fmt.Sprintf("(%s * %s + %s * %s)", dev(m.x), rms(m.y), dev(m.y), rms(m.x))
	slope := fmt.Sprintf("(%s / %s + 2 * %s * %s / pow(%[2]s, 2))", rms(m.y), dev(m.x), dev(m.y), rms(m.x))
	switch a.Name {
	case "var_pop", "var_samp", "covar_pop", "covar_samp":
		return "(2 * " + product + ")"
	case "stddev_pop", "stddev_samp":
		return "(2 * " + rms(m.x) + ")"
	case "sem":
		return "(2 * " + rms(m.x) + " / sqrt(" + n + "))"
	case "regr_sxy":
		return "(" + n + " * " + product + ")"
	case "regr_sxx":
		return fmt.Sprintf("(2 * %s * %s * %s)", n, dev(m.x), rms(m.x))
	case "regr_syy":
		return fmt.Sprintf("(2 * %s * %s * %s)", n, dev(m.y), rms(m.y))
	case "regr_avgx":
		return over("avg(abs(" + m.x + "))")
	case "regr_avgy":
		return over("avg(abs(" + m.y + "))")
	case "corr", "regr_r2":
		return fmt.Sprintf("(2 * (%s / %s + %s / %s))", rms(m.x), dev(m.x), rms(m.y), dev(m.y))
	case "regr_slope":
		return slope
	case "regr_intercept":
		return "(" + rms(m.y) + " + " + slope + " * " + rms(m.x) + ")"
	case "skewness":
		return fmt.Sprintf("(3 * list_sum(list_transform(%s, lambda d: abs(d * d * d))) / %s / pow(%s, 3))", m.off(), n, dev(m.x))
	case "kurtosis", "kurtosis_pop":
		return "CAST(30 AS DOUBLE)" // what is taken off the answer is below it; the rest is as large as the answer
	}
	return ""
}

// measureSum is Measure for sums and averages.
func (a Call) measureSum() string {
	x := a.Args[0]
	switch a.Name {
	case "sum", "fsum", "kahan_sum", "sumkahan":
		return "sum(abs(CAST(" + x + " AS DOUBLE)))" + a.Where()
	case "avg", "favg":
		return "avg(abs(CAST(" + x + " AS DOUBLE)))" + a.Where()
	case "geomean", "geometric_mean":
		return fmt.Sprintf("(exp(avg(ln(%[1]s))) * (1 + avg(abs(ln(%[1]s)))))", x)
	case "wavg", "weighted_avg":
		weight := fmt.Sprintf("CASE WHEN (%s) IS NOT NULL THEN CAST(%s AS DOUBLE) ELSE 0 END", x, a.Args[1])
		terms := fmt.Sprintf("CAST(%s AS DOUBLE) * CAST(%s AS DOUBLE)", x, a.Args[1])
		return fmt.Sprintf("((sum(abs(%[1]s)) + abs(sum(%[1]s) / sum(%[2]s)) * sum(abs(%[2]s))) / abs(sum(%[2]s)))", terms, weight)
	}
	return ""
}
