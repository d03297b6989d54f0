package serving

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// suspect is by how much, of the larger one, floating states differ of which the answers decide: it is rounding if these agree
// as verify has it.
const suspect = 1e-9

// sides compares the state rows of two tables, and the answers where only floating states differ.
func (p *probe) sides(ctx context.Context, s *Sample, stored, recomputed string) error {
	v := p.era.View
	for table, state := range map[string]string{"side.stored": stored, "side.recomputed": recomputed} {
		if err := p.session.Exec(ctx, fmt.Sprintf("CREATE TABLE %s AS %s", schemas.QuoteIdent(table), placed(v, state))); err != nil {
			return err
		}
	}
	joined, wrong, rough := sameState(v)
	var suspects int64
	if err := p.scan(ctx, fmt.Sprintf("SELECT count(*), count(*) FILTER (WHERE %s), count(*) FILTER (WHERE %s) FROM %s", wrong, rough, joined), func(r *sql.Rows) error {
		return r.Scan(&s.Rows, &s.differing, &suspects)
	}); err != nil {
		return err
	}
	var e example
	switch {
	case s.differing > 0:
		var err error
		if e, err = p.first(ctx, joined, wrong); err != nil {
			return err
		}
	case suspects > 0:
		verdict := &Verdict{}
		if err := p.judge(ctx, p.view, p.view.FinalSQL(stored), verdict); err != nil {
			return err
		}
		if verdict.Differing == 0 {
			return nil
		}
		s.Rows, s.differing = verdict.Rows, verdict.Differing
		d := verdict.Examples[0]
		e = example{keyOf(p.view, d), d.Merged, d.Recompute}
	default:
		return nil
	}
	s.Drift = p.drift(ctx, s, e)
	return nil
}

// place numbers the rows of a key: kept rows have none, and may be there several times.
const place = "millrace_place"

// placed is a query of a view's state rows, one a group, each with its place among those of its key.
func placed(v *views.View, table string) string {
	over := ""
	if v.Keys > 0 {
		over = "PARTITION BY " + columnsOf("", v.State[:v.Keys])
	}
	exact := slices.DeleteFunc(slices.Clone(v.State[v.Keys:]), func(c views.Column) bool { return hasFloat(c.Type) })
	if len(exact) > 0 {
		over += " ORDER BY " + columnsOf("", exact)
	}
	return fmt.Sprintf("SELECT *, row_number() OVER (%s) AS %s FROM (%s)", over, place, v.MergeSQL(table))
}

// sameState is the rows of both sides, a and b, beside each other, and conditions over them: that they differ, and that only
// floating states do, by more than is taken for rounding at once.
func sameState(v *views.View) (joined, wrong, rough string) {
	on, exact, floats := []string{"a." + place + " = b." + place}, []string{"true"}, []string{"true"}
	for i, c := range v.State {
		name := schemas.QuoteIdent(c.Name)
		equal := fmt.Sprintf("a.%s IS NOT DISTINCT FROM b.%[1]s", name)
		switch {
		case i < v.Keys:
			on = append(on, equal)
		case isFloat(c.Type):
			floats = append(floats, fmt.Sprintf("(%s OR coalesce(isfinite(a.%s - b.%[2]s) AND abs(a.%[2]s - b.%[2]s) <= %g * greatest(abs(a.%[2]s), abs(b.%[2]s)), false))", equal, name, suspect))
		case hasFloat(c.Type):
			floats = append(floats, equal)
		default:
			exact = append(exact, equal)
		}
	}
	joined = `"side.stored" AS a FULL JOIN "side.recomputed" AS b ON ` + strings.Join(on, " AND ")
	wrong = fmt.Sprintf("(a.%s IS NULL OR b.%[1]s IS NULL OR NOT (%s))", place, strings.Join(exact, " AND "))
	return joined, wrong, "NOT " + wrong + " AND NOT (" + strings.Join(floats, " AND ") + ")"
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
			columnsOf("a.", v.State), schemas.QuoteIdent("side."+side), place, sameKeys(v)))
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

// sameKeys is a condition that a and b are of one key, with AND before it; empty: there are no keys.
func sameKeys(v *views.View) (out string) {
	for _, c := range v.State[:v.Keys] {
		out += fmt.Sprintf(" AND a.%s IS NOT DISTINCT FROM b.%[1]s", schemas.QuoteIdent(c.Name))
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

// keyOf takes from a row of an answer the columns that are keys.
func keyOf(v *views.View, d Difference) string {
	row, key := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	text := d.Merged
	if text == "" {
		text = d.Recompute
	}
	if json.Unmarshal([]byte(text), &row) != nil || len(v.KeyColumns) == 0 {
		return ""
	}
	for name := range v.KeyColumns {
		key[name] = row[name]
	}
	out, err := json.Marshal(key)
	if err != nil {
		return ""
	}
	return string(out)
}
