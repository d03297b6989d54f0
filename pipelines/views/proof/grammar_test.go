package proof_test

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// The topic and the reference that random views read. Doubles in d add up exactly in any order, those in x do not: no
// clause that picks rows hangs on a sum over x, for what rounding moves over an edge has no one answer.
const (
	randomFields = "k VARCHAR | g INTEGER | i INTEGER | l BIGINT | dc DECIMAL(18,3) | d DOUBLE | x DOUBLE | b BOOLEAN | s VARCHAR | ts TIMESTAMP | tz TIMESTAMPTZ | tags VARCHAR[] | st STRUCT(a INTEGER, b VARCHAR) | h HUGEINT | y DOUBLE | dt DATE | u UUID | m MAP(VARCHAR, INTEGER) | j JSON"

	randomMacros = "CREATE MACRO twice(x) AS x * 2; CREATE MACRO spread(x) AS max(x) - min(x);"

	randomReference = "SELECT * FROM (VALUES ('a', 'Anna', 1), ('a', 'Alf', 2), ('b', 'Bea', 2), (NULL, 'Nemo', 3), ('z', 'Zoe', NULL)) AS r(rk, name, w)"
)

// values are what each field of the topic may be, simplest first.
var values = map[string][]string{
	"k":    {"'a'", "'b'", "NULL", "'c'", "'ü'"},
	"g":    {"1", "2", "NULL"},
	"i":    {"1", "0", "NULL", "-3", "7", "100"},
	"l":    {"1", "NULL", "9223372036854775807", "-9223372036854775808"},
	"dc":   {"1.5", "NULL", "-0.001", "999999999999.999"},
	"d":    {"0.5", "NULL", "-2.25", "8", "0"},
	"x":    {"0.1", "NULL", "0.2", "0.7", "-1e6", "12345.678"},
	"b":    {"true", "NULL", "false"},
	"s":    {"'x'", "NULL", "''", "'X'", "'yy'", "'''%'"},
	"ts":   {"'2024-03-30 23:30:00'", "NULL", "'2024-03-31 01:00:00'", "'2024-02-29 12:00:00.000001'", "'1969-12-31 23:59:59'", "'2024-03-31 22:10:00'"},
	"tz":   {"'2024-03-31 00:30:00+00'", "NULL", "'2024-03-31 01:30:00+00'", "'2024-10-27 00:30:00+00'"},
	"tags": {"['x']", "NULL", "[]", "['x', 'y']", "['y', NULL]"},
	"st":   {"{'a': 1, 'b': 'p'}", "NULL", "{'a': NULL, 'b': 'q'}"},
	"h":    {"1", "NULL", "1701411834604692317316873037158841057", "-3"},
	"y":    {"0.0", "NULL", "'nan'", "'inf'", "'-inf'", "1.5", "-0.0"},
	"dt":   {"'2024-02-29'", "NULL", "'0001-01-01'", "'9999-12-31'"},
	"u":    {"'00000000-0000-0000-0000-000000000001'", "NULL", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"},
	"m":    {"map {'k': 1}", "NULL", "map {}", "map {'k': 2, 'l': NULL}"},
	"j":    {`'{"a": 1}'`, "NULL", `'{"a": "x", "b": []}'`, `'[1]'`},
}

// column is an expression that a SELECT may use.
type column struct {
	sql, kind string // kind is text, int, big, dec, double, inexact, bool, time, zoned, date, list, struct, json or other
}

// rows are what a FROM clause gives.
type rows struct {
	with    string // WITH ..., if there is one
	from    string
	where   string
	columns []column
	records bool // each row is one record of the topic, so that first and last mean something
}

func (r rows) of(kinds ...string) []column {
	var out []column
	for _, c := range r.columns {
		if slices.Contains(kinds, c.kind) {
			out = append(out, c)
		}
	}
	return out
}

// writer writes one SELECT.
type writer struct {
	t     *rapid.T
	exact bool // it draws no aggregate that rounds

	settled bool              // it drew an aggregate whose answer SQL leaves open: the raw plan settles it
	byOrder bool              // it drew an aggregate that hangs on the order of rows
	joins   bool              // it drew a subquery that DuckDB makes a join, which may change that order
	views   map[string]string // that it reads by name
}

func (w *writer) n(n int) int { return rapid.IntRange(0, n-1).Draw(w.t, "pick") }

func (w *writer) one(options ...string) string { return options[w.n(len(options))] }

// rarely is true once in n times.
func (w *writer) rarely(n int) bool { return w.n(n) == n-1 }

func (w *writer) column(r rows, kinds ...string) column {
	if len(kinds) == 0 {
		return r.columns[w.n(len(r.columns))]
	}
	of := r.of(kinds...)
	if len(of) == 0 {
		return map[bool]column{true: {"lower('A')", "text"}, false: {"1", "int"}}[kinds[0] == "text"]
	}
	return of[w.n(len(of))]
}

var topicRows = rows{from: "t", records: true, columns: []column{
	{"k", "text"}, {"i", "int"}, {"g", "int"}, {"l", "big"}, {"dc", "dec"}, {"d", "double"}, {"x", "inexact"}, {"b", "bool"}, {"s", "text"},
	{"ts", "time"}, {"tz", "zoned"}, {"tags", "list"}, {"st", "struct"}, {"st.a", "int"}, {"st.b", "text"},
	{"h", "big"}, {"y", "other"}, {"dt", "date"}, {"u", "other"}, {"m", "other"}, {"j", "json"},
}}

// source draws a FROM clause.
func (w *writer) source() rows {
	r := topicRows
	switch w.n(20) {
	case 6, 7:
		r = w.joined()
	case 8:
		r.from, r.records = "t, unnest(t.tags) AS u(tag)", false
		r.columns = append(slices.Clone(r.columns), column{"tag", "text"})
	case 9:
		r.from, r.records = "t, "+w.one("range(time_bucket(INTERVAL '30 minutes', ts) - INTERVAL '30 minutes', ts, INTERVAL '30 minutes')",
			"unnest(hopping(ts, INTERVAL '1 hour', INTERVAL '20 minutes'))", "unnest(cumulating(ts, INTERVAL '1 day', INTERVAL '8 hours'))")+" AS win(hop)", false
		r.columns = append(slices.Clone(r.columns), column{"hop", "time"})
	case 10, 11:
		r = w.nested(w.projection(w.source()))
	case 12:
		r = w.nested(w.groups())
	case 13:
		r = w.groupsJoined()
	case 14:
		r = w.nested(w.together())
	case 15:
		r = w.nested(w.pivoted())
	case 16:
		r = w.windowed()
	}
	if w.rarely(3) {
		r.where = w.condition(r)
		if w.rarely(5) {
			r.where += " AND " + w.subquery(r)
		}
	}
	return r
}

func (w *writer) joined() rows {
	r := topicRows
	r.records = false
	join := w.one("JOIN", "LEFT JOIN", "SEMI JOIN", "ANTI JOIN", "CROSS JOIN", "ASOF LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
	r.from = "t " + join + " r"
	switch join {
	case "CROSS JOIN":
	case "ASOF LEFT JOIN":
		r.from = "t ASOF LEFT JOIN (SELECT w, min(name) AS name, min(rk) AS rk FROM r WHERE w IS NOT NULL GROUP BY w) AS r ON g >= w"
	default:
		r.from += " ON " + w.one("rk = k", "rk IS NOT DISTINCT FROM k", "w >= g", "rk = k AND w > 1")
	}
	if strings.HasPrefix(join, "SEMI") || strings.HasPrefix(join, "ANTI") {
		return r
	}
	r.columns = append([]column{{"name", "text"}, {"w", "int"}, {"rk", "text"}}, r.columns...)
	return r
}

// groupsJoined joins groups with the reference, or with other groups of the same key.
func (w *writer) groupsJoined() rows {
	key := w.column(topicRows, "text", "int")
	made := func(name string) (string, column) {
		inner := &writer{t: w.t, exact: true}
		r := topicRows
		if w.rarely(3) {
			r.where = w.condition(r)
		}
		a := inner.aggregate(r)
		w.settled, w.byOrder = w.settled || inner.settled, w.byOrder || inner.byOrder
		text := "(SELECT " + key.sql + " AS " + name + "k, " + a.sql + " AS " + name + "m FROM t"
		if r.where != "" {
			text += " WHERE " + r.where
		}
		return text + " GROUP BY " + key.sql + ") AS " + name, column{name + "m", a.kind}
	}
	one, m := made("one")
	r := rows{from: one, columns: []column{{"onek", key.kind}, m}}
	if w.n(2) == 0 {
		two, n := made("two")
		r.from += w.one(" JOIN ", " LEFT JOIN ", " FULL JOIN ") + two + " ON onek IS NOT DISTINCT FROM twok"
		r.columns = append(r.columns, n, column{"twok", key.kind})
		return r
	}
	on := "w = onek"
	if key.kind == "text" {
		on = "rk = onek"
	}
	r.from += w.one(" JOIN r ON ", " LEFT JOIN r ON ", " RIGHT JOIN r ON ", " SEMI JOIN r ON ") + on
	if !strings.Contains(r.from, "SEMI") {
		r.columns = append(r.columns, column{"name", "text"}, column{"w", "int"})
	}
	return r
}

// together makes a set operation of two SELECTs.
func (w *writer) together() rows {
	a := w.projection(topicRows)
	b := a.from
	if w.n(2) == 1 {
		b += " WHERE b"
	}
	a.from, a.records = a.from+w.one(" UNION ALL ", " UNION ALL ", " UNION ", " EXCEPT ", " INTERSECT ")+b, false
	return a
}

// pivoted makes a PIVOT or an UNPIVOT.
func (w *writer) pivoted() rows {
	if w.n(2) == 1 {
		return rows{from: "SELECT k, what, n FROM (SELECT k, i, g FROM t) UNPIVOT (n FOR what IN (i, g))", columns: []column{{"k", "text"}, {"what", "text"}, {"n", "int"}}}
	}
	return rows{from: "SELECT k, " + w.one("one, two", "two, one") + " FROM (SELECT k, g, i FROM t) PIVOT (" + w.one("sum", "max", "count") + "(i) FOR g IN (1 AS one, 2 AS two) GROUP BY k)",
		columns: []column{{"k", "text"}, {"one", "int"}, {"two", "int"}}}
}

// windowed makes a SELECT with a window over rows.
func (w *writer) windowed() rows {
	return rows{from: "(SELECT *, lag(i) OVER (PARTITION BY k ORDER BY _timestamp, _partition, _offset) AS before FROM t) AS q",
		columns: append([]column{{"before", "int"}}, topicRows.columns...)}
}

// nested puts a SELECT, which stands in from, into a subquery, a view or a WITH.
func (w *writer) nested(r rows) rows {
	switch w.n(5) {
	case 0, 1:
		r.from = "(" + r.with + r.from + ") AS q"
		r.with = ""
		return r
	case 4:
		if w.views == nil {
			w.views = map[string]string{}
		}
		name := fmt.Sprintf("view%d", len(w.views))
		w.views[name] = r.with + r.from
		r.from, r.with = name, ""
		return r
	}
	name := "w" + fmt.Sprint(strings.Count(r.with, " AS "))
	step := name + " AS (" + r.from + ")"
	if r.with = strings.TrimSuffix(r.with, " "); r.with == "" {
		r.with = "WITH " + step + " "
	} else {
		r.with += ", " + step + " "
	}
	r.from = name
	return r
}

// projection makes a SELECT of some columns and computed ones.
func (w *writer) projection(r rows) rows {
	out := rows{with: r.with, records: r.records}
	var selected []string
	for n := range 2 + w.n(5) {
		c := w.column(r)
		if w.rarely(3) {
			c = w.computed(r)
		}
		name := fmt.Sprintf("p%d", n)
		selected = append(selected, c.sql+" AS "+name)
		out.columns = append(out.columns, column{name, c.kind})
	}
	out.from = "SELECT " + strings.Join(selected, ", ") + " FROM " + r.from
	if r.where != "" {
		out.from += " WHERE " + r.where
	}
	return out
}

// groups makes a SELECT with GROUP BY whose answer others read.
func (w *writer) groups() rows {
	inner := &writer{t: w.t, exact: true, views: w.views}
	r := inner.source()
	out := rows{with: r.with}
	var selected, by []string
	for n := range 1 + w.n(2) {
		c := inner.key(r)
		name := fmt.Sprintf("p%d", n)
		selected = append(selected, c.sql+" AS "+name)
		by = append(by, c.sql)
		out.columns = append(out.columns, column{name, c.kind})
	}
	for n := range 1 + w.n(2) {
		a := inner.aggregate(r)
		name := fmt.Sprintf("m%d", n)
		selected = append(selected, a.sql+" AS "+name)
		out.columns = append(out.columns, column{name, a.kind})
	}
	out.from = "SELECT " + strings.Join(selected, ", ") + " FROM " + r.from
	if r.where != "" {
		out.from += " WHERE " + r.where
	}
	out.from += " GROUP BY " + strings.Join(by, ", ")
	w.settled, w.byOrder, w.joins, w.views = w.settled || inner.settled, w.byOrder || inner.byOrder, w.joins || inner.joins, inner.views
	return out
}

// condition draws a predicate over a row.
func (w *writer) condition(r rows) string {
	c := w.column(r, "int", "text", "bool", "double", "time", "big", "dec")
	p := "%s IS NOT NULL"
	switch c.kind {
	case "int":
		p = w.one("%s > 0", "%s IS NULL OR %[1]s < 5", "%s %% 2 = 1", "%s IN (1, 7, NULL)", "%s BETWEEN -5 AND 1")
	case "text":
		p = w.one("%s <> 'a'", "%s LIKE '%%x%%'", "%s IS NOT DISTINCT FROM 'b'", "length(%s) > 0")
	case "bool":
		p = w.one("%s", "NOT %s", "%s IS NULL")
	case "double", "dec", "big":
		p = w.one("%s > 0", "abs(%s / 2) < 3")
	case "time":
		p = w.one("%s < TIMESTAMP '2024-03-31'", "hour(%s) > 12")
	}
	return "(" + fmt.Sprintf(p, c.sql) + ")"
}

// subquery draws a predicate that reads a table.
func (w *writer) subquery(r rows) string {
	w.joins = true
	text := w.column(r, "text")
	return w.one(text.sql+" IN (SELECT rk FROM r)", "EXISTS (SELECT 1 FROM r WHERE rk = "+text.sql+")", w.column(r, "int").sql+" <= (SELECT max(w) FROM r)",
		w.column(r, "int").sql+" >= (SELECT avg(i) FROM t)")
}

// computed draws an expression over a row.
func (w *writer) computed(r rows) column {
	c := w.column(r, "int", "text", "double", "time", "bool", "list", "zoned", "dec", "json")
	options := map[string][]column{
		"int":    {{"%s + 1", "int"}, {"%s %% 2", "int"}, {"coalesce(%s, 0)", "int"}, {"CASE WHEN %s > 0 THEN 'up' WHEN %[1]s IS NULL THEN 'none' ELSE 'down' END", "text"}, {"%s * 0.5", "dec"}, {"twice(%s)", "int"}},
		"text":   {{"upper(%s)", "text"}, {"length(%s)", "int"}, {"%s || '!'", "text"}, {"%s IS NULL", "bool"}, {"coalesce(%s, '-')", "text"}, {"(SELECT max(w) FROM r WHERE rk = %s)", "int"}},
		"double": {{"%s * 2", "double"}, {"round(%s)", "double"}, {"%s > 0", "bool"}},
		"dec":    {{"%s * 2", "dec"}, {"%s IS NULL", "bool"}},
		"time": {{"time_bucket(INTERVAL '1 hour', %s)", "time"}, {"date_trunc('month', %s)", "time"}, {"%s::DATE", "date"}, {"hour(%s)", "int"},
			{"time_bucket(INTERVAL '1 day', %s AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Rome')", "time"}},
		"zoned": {{"time_bucket(INTERVAL '1 day', %s, 'Europe/Rome')", "zoned"}, {"date_trunc('week', %s AT TIME ZONE 'America/New_York')", "time"}},
		"bool":  {{"NOT %s", "bool"}, {"if(%s, 1, 2)", "int"}},
		"json":  {{"%s->>'$.a'", "text"}, {"json_array_length(%s)", "int"}},
		"list":  {{"len(%s)", "int"}, {"list_contains(%s, 'x')", "bool"}, {"%s[1]", "text"}},
	}[c.kind]
	o := options[w.n(len(options))]
	w.joins = w.joins || strings.HasPrefix(o.sql, "(SELECT")
	return column{fmt.Sprintf(o.sql, c.sql), o.kind}
}

// key draws what to group by.
func (w *writer) key(r rows) column {
	if w.n(2) == 0 {
		return w.column(r, "text", "int", "bool", "time", "dec", "list", "struct", "big", "date", "double", "other", "json")
	}
	return w.computed(r)
}
