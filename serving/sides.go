package serving

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// sides compares the state rows of two tables: all but floating ones exactly, and these to verify's tolerance of what they are
// rounded by, which is measured where they are not the same.
func (p *probe) sides(ctx context.Context, s *Sample, stored, recomputed string) error {
	v := p.era.View
	for table, state := range map[string]string{"side.stored": stored, "side.recomputed": recomputed} {
		if err := p.session.Exec(ctx, fmt.Sprintf("CREATE TABLE %s AS %s", schemas.QuoteIdent(table), placed(v, v.MergeSQL(state)))); err != nil {
			return err
		}
	}
	joined, wrong := beside(v, false), differ(v, false)
	if err := p.tell(ctx, s, joined, wrong); err != nil || s.differing == 0 {
		return err
	}
	if v.Plans.Measures != "" {
		if err := p.measure(ctx, s, v); err != nil {
			return err
		}
		joined, wrong = beside(v, true), differ(v, true)
		if err := p.tell(ctx, s, joined, wrong); err != nil || s.differing == 0 {
			return err
		}
	}
	e, err := p.first(ctx, joined, wrong)
	if err == nil {
		s.Drift = p.drift(ctx, s, e)
	}
	return err
}

// tell counts the rows, and those that differ.
func (p *probe) tell(ctx context.Context, s *Sample, joined, wrong string) error {
	return p.scan(ctx, fmt.Sprintf("SELECT count(*), count(*) FILTER (WHERE %s) FROM %s", wrong, joined), func(r *sql.Rows) error { return r.Scan(&s.Rows, &s.differing) })
}

// measure makes the table of what the range's floating states are rounded by.
func (p *probe) measure(ctx context.Context, s *Sample, v *views.View) error {
	rows, err := p.attachRows(ctx, "sampled."+s.Topic, s.Topic, v.Wanted[s.Topic])
	if err != nil {
		return err
	}
	if err := p.session.Exec(ctx, fmt.Sprintf(`CREATE TABLE "side.parts" AS %s`, v.MeasureSQL(rows))); err != nil {
		return err
	}
	return p.session.Exec(ctx, fmt.Sprintf(`CREATE TABLE "side.measure" AS %s`, placed(v, v.MergeSQL("side.parts"))))
}

// place numbers the rows of a key: kept rows have none, and may be there several times.
const place = "millrace_place"

// placed is a query's state rows, one a group, each with its place among those of its key.
func placed(v *views.View, query string) string {
	over := ""
	if v.Keys > 0 {
		over = "PARTITION BY " + columnsOf("", v.State[:v.Keys])
	}
	if len(v.State) > v.Keys {
		over += " ORDER BY " + columnsOf("", v.State[v.Keys:])
	}
	return fmt.Sprintf("SELECT *, row_number() OVER (%s) AS %s FROM (%s)", over, place, query)
}

// beside is the rows of both sides, a and b, and what they are rounded by, m, beside each other.
func beside(v *views.View, measured bool) string {
	joined := fmt.Sprintf(`"side.stored" AS a FULL JOIN "side.recomputed" AS b ON a.%s = b.%[1]s%s`, place, sameKeys(v, "a", "b"))
	if measured {
		joined += fmt.Sprintf(` LEFT JOIN "side.measure" AS m ON b.%s = m.%[1]s%s`, place, sameKeys(v, "b", "m"))
	}
	return joined
}

// differ is a condition that a row of both sides is not the same. What floats lie within lists and structs are values of records:
// they are the same or not.
func differ(v *views.View, measured bool) string {
	same := []string{"true"}
	for _, c := range v.State[v.Keys:] {
		name := schemas.QuoteIdent(c.Name)
		equal := fmt.Sprintf("a.%s IS NOT DISTINCT FROM b.%[1]s", name)
		if measured && isFloat(c.Type) {
			// DuckDB's NaN is the largest number.
			equal = fmt.Sprintf("(%s OR coalesce(isfinite(a.%s - b.%[2]s) AND abs(a.%[2]s - b.%[2]s) <= %g * greatest(abs(a.%[2]s), abs(b.%[2]s), abs(m.%[2]s)), false))", equal, name, floatTolerance)
		}
		same = append(same, equal)
	}
	return fmt.Sprintf("(a.%s IS NULL OR b.%[1]s IS NULL OR NOT (%s))", place, strings.Join(same, " AND "))
}

// first is the first row that differs, by the keys, with what each side answers for it.
func (p *probe) first(ctx context.Context, joined, wrong string) (e example, err error) {
	v := p.era.View
	keys := []string{fmt.Sprintf("coalesce(a.%s, b.%[1]s) AS %[1]s", place)}
	for _, c := range v.State[:v.Keys] {
		keys = append(keys, fmt.Sprintf("coalesce(a.%s, b.%[1]s) AS %[1]s", schemas.QuoteIdent(c.Name)))
	}
	order := columnsOf("", append(slices.Clone(v.State[:v.Keys]), views.Column{Name: place}))
	if err := p.session.Exec(ctx, fmt.Sprintf(`CREATE TABLE "side.first" AS SELECT %s FROM %s WHERE %s ORDER BY %s LIMIT 1`, strings.Join(keys, ", "), joined, wrong, order)); err != nil {
		return e, err
	}
	if v.Keys > 0 {
		if e.key, err = p.one(ctx, "SELECT "+objectOf(keyNames(v))+` FROM "side.first" AS t`); err != nil {
			return e, err
		}
	}
	answers, states := [2]string{}, [2]string{}
	for i, side := range []string{"stored", "recomputed"} {
		table := "side.first." + side
		err := p.session.Exec(ctx, fmt.Sprintf("CREATE TABLE %s AS SELECT %s FROM %s AS a JOIN \"side.first\" AS b ON a.%s = b.%[4]s%s", schemas.QuoteIdent(table),
			columnsOf("a.", v.State), schemas.QuoteIdent("side."+side), place, sameKeys(v, "a", "b")))
		if err == nil {
			states[i], err = p.one(ctx, fmt.Sprintf("SELECT %s FROM %s AS t", object("t", v.State), schemas.QuoteIdent(table)))
		}
		if err == nil && states[i] != "" {
			answers[i], err = p.one(ctx, fmt.Sprintf("SELECT to_json(t)::VARCHAR FROM (%s) AS t LIMIT 1", v.FinalSQL(table)))
			if kernel.OfRecords(err) {
				err = nil
			}
		}
		if err != nil {
			return e, err
		}
	}
	if answers[0] == answers[1] { // the view's answer does not show it
		answers = states
	}
	e.has, e.should = answers[0], answers[1]
	return e, nil
}

// one is the text that a query gives, empty if it gives no row.
func (q *question) one(ctx context.Context, query string) (text string, err error) {
	err = q.scan(ctx, query, func(r *sql.Rows) error { return r.Scan(&text) })
	return text, err
}

// sameKeys is a condition that two rows are of one key, with AND before it; empty: there are no keys.
func sameKeys(v *views.View, a, b string) (out string) {
	for _, c := range v.State[:v.Keys] {
		out += fmt.Sprintf(" AND %s.%s IS NOT DISTINCT FROM %s.%[2]s", a, schemas.QuoteIdent(c.Name), b)
	}
	return out
}

// columnsOf is a list of columns, with something before each name.
func columnsOf(before string, columns []views.Column) string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = before + schemas.QuoteIdent(c.Name)
	}
	return strings.Join(out, ", ")
}

// keyNames are the keys of a view's state, by the answer's columns that hold them where there are such.
func keyNames(v *views.View) (names, columns []string) {
	for _, c := range v.State[:v.Keys] {
		name := c.Name
		for _, answer := range v.Columns {
			if v.KeyColumns[answer.Name] == c.Name {
				name = answer.Name
				break
			}
		}
		names, columns = append(names, name), append(columns, c.Name)
	}
	return names, columns
}

// objectOf is a row of t as JSON, its columns under names.
func objectOf(names, columns []string) string {
	cells := make([]string, len(names))
	for i := range names {
		cells[i] = fmt.Sprintf("%s := t.%s", schemas.QuoteIdent(names[i]), schemas.QuoteIdent(columns[i]))
	}
	return "to_json(struct_pack(" + strings.Join(cells, ", ") + "))::VARCHAR"
}
