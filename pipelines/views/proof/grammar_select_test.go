package proof_test

import (
	"fmt"
	"slices"
	"strings"
)

// form is a way to call an aggregate: $any, $val (no NaN), $more, $num, $int, $bool and $text stand for arguments.
type form struct {
	sql, kind string // kind $any, $val or $num: that of the argument
	only      string // records: it hangs on their order; topic: it reads their place; rounds: its answer is rounded; settled: SQL leaves it open
}

var forms = []form{
	{"count(*)", "int", ""}, {"count($any)", "int", ""}, {"sum($num)", "$num", ""}, {"min($any)", "$any", ""}, {"max($any)", "$any", ""},
	{"avg($num)", "inexact", "rounds"}, {"sum(x)", "inexact", "rounds"}, {"avg(x)", "inexact", "rounds"},
	{"count(DISTINCT $any)", "int", ""}, {"sum(DISTINCT $num)", "$num", ""}, {"max(DISTINCT $any)", "$any", ""}, {"avg(DISTINCT $num)", "inexact", "rounds"},
	{"bool_and($bool)", "bool", ""}, {"bool_or($bool)", "bool", ""}, {"count_if($bool)", "int", ""},
	{"bit_and($int)", "int", ""}, {"bit_or($int)", "int", ""}, {"bit_xor($int)", "int", ""}, {"product($int)", "inexact", "rounds"},
	{"first($any)", "$any", "records"}, {"last($any)", "$any", "records"}, {"any_value($any)", "$any", "records"},
	{"arg_min($any, $more)", "$any", "records"}, {"arg_max($any, $more)", "$any", "records"}, {"mode($val)", "$val", "settled"}, {"approx_count_distinct($any)", "int", "settled"}, {"approx_top_k($text, 2)", "other", "settled"}, {"approx_quantile($int, 0.5)", "int", "settled"}, {"approx_quantile(d, 0.9)", "inexact", "settled"},
	{"list($any)", "other", "records"}, {"string_agg($text, ',')", "text", "records"},
	{"list($num ORDER BY $num)", "other", ""}, {"list($text ORDER BY $text DESC)", "other", ""}, {"list(DISTINCT $any ORDER BY $any)", "other", ""}, {"string_agg($text, ';' ORDER BY $text)", "text", ""},
	{"list(DISTINCT $any ORDER BY $any DESC NULLS LAST)", "other", ""}, {"string_agg(DISTINCT $text, ',' ORDER BY $text)", "text", ""}, {"count(DISTINCT ($any, $more))", "int", ""},
	{"min($num, 2)", "other", ""}, {"max($num, 3)", "other", ""}, {"arg_max($any, $more, 2)", "other", "settled"}, {"first($any ORDER BY _timestamp DESC, _partition DESC, _offset DESC)", "$any", "topic"},
	{"list($any ORDER BY $more, _timestamp, _partition, _offset)", "other", "topic"}, {"quantile_cont($num, [0.25, 0.5])", "other", "rounds"}, {"quantile_cont(DISTINCT $int, 0.5)", "inexact", "rounds"}, {"mad($int)", "inexact", "rounds"},
	{"sem($int)", "inexact", "rounds"}, {"favg(d)", "inexact", "rounds"}, {"fsum(x)", "inexact", "rounds"}, {"weighted_avg($int, abs($int))", "inexact", "rounds"}, {"spread($int)", "int", ""},
	{"histogram(DISTINCT $int)", "other", ""}, {"histogram($text)", "other", ""}, {"avg(ts)", "time", ""}, {"regr_r2($int, d)", "inexact", "rounds"}, {"covar_samp(DISTINCT $int, $num)", "inexact", "rounds"},
	{"len(list($any))", "int", ""}, {"list_sort(list(DISTINCT $int))", "other", ""}, {"max({'n': $num, 't': $text})", "struct", ""},
	{"histogram($int)", "other", ""}, {"median($int)", "inexact", ""}, {"quantile_disc($num, 0.3)", "$num", ""}, {"entropy($any)", "inexact", "rounds"},
	{"var_pop($num)", "inexact", "rounds"}, {"stddev_samp($int)", "inexact", "rounds"}, {"skewness($int)", "inexact", "rounds"}, {"kurtosis($int)", "inexact", "rounds"},
	{"covar_pop($int, $num)", "inexact", "rounds"}, {"corr($int, d)", "inexact", "rounds"}, {"regr_slope($int, d)", "inexact", "rounds"}, {"regr_count($num, $int)", "int", ""},
}

// aggregate draws an aggregate over rows, with FILTER and an expression around it now and then.
func (w *writer) aggregate(r rows) column {
	a := w.call(r)
	name, _, _ := strings.Cut(a.sql, "(")
	if w.rarely(5) && !slices.Contains([]string{"len", "list_sort", "spread", "weighted_avg"}, name) {
		a.sql += " FILTER (WHERE " + w.condition(r) + ")"
	}
	if !w.rarely(5) {
		return a
	}
	switch a.kind {
	case "int", "dec", "double", "inexact":
		a.sql = fmt.Sprintf(w.one("coalesce(%s, 0)", "%s + 1", "-%s", "abs(%s)"), a.sql)
		if !w.exact && w.rarely(2) {
			a = column{"(" + a.sql + ") / " + w.one("3", "nullif(count(*), 0)", "(SELECT count(*) + 1 FROM t)", "(SELECT max(w) FROM r)"), "inexact"}
		}
	case "text":
		a.sql = "coalesce(" + a.sql + ", '?')"
	case "bool":
		a.sql = "NOT " + a.sql
	}
	return a
}

func (w *writer) call(r rows) column {
	has := func(name string) bool {
		return slices.ContainsFunc(r.columns, func(c column) bool { return c.sql == name })
	}
	open := w.rarely(8) // takes the first and the last where there are no first and last
	var fit []form
	for _, f := range forms {
		_, field, _ := strings.Cut(strings.TrimSuffix(f.sql, ")"), "(")
		_, last, _ := strings.Cut(field, ", ")
		ok := (f.only != "records" || r.records || open) && (f.only != "topic" || r.from == "t") && (f.only != "rounds" || !w.exact)
		for _, name := range []string{"x", "d", "ts"} {
			ok = ok && (field != name && last != name && !strings.HasPrefix(field, name+",") || has(name))
		}
		if ok {
			fit = append(fit, f)
		}
	}
	f := fit[w.n(len(fit))]
	w.settled = w.settled || f.only == "settled" || f.only == "records" && !r.records
	w.byOrder = w.byOrder || f.only == "records"
	kind := f.kind
	for _, arg := range []struct {
		name string
		draw func() column
	}{
		{"$any", func() column { return w.column(r) }},
		{"$val", func() column {
			return w.column(r, "text", "int", "big", "dec", "double", "bool", "time", "date", "list", "json")
		}},
		{"$more", func() column { return w.column(r) }},
		{"$num", func() column { return w.column(r, "int", "double", "dec", "big") }},
		{"$int", func() column { return w.column(r, "int") }},
		{"$text", func() column { return w.column(r, "text") }},
		{"$bool", func() column { return column{w.condition(r), "bool"} }},
	} {
		if !strings.Contains(f.sql, arg.name) {
			continue
		}
		c := arg.draw()
		f.sql = strings.ReplaceAll(f.sql, arg.name, c.sql)
		if kind == arg.name {
			kind = c.kind
		}
	}
	return column{f.sql, kind}
}

// selection is a SELECT by its clauses.
type selection struct {
	rows
	items, names                          []string
	distinct, starred                     bool   // starred: items have no names
	on                                    string // DISTINCT ON
	groups, having, qualify, order, limit string
}

func (s selection) text() string {
	var items []string
	for i, item := range s.items {
		if !s.starred {
			item += " AS " + s.names[i]
		}
		items = append(items, item)
	}
	text := "SELECT "
	switch {
	case s.on != "":
		text += "DISTINCT ON (" + s.on + ") "
	case s.distinct:
		text += "DISTINCT "
	}
	text += strings.Join(items, ", ") + " FROM " + s.from
	for _, clause := range []struct{ word, is string }{{" WHERE ", s.where}, {" GROUP BY ", s.groups}, {" HAVING ", s.having}, {" QUALIFY ", s.qualify}, {" ORDER BY ", s.order}, {" LIMIT ", s.limit}} {
		if clause.is != "" {
			text += clause.word + clause.is
		}
	}
	return text
}

// view draws a whole view, and the same in DuckDB's own words if the view has others.
func (w *writer) view() (text, plain string) {
	w.exact = w.n(2) == 1
	switch w.n(24) {
	case 16, 17:
		s := w.list(w.source())
		s.distinct = w.n(2) == 1
		w.ordered(&s)
		return s.with + s.text(), ""
	case 18:
		s := w.grouped()
		other := s
		other.where = w.condition(s.rows)
		return s.with + s.text() + w.one(" UNION ALL ", " UNION ALL ", " UNION ", " EXCEPT ", " INTERSECT ") + other.text(), ""
	case 19:
		s := w.columns()
		return s.with + s.text(), ""
	case 20:
		s := w.list(topicRows)
		s.on = w.key(topicRows).sql
		s.order = s.on + ", _timestamp, _partition, _offset"
		return s.text(), ""
	case 21, 22:
		return w.sessions()
	}
	s := w.grouped()
	w.ordered(&s)
	return s.with + s.text(), ""
}

// columns draws a SELECT with COLUMNS or a star.
func (w *writer) columns() selection {
	r := w.nested(w.projection(topicRows))
	s := selection{rows: r, starred: true}
	if w.n(3) == 0 {
		s.items = []string{w.one("*", "* EXCLUDE (p0)", "q.*", "COLUMNS('p[01]')")}
		if strings.Contains(s.items[0], "q.") && !strings.HasSuffix(r.from, " AS q") {
			s.items[0] = "*"
		}
		return s
	}
	s.items = []string{r.columns[0].sql + " AS key", w.one("max", "count", "min") + "(COLUMNS(" + w.one("'p[12]'", "['p1']", "* EXCLUDE (p0)", "c -> c > 'p0'") + "))"}
	s.groups = w.one("ALL", "1", "p0")
	return s
}

// sessions draws a SELECT that groups by session, and the same by windows over rows.
func (w *writer) sessions() (text, plain string) {
	r := topicRows
	if w.rarely(3) {
		r = w.projection(topicRows)
		r.from, r.columns = "("+strings.Replace(r.from, "SELECT ", "SELECT ts, ", 1)+") AS q", append(r.columns, column{"ts", "time"})
	}
	gap := w.one("INTERVAL '1 hour'", "INTERVAL '30 days'", "INTERVAL '90 minutes'")
	by := w.one("", "p", "p, ")
	r.where = "ts IS NOT NULL"
	if w.rarely(3) {
		r.where += " AND " + w.condition(r)
	}
	r.records = false // DuckDB's window sorts them
	keys, names := "", ""
	if by != "" {
		keys, names = w.column(r, "text", "int", "bool").sql+" AS g0, ", "g0, "
	}
	var aggregates []string
	for i := range 1 + w.n(3) {
		aggregates = append(aggregates, w.aggregate(r).sql+fmt.Sprintf(" AS a%d", i))
	}
	key := strings.TrimSuffix(keys, " AS g0, ")
	part := ""
	if key != "" {
		part = "PARTITION BY " + key + " "
	}
	having := w.one("", "", " HAVING count(*) > 1")
	text = "SELECT " + keys + "session(ts, " + gap + ") AS start, " + strings.Join(aggregates, ", ") + " FROM " + r.from + " WHERE " + r.where + " GROUP BY " + w.one("ALL", names+"start") + having
	step := "SELECT *, CASE WHEN ts - lag(ts) OVER (" + part + "ORDER BY ts) <= " + gap + " THEN 0 ELSE 1 END AS fresh FROM " + r.from + " WHERE " + r.where
	step = "SELECT *, sum(fresh) OVER (" + part + "ORDER BY ts) AS island FROM (" + step + ")"
	return text, "SELECT " + keys + "min(ts) AS start, " + strings.Join(aggregates, ", ") + " FROM (" + step + ") GROUP BY " + names + "island" + having
}

// list draws a SELECT without groups.
func (w *writer) list(r rows) selection {
	s := selection{rows: r}
	for range 1 + w.n(3) {
		c := w.column(r)
		if w.rarely(3) {
			c = w.computed(r)
		}
		s.item(w, c.sql)
	}
	return s
}

// item adds a column to the SELECT list, under a name that plans may use too.
func (s *selection) item(w *writer, sql string) {
	s.items = append(s.items, sql)
	s.names = append(s.names, w.one("c", "k", "s")+fmt.Sprint(len(s.items)-1))
}

// grouped draws a SELECT of keys and aggregates.
func (w *writer) grouped() selection {
	s := selection{rows: w.source()}
	var keys []string
	for range w.one("", ".", ".", "..", "...") {
		keys = append(keys, w.key(s.rows).sql)
	}
	hidden := len(keys) > 0 && w.rarely(6)
	if !hidden {
		for _, k := range keys {
			s.item(w, k)
		}
	}
	shown := len(s.items)
	for range 1 + w.n(3) {
		s.item(w, w.aggregate(s.rows).sql)
	}
	all := strings.Join(keys, ", ")
	form := w.n(16)
	switch {
	case len(keys) == 0:
	case form == 6:
		s.groups = "ROLLUP (" + all + ")"
	case form == 7:
		s.groups = "CUBE (" + all + ")"
	case form == 8:
		s.groups = "GROUPING SETS ((" + all + "), (" + keys[0] + "), ())"
	case form == 9 && len(keys) < 3:
		s.groups = "GROUPING SETS ((" + keys[0] + "), (" + keys[len(keys)-1] + "))"
		s.item(w, "grouping("+keys[0]+")")
	case hidden || form == 0:
		s.groups = all
	case form < 3:
		s.groups = strings.Trim(strings.ReplaceAll(fmt.Sprint([]int{1, 2, 3}[:shown]), " ", ", "), "[]")
	case form == 3:
		s.groups = strings.Join(s.names[:shown], ", ")
	default:
		s.groups = "ALL"
	}
	if w.exact {
		w.picky(&s, keys, shown)
	}
	return s
}

// picky adds clauses that pick groups by aggregates, and windows over them.
func (w *writer) picky(s *selection, keys []string, shown int) {
	if w.rarely(4) {
		s.having = w.one("count(*) > 1", s.items[shown]+" IS NOT NULL", "count(DISTINCT "+w.column(s.rows).sql+") <= 2", s.names[shown]+" IS NOT NULL")
	}
	if len(keys) == 0 || s.groups == "ALL" {
		return
	}
	partition := w.one("", "PARTITION BY "+keys[0]+" ")
	if w.rarely(5) {
		s.qualify = w.one("row_number", "rank") + "() OVER (" + partition + "ORDER BY " + strings.Join(s.items, ", ") + ") <= " + w.one("1", "2")
	}
	if w.rarely(5) {
		order := "ORDER BY " + s.items[shown]
		s.item(w, w.one("rank() OVER ("+partition+order+")", "sum(count(*)) OVER ("+partition+")", "sum(count(*)) OVER ("+order+")", "max("+s.items[shown]+") OVER ()"))
	}
}

// ordered adds ORDER BY over all columns, so that the answer has one order, and LIMIT.
func (w *writer) ordered(s *selection) {
	if !w.exact || !w.rarely(3) {
		return
	}
	s.order = "ALL"
	if w.n(2) == 1 {
		var by []string
		for i := range s.items {
			by = append(by, fmt.Sprintf("%d%s%s", i+1, w.one("", " DESC"), w.one("", " NULLS FIRST")))
		}
		if w.n(2) == 1 {
			slices.Reverse(by)
		}
		s.order = strings.Join(by, ", ")
	}
	if w.n(2) == 1 {
		s.limit = w.one("2", "3 OFFSET 1", "1")
	}
}
