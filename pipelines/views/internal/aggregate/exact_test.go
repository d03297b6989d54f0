package aggregate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// exactValues are what the columns of exact tests may hold, beside NULL.
var exactValues = map[string][]string{
	"ts TIMESTAMP":                    {"'2024-02-29 23:59:59.999999'", "'1969-12-31 23:59:59.999998'", "'0001-01-01'", "'infinity'", "'-infinity'", "'1970-01-01 00:00:00.000001'"},
	"tz TIMESTAMPTZ":                  {"'2024-02-29 23:59:59.999999+02'", "'1969-12-31 23:59:59.999998+00'", "'infinity'", "'1700-01-01 00:00:00+00'"},
	"ns TIMESTAMP_NS":                 {"'2024-02-29 23:59:59.999999001'", "'1969-12-31 23:59:59.999998999'"},
	"sec TIMESTAMP_S":                 {"'2024-02-29 23:59:59'", "'1969-12-31 23:59:59'"},
	"dt DATE":                         {"'2024-02-29'", "'0001-01-01'", "'infinity'", "'1969-12-31'"},
	"tm TIME":                         {"'24:00:00'", "'00:00:00'", "'23:59:59.999999'", "'00:00:00.000001'"},
	"tmz TIMETZ":                      {"'24:00:00+00'", "'10:00:00.000001-10'", "'23:59:59.999999+15:59:59'"},
	"iv INTERVAL":                     {"'1 month 3 days 5 microseconds'", "'-1 year 2 days'", "'31 hours'", "'-40 days -3 microseconds'", "'7 months'"},
	"i INTEGER":                       {"0", "1", "-1", "7", "42"},
	"x DOUBLE":                        {"'nan'", "'inf'", "1.5", "-3", "0.25"},
	"s VARCHAR":                       {"'a'", "'ab'", "'ß'", "''"},
	"st STRUCT(a INTEGER, b VARCHAR)": {"{'a': 1, 'b': NULL}", "{'a': NULL, 'b': 'x'}", "{'a': 1, 'b': 'x'}", "{'a': NULL, 'b': NULL}"},
	"tags VARCHAR[]":                  {"[]", "['a', NULL]", "[NULL, 'a']", "['a']", "['b']"},
}

// fillExact makes t of exactValues.
func (b *bench) fillExact(t *rapid.T) {
	columns := slices.Sorted(maps.Keys(exactValues))
	var rows []string
	for range rapid.IntRange(0, 12).Draw(t, "rows") {
		var row []string
		for _, c := range columns {
			row = append(row, rapid.SampledFrom(append(slices.Clip(exactValues[c]), "NULL")).Draw(t, c))
		}
		rows = append(rows, strings.Join(row, ", "))
	}
	b.fill(t, strings.Join(columns, ", "), rows)
}

// same compares two SELECTs' only values, as text.
func (b *bench) same(t *rapid.T, what string, got []any, want string) {
	t.Helper()
	row, err := b.row(want)
	if err != nil {
		t.Fatalf("%s: %v\n%s", what, err, want)
	}
	if fmt.Sprint(got) != fmt.Sprint(row) {
		t.Fatalf("%s: got %v, want %v by\n%s", what, got, row, want)
	}
}

// What is not rounded is the same to the last bit: averages of times and intervals, the n smallest and largest, and bits.
func TestExactMerges(t *testing.T) {
	b := newBench(t)
	one := func(name string, args ...string) Call { return Call{Name: name, Args: args} }
	calls := []Call{one("bitstring_agg", "i", "-1", "42"), one("bitstring_agg", "i % 2", "-1", "100"), {Name: "max", Args: []string{"s", "2"}, Filter: "i > 0"},
		{Name: "avg", Args: []string{"iv"}, Filter: "i > 0"}}
	for c := range exactValues {
		column, of, _ := strings.Cut(c, " ")
		if strings.HasPrefix(of, "TIME") || of == "DATE" || of == "INTERVAL" {
			calls = append(calls, one("avg", column))
		}
		if of != "INTERVAL" { // 1 month and 30 days tie: which comes first is open
			calls = append(calls, one("min", column, "3"), one("max", column, "2"), Call{Name: "max", Args: []string{column, "3"}, Distinct: true})
		}
	}
	slices.SortFunc(calls, func(a, b Call) int { return strings.Compare(a.own(), b.own()) })
	rapid.Check(t, func(t *rapid.T) {
		b.fillExact(t)
		for _, c := range rapid.Permutation(calls).Draw(t, "calls")[:8] {
			got, err := b.merged(t, []Call{c})
			if err != nil {
				t.Fatalf("%s: %v", c.own(), err)
			}
			b.same(t, c.own(), got, "SELECT "+c.own()+" FROM t")
		}
	})
}

// Of n rows by the smallest or largest key, the earliest of those that tie come first.
func TestRankedTies(t *testing.T) {
	b := newBench(t)
	rapid.Check(t, func(t *rapid.T) {
		b.fillExact(t)
		for range 4 {
			c := Call{Name: rapid.SampledFrom([]string{"arg_min", "arg_max"}).Draw(t, "name"), Filter: rapid.SampledFrom([]string{"", "i > 0"}).Draw(t, "filter")}
			x := rapid.SampledFrom([]string{"o", "s", "st", "tags", "iv", "tmz"}).Draw(t, "x")
			by := rapid.SampledFrom([]string{"o % 3", "s", "ts", "x", "tm", "dt", "i", "o"}).Draw(t, "by")
			n := rapid.SampledFrom([]string{"1", "2", "7"}).Draw(t, "n")
			c.Args = []string{x, by, n}
			got, err := b.row("SELECT " + c.SettleRanked([]string{"t.o"}) + " FROM t")
			if err != nil {
				t.Fatalf("%s: %v", c.own(), err)
			}
			how := map[string]string{"arg_min": "ASC", "arg_max": "DESC"}[c.Name]
			b.same(t, c.own(), got, fmt.Sprintf("SELECT (SELECT list(v) FROM (SELECT %[1]s AS v FROM t WHERE %[1]s IS NOT NULL AND %[2]s IS NOT NULL AND %[3]s ORDER BY %[2]s %[4]s, o LIMIT %[5]s))",
				x, by, cmp.Or(c.Filter, "true"), how, n))
		}
	})
}
