package serving

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

const (
	// sameFloat is by how much, of the larger one, two floats differ that are taken for the same: partials add in another
	// order than a recompute.
	sameFloat = 1e-9
	// mostKeys is how many columns are tried together as what tells rows apart.
	mostKeys = 8
	here     = "__millrace_here__"
)

// shared is a column that both answers have.
type shared struct {
	name     string
	old, new string // types
}

func (s shared) numeric() bool { return isNumber(s.old) && isNumber(s.new) }

func (s shared) float() bool { return hasFloat(s.old) || hasFloat(s.new) }

func isNumber(t string) bool {
	return isFloat(t) || strings.HasPrefix(t, "DECIMAL") || strings.HasSuffix(t, "INT") || t == "INTEGER" || t == "UINTEGER"
}

func hasFloat(t string) bool { return strings.Contains(t, "DOUBLE") || strings.Contains(t, "FLOAT") }

// same is a condition over o and n.
func (s shared) same() string {
	c := schemas.QuoteIdent(s.name)
	switch {
	case s.numeric() && s.float():
		return fmt.Sprintf("(o.%s IS NOT DISTINCT FROM n.%[1]s OR coalesce(isfinite(%[2]s) AND abs(%[2]s) <= %[3]g * greatest(abs(o.%[1]s::DOUBLE), abs(n.%[1]s::DOUBLE)), false))", c, s.less(), sameFloat)
	case s.old == s.new || s.numeric():
		return fmt.Sprintf("o.%s IS NOT DISTINCT FROM n.%[1]s", c)
	}
	return fmt.Sprintf("o.%s::VARCHAR IS NOT DISTINCT FROM n.%[1]s::VARCHAR", c)
}

// less is new less old, for numbers.
func (s shared) less() string {
	c := schemas.QuoteIdent(s.name)
	rough := fmt.Sprintf("n.%s::DOUBLE - o.%[1]s::DOUBLE", c)
	if s.float() {
		return rough
	}
	exact := fmt.Sprintf("n.%s - o.%[1]s", c)
	if !strings.HasPrefix(s.old, "DECIMAL") && !strings.HasPrefix(s.new, "DECIMAL") {
		exact = fmt.Sprintf("n.%s::HUGEINT - o.%[1]s::HUGEINT", c)
	}
	return fmt.Sprintf("coalesce(TRY(%s)::DOUBLE, %s)", exact, rough)
}

// differ compares millrace_old with millrace_new.
func (q *question) differ(ctx context.Context, c *Change, o *Outcome) error {
	if o.Old == nil || o.Old.Problem != "" {
		o.Added, o.MatchedBy = o.New.Rows, c.Keys
		return q.sample(ctx, "SELECT "+object("t", o.New.Columns)+" FROM millrace_new AS t LIMIT "+fmt.Sprint(c.Limit), &o.AddedRows)
	}
	both := compareColumns(o)
	if err := q.match(ctx, c, o, both); err != nil {
		return err
	}
	if o.MatchedBy == nil {
		return q.differWhole(ctx, c, o, both)
	}
	values := slices.DeleteFunc(slices.Clone(both), func(s shared) bool { return slices.Contains(o.MatchedBy, s.name) })
	from := joined(o.MatchedBy)
	if err := q.measure(ctx, o, values, from); err != nil {
		return err
	}
	return q.examples(ctx, c, o, values, from)
}

// compareColumns notes the columns that one of the answers has, and returns those of both in the new one's order.
func compareColumns(o *Outcome) (both []shared) {
	find := func(in []views.Column, name string) int {
		return slices.IndexFunc(in, func(c views.Column) bool { return c.Name == name })
	}
	for _, c := range o.New.Columns {
		if i := find(o.Old.Columns, c.Name); i >= 0 {
			both = append(both, shared{c.Name, o.Old.Columns[i].Type, c.Type})
		} else {
			o.NewColumns = append(o.NewColumns, c.Name)
		}
	}
	for _, c := range o.Old.Columns {
		if find(o.New.Columns, c.Name) < 0 {
			o.GoneColumns = append(o.GoneColumns, c.Name)
		}
	}
	return both
}

// match finds the columns that tell the rows of each answer apart: those asked for, or the group keys, or as few as do from
// the left.
func (q *question) match(ctx context.Context, c *Change, o *Outcome, both []shared) error {
	var names, exact []string
	for _, s := range both {
		names = append(names, s.name)
		if !s.float() {
			exact = append(exact, s.name)
		}
	}
	if c.Keys != nil {
		for _, k := range c.Keys {
			if !slices.Contains(names, k) {
				p := &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("the two answers do not share a column %q", k), Hint: "they share " + strings.Join(names, ", ")}
				if near := schemas.Nearest(k, names); near != "" {
					p.Hint = "did you mean " + near + "?"
				}
				return p
			}
		}
		unique, err := q.unique(ctx, c.Keys)
		if err == nil && !unique {
			err = &schemas.Problem{Kind: schemas.Usage, Message: "several rows of an answer have the same " + strings.Join(c.Keys, ", "), Hint: "name columns that tell them apart"}
		}
		o.MatchedBy = c.Keys
		return err
	}
	tries := [][]string{{}}
	if keys := slices.DeleteFunc(slices.Clone(exact), func(name string) bool { return c.Old.KeyColumns[name] == "" || c.New.KeyColumns[name] == "" }); len(keys) > 0 {
		tries = append(tries, keys)
	}
	for n := range min(len(exact), mostKeys) {
		tries = append(tries, exact[:n+1])
	}
	for _, keys := range tries {
		unique, err := q.unique(ctx, keys)
		if err != nil {
			return err
		}
		if unique {
			o.MatchedBy = keys
			return nil
		}
	}
	return nil
}

// unique says whether no two rows of an answer share the columns; without columns, whether there is one row at most.
func (q *question) unique(ctx context.Context, keys []string) (unique bool, err error) {
	distinct := "SELECT 1"
	if len(keys) > 0 {
		distinct = "SELECT DISTINCT " + quoted(keys)
	}
	unique = true
	for _, table := range []string{"millrace_old", "millrace_new"} {
		from := distinct + " FROM " + table
		if len(keys) == 0 {
			from += " LIMIT 1"
		}
		if err := q.scan(ctx, fmt.Sprintf("SELECT (SELECT count(*) FROM %s) = (SELECT count(*) FROM (%s))", table, from), func(r *sql.Rows) error {
			var one bool
			err := r.Scan(&one)
			unique = unique && one
			return err
		}); err != nil {
			return false, err
		}
	}
	return unique, nil
}

// joined is both answers side by side, as o and n.
func joined(keys []string) string {
	on := []string{"o." + here + " = n." + here}
	for _, k := range keys {
		on = append(on, fmt.Sprintf("o.%s IS NOT DISTINCT FROM n.%[1]s", schemas.QuoteIdent(k)))
	}
	return fmt.Sprintf("FROM (SELECT *, 1 AS %s FROM millrace_old) AS o FULL JOIN (SELECT *, 1 AS %[1]s FROM millrace_new) AS n ON %s", here, strings.Join(on, " AND "))
}

const inBoth = "o." + here + " IS NOT NULL AND n." + here + " IS NOT NULL"

// allSame is a condition over o and n.
func allSame(values []shared) string {
	conditions := []string{"true"}
	for _, s := range values {
		conditions = append(conditions, s.same())
	}
	return strings.Join(conditions, " AND ")
}

// measure counts rows and says how each column differs.
func (q *question) measure(ctx context.Context, o *Outcome, values []shared, from string) error {
	list := []string{
		fmt.Sprintf("count(*) FILTER (WHERE %s AND %s)", inBoth, allSame(values)), "count(*) FILTER (WHERE o." + here + " IS NULL)", "count(*) FILTER (WHERE n." + here + " IS NULL)",
		fmt.Sprintf("count(*) FILTER (WHERE %s AND NOT (%s))", inBoth, allSame(values)),
	}
	changes := make([]ColumnChange, len(values))
	into := []any{&o.Same, &o.Added, &o.Removed, &o.Changed}
	for i, s := range values {
		changes[i].Column = s.name
		list, into = append(list, fmt.Sprintf("count(*) FILTER (WHERE %s AND NOT %s)", inBoth, s.same())), append(into, &changes[i].Rows)
		if s.numeric() {
			finite := func(e string) string { return fmt.Sprintf("CASE WHEN isfinite(%s) THEN %[1]s END", e) }
			sum := func(side string) string {
				return finite("sum(" + side + "." + schemas.QuoteIdent(s.name) + "::DOUBLE)")
			}
			list = append(list, fmt.Sprintf("arg_max(%s, abs(%[1]s)) FILTER (WHERE isfinite(%[1]s))", s.less()), sum("o"), sum("n"))
			into = append(into, &changes[i].Largest, &changes[i].OldSum, &changes[i].NewSum)
		}
	}
	err := q.scan(ctx, "SELECT "+strings.Join(list, ", ")+" "+from, func(r *sql.Rows) error { return r.Scan(into...) })
	for _, change := range changes {
		if change.Rows > 0 {
			o.Differences = append(o.Differences, change)
		}
	}
	return err
}

// examples shows the rows that differ most, by the share of each column's largest difference, and some that only one has.
func (q *question) examples(ctx context.Context, c *Change, o *Outcome, values []shared, from string) error {
	order := []string{"0"}
	for _, change := range o.Differences {
		i := slices.IndexFunc(values, func(s shared) bool { return s.name == change.Column })
		if change.Largest != nil && *change.Largest != 0 {
			order = append(order, fmt.Sprintf("coalesce(abs(%s) / %g, 0)", values[i].less(), max(*change.Largest, -*change.Largest)))
		}
	}
	ties := make([]string, len(o.MatchedBy))
	for i, k := range o.MatchedBy {
		ties[i] = fmt.Sprintf(", coalesce(o.%s, n.%[1]s)", schemas.QuoteIdent(k))
	}
	tie := strings.Join(ties, "")
	err := q.scan(ctx, fmt.Sprintf("SELECT %s, %s %s WHERE %s AND NOT (%s) ORDER BY greatest(%s) DESC%s LIMIT %d", object("o", o.Old.Columns), object("n", o.New.Columns),
		from, inBoth, allSame(values), strings.Join(order, ", "), tie, c.Limit), func(r *sql.Rows) error {
		var before, after string
		err := r.Scan(&before, &after)
		o.Examples = append(o.Examples, ChangedRow{json.RawMessage(before), json.RawMessage(after)})
		return err
	})
	if err == nil {
		err = q.sample(ctx, fmt.Sprintf("SELECT %s %s WHERE o.%s IS NULL ORDER BY true%s LIMIT %d", object("n", o.New.Columns), from, here, tie, c.Limit), &o.AddedRows)
	}
	if err == nil {
		err = q.sample(ctx, fmt.Sprintf("SELECT %s %s WHERE n.%s IS NULL ORDER BY true%s LIMIT %d", object("o", o.Old.Columns), from, here, tie, c.Limit), &o.RemovedRows)
	}
	return err
}

// differWhole compares answers whose rows nothing tells apart: as many of a kind as both have are the same.
func (q *question) differWhole(ctx context.Context, c *Change, o *Outcome, both []shared) error {
	if len(both) == 0 {
		o.Added, o.Removed = o.New.Rows, o.Old.Rows
		return nil
	}
	var names []string
	var columns []views.Column
	for _, s := range both {
		name := schemas.QuoteIdent(s.name)
		if s.old != s.new {
			name += "::VARCHAR AS " + name
		}
		names, columns = append(names, name), append(columns, views.Column{Name: s.name})
	}
	except := func(a, b string) string {
		return fmt.Sprintf("(SELECT %[1]s FROM %[2]s EXCEPT ALL SELECT %[1]s FROM %[3]s)", strings.Join(names, ", "), a, b)
	}
	added, removed := except("millrace_new", "millrace_old"), except("millrace_old", "millrace_new")
	err := q.scan(ctx, fmt.Sprintf("SELECT (SELECT count(*) FROM %s), (SELECT count(*) FROM %s)", added, removed), func(r *sql.Rows) error { return r.Scan(&o.Added, &o.Removed) })
	o.Same = o.New.Rows - o.Added
	if err == nil {
		err = q.sample(ctx, fmt.Sprintf("SELECT %s FROM %s AS t ORDER BY ALL LIMIT %d", object("t", columns), added, c.Limit), &o.AddedRows)
	}
	if err == nil {
		err = q.sample(ctx, fmt.Sprintf("SELECT %s FROM %s AS t ORDER BY ALL LIMIT %d", object("t", columns), removed, c.Limit), &o.RemovedRows)
	}
	return err
}

// sample keeps the rows of a query that gives one JSON object each.
func (q *question) sample(ctx context.Context, query string, into *[]json.RawMessage) error {
	return q.scan(ctx, query, func(r *sql.Rows) error {
		var row string
		err := r.Scan(&row)
		*into = append(*into, json.RawMessage(row))
		return err
	})
}

// object is a row as JSON.
func object(table string, columns []views.Column) string {
	cells := make([]string, len(columns))
	for i, c := range columns {
		cells[i] = fmt.Sprintf("%s := %s.%[1]s", schemas.QuoteIdent(c.Name), table)
	}
	return "to_json(struct_pack(" + strings.Join(cells, ", ") + "))::VARCHAR"
}

func quoted(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = schemas.QuoteIdent(n)
	}
	return strings.Join(out, ", ")
}
