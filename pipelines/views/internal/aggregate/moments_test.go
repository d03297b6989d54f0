package aggregate

import (
	"database/sql"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"
	"pgregory.net/rapid"
)

// bench merges calls over a table t by hand, without the planner.
type bench struct {
	db *sql.DB
}

func newBench(t *testing.T) *bench {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	b := &bench{db: db}
	b.exec(t, "SET threads = 1")
	b.exec(t, "SET TimeZone = 'America/New_York'")
	return b
}

func (b *bench) exec(t rapid.TB, q string) {
	t.Helper()
	if _, err := b.db.Exec(q); err != nil {
		t.Fatalf("%v\n%s", err, q)
	}
}

// fill makes t of rows, whose values are SQL; o numbers them.
func (b *bench) fill(t rapid.TB, columns string, rows []string) {
	t.Helper()
	b.exec(t, "CREATE OR REPLACE TABLE t (o BIGINT, "+columns+")")
	for i, r := range rows {
		rows[i] = fmt.Sprintf("(%d, %s)", i, r)
	}
	if len(rows) > 0 {
		b.exec(t, "INSERT INTO t VALUES "+strings.Join(rows, ", "))
	}
}

func (b *bench) row(q string) ([]any, error) {
	rows, err := b.db.Query(q)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	cols, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var out []any
	for rows.Next() {
		out = make([]any, len(cols))
		into := make([]any, len(cols))
		for i := range out {
			into[i] = &out[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
	}
	return out, rows.Err()
}

// merged cuts t into parts and merges them in a random tree.
func (b *bench) merged(t *rapid.T, calls []Call) ([]any, error) {
	var partials, merges, finals []string
	add := func(partial, merge string) string {
		if i := slices.Index(partials, partial); i >= 0 {
			return fmt.Sprintf("s%d", i)
		}
		name := fmt.Sprintf("s%d", len(partials))
		partials = append(partials, partial)
		merges = append(merges, strings.ReplaceAll(strings.ReplaceAll(merge, "%[1]s", name), "%s", name))
		return name
	}
	typeOf := func(expr string) (string, error) {
		row, err := b.row("SELECT column_type FROM (DESCRIBE SELECT " + expr + " FROM t)")
		if err != nil {
			return "", err
		}
		return row[0].(string), nil
	}
	for _, c := range calls {
		final, reason, err := c.Reduce(typeOf, add)
		if err != nil || reason != "" {
			t.Fatalf("%v: %v %s", c, err, reason)
		}
		finals = append(finals, final)
	}
	columns := func(exprs []string) string {
		named := make([]string, len(exprs))
		for i, e := range exprs {
			named[i] = fmt.Sprintf("%s AS s%d", e, i)
		}
		return strings.Join(named, ", ")
	}
	b.exec(t, "CREATE OR REPLACE TABLE part AS SELECT 0 AS id, "+columns(partials)+" FROM t LIMIT 0")
	total, err := b.row("SELECT count(*) FROM t")
	if err != nil {
		return nil, err
	}
	n := int(total[0].(int64))
	cuts := append(rapid.SliceOfN(rapid.IntRange(0, n), 0, 6).Draw(t, "cuts"), 0, n)
	slices.Sort(cuts)
	var live []int
	for i := range len(cuts) - 1 {
		if _, err := b.db.Exec(fmt.Sprintf("INSERT INTO part SELECT %d, %s FROM t WHERE o >= %d AND o < %d", i, columns(partials), cuts[i], cuts[i+1])); err != nil {
			return nil, err
		}
		live = append(live, i)
	}
	for id := len(cuts); len(live) > 0 && id < len(cuts)+3; id++ {
		some := rapid.SliceOfDistinct(rapid.SampledFrom(live), rapid.ID[int]).Draw(t, "merged")
		if len(some) == 0 {
			continue
		}
		ids := strings.Trim(strings.ReplaceAll(fmt.Sprint(some), " ", ", "), "[]")
		b.exec(t, fmt.Sprintf("INSERT INTO part SELECT %d, %s FROM part WHERE id IN (%s)", id, columns(merges), ids))
		live = append(slices.DeleteFunc(live, func(i int) bool { return slices.Contains(some, i) }), id)
		b.exec(t, "DELETE FROM part WHERE id IN ("+ids+")")
	}
	return b.row("SELECT " + strings.Join(finals, ", ") + " FROM (SELECT " + columns(merges) + " FROM part)")
}

// text is the call as SQL over rows; settled if its answer is.
func (b *bench) text(c Call) string {
	if s, ok := c.Settled(); ok {
		return s
	}
	return c.own()
}

func (a Call) own() string {
	distinct := ""
	if a.Distinct {
		distinct = "DISTINCT "
	}
	return a.Name + "(" + distinct + strings.Join(a.Args, ", ") + ")" + a.Where()
}

// momentCalls are the aggregates of momentOf, some with a filter.
func momentCalls() []Call {
	var calls []Call
	for name, m := range momentOf {
		calls = append(calls, Call{Name: name, Args: []string{"y", "x"}[2-m.args:]})
	}
	calls = append(calls, Call{Name: "corr", Args: []string{"y", "x"}, Filter: "keep"}, Call{Name: "variance", Args: []string{"y"}, Filter: "keep"},
		Call{Name: "kurtosis", Args: []string{"y"}, Filter: "keep"}, Call{Name: "regr_slope", Args: []string{"x", "x"}}, Call{Name: "favg", Args: []string{"x"}},
		Call{Name: "geomean", Args: []string{"abs(x) + 0.1"}}, Call{Name: "weighted_avg", Args: []string{"y", "abs(x) + 0.1"}})
	slices.SortFunc(calls, func(a, b Call) int { return strings.Compare(a.own(), b.own()) })
	return calls
}

type sample struct {
	x, y []float64 // NaN stands for NULL
	keep []bool
}

func drawSample(t *rapid.T, column func(name string) *rapid.Generator[float64]) sample {
	n := rapid.IntRange(0, 50).Draw(t, "rows")
	x, y := column("x"), column("y")
	var s sample
	for range n {
		s.x = append(s.x, x.Draw(t, "x"))
		s.y = append(s.y, y.Draw(t, "y"))
		s.keep = append(s.keep, rapid.Bool().Draw(t, "keep"))
	}
	return s
}

func literal(v float64, null bool) string {
	if null {
		return "NULL"
	}
	return fmt.Sprintf("'%v'", v)
}

func (s sample) rows(null func(v float64) bool) []string {
	var rows []string
	for i := range s.x {
		rows = append(rows, literal(s.x[i], null(s.x[i]))+", "+literal(s.y[i], null(s.y[i]))+", "+fmt.Sprint(s.keep[i]))
	}
	return rows
}

// Over values of every scale, offset and constancy, merging gives what exact arithmetic gives, what DuckDB gives over all
// rows, and what the settled expression gives, within a rounding measured by measure.
func TestMomentsMerge(t *testing.T) {
	b, all := newBench(t), momentCalls()
	rapid.Check(t, func(t *rapid.T) {
		calls := rapid.Permutation(all).Draw(t, "calls")[:6]
		s := drawSample(t, func(name string) *rapid.Generator[float64] {
			offset := rapid.SampledFrom([]float64{0, 0, 0.1, -7, 1e9, -3e11}).Draw(t, name+" offset")
			spread := rapid.SampledFrom([]float64{0, 1, 1, 1000}).Draw(t, name+" spread")
			return rapid.OneOf(rapid.Just(math.NaN()), rapid.Map(rapid.IntRange(0, 1000), func(i int) float64 { return offset + spread*float64(i)/997 }))
		})
		b.fill(t, "x DOUBLE, y DOUBLE, keep BOOLEAN", s.rows(math.IsNaN))
		got, err := b.merged(t, calls)
		if err != nil {
			t.Fatalf("%v", err)
		}
		var own, settled, measures []string
		for _, c := range calls {
			own = append(own, c.own())
			settled = append(settled, b.text(c))
			measure := c.Measure()
			if measure == "" {
				measure = "NULL"
			}
			measures = append(measures, measure)
		}
		var rows [3][]any
		for i, list := range [][]string{own, settled, measures} {
			if rows[i], err = b.row("SELECT " + strings.Join(list, ", ") + " FROM t"); err != nil {
				t.Fatalf("%v", err)
			}
		}
		for i, c := range calls {
			measure := magnitudeOf(rows[2][i]) // of what is NaN there is none
			compare := func(what string, want any, part float64) {
				if d := distance(got[i], want); !(d <= part*math.Max(measure, magnitudeOf(want))) {
					t.Fatalf("%s: merged %v, %s %v, %g apart, measure %g", c.own(), got[i], what, want, d, measure)
				}
			}
			compare("settled", rows[1][i], 1e-12)
			if !momentOf[c.Plain()].settles || len(c.Args) == 2 {
				compare("DuckDB", rows[0][i], 1e-12)
			}
			if want, ok := s.exact(c); ok {
				compare("exact", want, 1e-14)
			}
		}
	})
}

// distance is 0 between what is the same and infinite between what is not alike.
func distance(a, b any) float64 {
	x, ok1 := a.(float64)
	y, ok2 := b.(float64)
	switch {
	case !ok1 || !ok2:
		if a == b {
			return 0
		}
		return math.Inf(1)
	case x == y || math.IsNaN(x) && math.IsNaN(y):
		return 0
	case math.IsNaN(x) || math.IsNaN(y) || math.IsInf(x, 0) || math.IsInf(y, 0):
		return math.Inf(1)
	}
	return math.Abs(x - y)
}

func magnitudeOf(v any) float64 {
	f, ok := v.(float64)
	if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return math.Abs(f)
}

// exact computes what a call answers with 300 bits.
func (s sample) exact(c Call) (any, bool) {
	var x, y []*big.Float
	real := func(f float64) *big.Float { return new(big.Float).SetPrec(300).SetFloat64(f) }
	for i := range s.x {
		columns := map[string]float64{"x": s.x[i], "y": s.y[i]}
		v, u := columns[c.Args[len(c.Args)-1]], columns[c.Args[0]]
		if c.Filter == "" || s.keep[i] {
			if !math.IsNaN(u) && !math.IsNaN(v) {
				x, y = append(x, real(v)), append(y, real(u))
			}
		}
	}
	n := len(x)
	op := func(f func(z, a, b *big.Float) *big.Float) func(a, b *big.Float) *big.Float {
		return func(a, b *big.Float) *big.Float { return f(new(big.Float).SetPrec(300), a, b) }
	}
	plus, minus, times, over := op((*big.Float).Add), op((*big.Float).Sub), op((*big.Float).Mul), op((*big.Float).Quo)
	whole := func(i int) *big.Float { return real(float64(i)) }
	root := func(a *big.Float) *big.Float { return new(big.Float).SetPrec(300).Sqrt(a) }
	mean := func(v []*big.Float) *big.Float {
		sum := real(0)
		for _, f := range v {
			sum = plus(sum, f)
		}
		return over(sum, whole(n))
	}
	if n == 0 {
		if c.Name == "regr_count" {
			return uint32(0), true
		}
		return nil, true
	}
	mx, my := mean(x), mean(y)
	power := func(k, l int) *big.Float {
		sum := real(0)
		for i := range x {
			term := real(1)
			for range k {
				term = times(term, minus(x[i], mx))
			}
			for range l {
				term = times(term, minus(y[i], my))
			}
			sum = plus(sum, term)
		}
		return sum
	}
	sxx, sxy, syy := power(2, 0), power(1, 1), power(0, 2)
	answer := func(f *big.Float) (any, bool) { v, _ := f.Float64(); return v, true }
	if least, ok := map[string]int{"var_samp": 2, "variance": 2, "stddev_samp": 2, "covar_samp": 2, "skewness": 3, "kurtosis": 4, "kurtosis_pop": 2, "regr_r2": 2}[c.Name]; ok && n < least {
		return nil, true
	}
	still := func(f *big.Float) bool { return f.Sign() == 0 }
	switch c.Name {
	case "var_pop":
		return answer(over(sxx, whole(n)))
	case "var_samp", "variance":
		return answer(over(sxx, whole(n-1)))
	case "stddev_pop":
		return answer(root(over(sxx, whole(n))))
	case "stddev_samp":
		return answer(root(over(sxx, whole(n-1))))
	case "sem":
		return answer(over(root(sxx), whole(n)))
	case "covar_pop":
		return answer(over(sxy, whole(n)))
	case "covar_samp":
		return answer(over(sxy, whole(n-1)))
	case "regr_count":
		return uint32(n), true
	case "regr_avgx", "favg":
		return answer(mx)
	case "regr_avgy":
		return answer(my)
	case "regr_sxx":
		return answer(sxx)
	case "regr_syy":
		return answer(syy)
	case "regr_sxy":
		return answer(sxy)
	case "skewness":
		if still(sxx) {
			return math.NaN(), true
		}
		m2 := over(sxx, whole(n))
		return answer(times(over(root(whole(n*(n-1))), whole(n-2)), over(over(power(3, 0), whole(n)), times(m2, root(m2)))))
	case "kurtosis", "kurtosis_pop":
		if still(sxx) {
			return nil, true
		}
		g := over(times(power(4, 0), whole(n)), times(sxx, sxx))
		if c.Name == "kurtosis_pop" {
			return answer(minus(g, whole(3)))
		}
		return answer(over(times(whole(n-1), minus(times(whole(n+1), g), whole(3*(n-1)))), whole((n-2)*(n-3))))
	case "corr":
		if still(sxx) || still(syy) {
			return math.NaN(), true
		}
		return answer(over(sxy, root(times(sxx, syy))))
	case "regr_r2":
		switch {
		case still(sxx):
			return nil, true
		case still(syy):
			return 1.0, true
		}
		return answer(over(times(sxy, sxy), times(sxx, syy)))
	case "regr_slope":
		if still(sxx) {
			return math.NaN(), true
		}
		return answer(over(sxy, sxx))
	case "regr_intercept":
		if still(sxx) {
			return nil, true
		}
		return answer(minus(my, times(over(sxy, sxx), mx)))
	}
	return nil, false
}

// Over what is not finite, an aggregate fails, or is NaN, NULL or a number, where DuckDB's own is, and where its settled
// expression is if it has one.
func TestMomentsOfWhatIsNotFinite(t *testing.T) {
	b, all := newBench(t), append(momentCalls(), Call{Name: "fsum", Args: []string{"x"}})
	rapid.Check(t, func(t *rapid.T) {
		s := drawSample(t, func(name string) *rapid.Generator[float64] {
			values := []float64{math.Inf(1), math.Inf(-1), math.NaN(), 1, 2.5, 3, 1e200, -1e200, 1e300}
			some := rapid.SliceOfN(rapid.SampledFrom(values), 1, 4).Draw(t, name+" values")
			return rapid.SampledFrom(append(some, 0)) // 0 stands for NULL
		})
		b.fill(t, "x DOUBLE, y DOUBLE, keep BOOLEAN", s.rows(func(v float64) bool { return v == 0 }))
		for _, c := range rapid.Permutation(all).Draw(t, "calls")[:4] {
			got, failed := b.merged(t, []Call{c})
			want, wanted := b.row("SELECT " + b.text(c) + " FROM t")
			if (failed != nil) != (wanted != nil) || failed == nil && finiteness(got[0]) != finiteness(want[0]) {
				t.Fatalf("%s: merged %v %v, over rows %v %v", c.own(), got, failed, want, wanted)
			}
		}
	})
}

// finiteness tells numbers that are not finite apart, and finite ones from NULL.
func finiteness(v any) string {
	if f, ok := v.(float64); ok && !math.IsNaN(f) && !math.IsInf(f, 0) {
		return "finite"
	}
	return fmt.Sprint(v)
}
