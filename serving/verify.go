package serving

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// floatTolerance is the law's: 1e-12 of the sum of the magnitudes that went into a floating sum, or of the larger answer
// where the view has no such measure.
const floatTolerance = 1e-12

// Verdict is what Verify found of one view.
type Verdict struct {
	View        string       `json:"view"`
	Class       views.Class  `json:"class"`
	Rows        int64        `json:"rows"`
	Differing   int64        `json:"differing"`
	Problem     string       `json:"problem,omitempty"`  // why there is no answer to compare
	Examples    []Difference `json:"examples,omitempty"` // the first few
	Certificate *Certificate `json:"certificate"`
}

// Difference is one row that the two answers do not share, as JSON; empty where one has no such row.
type Difference struct {
	Merged    string `json:"merged"`
	Recompute string `json:"recompute"`
}

// Verify compares a view's merged answer with a recompute from every record, both over the same pinned offsets.
func (s *Server) Verify(ctx context.Context, defs *Definitions, v *views.View, asOf *AsOf) (*Verdict, error) {
	parsed, err := s.opts.Compiler.Query("SELECT * FROM "+schemas.QuoteIdent(v.Name), tablesOf(defs))
	if err != nil {
		return nil, err
	}
	q, err := s.open(ctx, defs, parsed, asOf)
	if err != nil {
		return nil, err
	}
	defer q.close()
	verdict := &Verdict{View: v.Name, Class: v.Class}
	if verdict.Certificate, err = q.certify(ctx); err != nil {
		return nil, err
	}
	q.keep(ctx)
	if len(q.history.AsItWas(v)) > 0 {
		bare := *v
		bare.Measured = nil // the plans of eras do not measure
		v = &bare
	}
	recompute, more, err := q.recomputed(ctx, v)
	if err != nil {
		return nil, failing(v.Name, q.damaged(err))
	}
	if err := q.session.Exec(ctx, numbered("millrace_merged", "SELECT * FROM "+schemas.QuoteIdent(v.Name), v, nil)); err != nil {
		return nil, failing(v.Name, fmt.Errorf("verify %s: %w", v.Name, q.damaged(err)))
	}
	if err := q.session.Exec(ctx, numbered("millrace_recompute", recompute, v, more)); err != nil {
		return nil, failing(v.Name, fmt.Errorf("verify %s: %w", v.Name, q.damaged(err)))
	}
	return verdict, q.compare(ctx, v, verdict)
}

// recomputed is the SELECT that gives a view's answer from every record, and the columns that it has beside the view's.
func (q *question) recomputed(ctx context.Context, v *views.View) (query string, more []string, err error) {
	if v.Class.FromPartials() && len(q.history.AsItWas(v)) > 0 {
		eras, err := q.eras(ctx, q.pins[v.Topic], v)
		if err == nil {
			query, err = q.recomputeEras(ctx, v, eras, "recompute")
		}
		return query, nil, err
	}
	tables, err := q.rows(ctx, v, "recompute")
	if err != nil || len(v.Measured) == 0 {
		return v.RawSQL(tables), nil, err
	}
	for _, i := range v.Measured {
		more = append(more, magnitudeColumn(i))
	}
	return v.MagnitudeSQL(tables), more, nil
}

// magnitudeColumn is the recompute's measure of an answer's column.
func magnitudeColumn(i int) string { return fmt.Sprintf("g%d", i) }

// numbered materialises a query with a row number in the order of its columns, floating ones last and roughly first, so
// that equal answers get equal numbers. The query gives the view's columns and those in more.
func numbered(table, query string, v *views.View, more []string) string {
	var exact, rough, floats []string
	for i, c := range v.Columns {
		if isFloat(c.Type) {
			rough = append(rough, fmt.Sprintf("TRY_CAST(c%d AS FLOAT)", i))
			floats = append(floats, fmt.Sprintf("c%d", i))
		} else {
			exact = append(exact, fmt.Sprintf("c%d", i))
		}
	}
	return fmt.Sprintf("CREATE TABLE %s AS SELECT row_number() OVER (ORDER BY %s) AS n, * FROM (%s) AS t(%s)",
		table, strings.Join(slices.Concat(exact, rough, floats), ", "), query, strings.Join(append(columnNames(len(v.Columns)), more...), ", "))
}

func (q *question) compare(ctx context.Context, v *views.View, verdict *Verdict) error {
	same := make([]string, len(v.Columns))
	for i, c := range v.Columns {
		same[i] = fmt.Sprintf("m.c%d IS NOT DISTINCT FROM r.c%[1]d", i)
		if isFloat(c.Type) {
			measure := fmt.Sprintf("abs(m.c%d), abs(r.c%[1]d)", i)
			if slices.Contains(v.Measured, i) {
				measure += ", r." + magnitudeColumn(i)
			}
			// DuckDB's NaN is no less than NaN.
			same[i] = fmt.Sprintf("(%s OR isfinite(m.c%d - r.c%[2]d) AND abs(m.c%[2]d - r.c%[2]d) <= %g * greatest(%s))", same[i], i, floatTolerance, measure)
		}
	}
	from := fmt.Sprintf("FROM millrace_merged m FULL JOIN millrace_recompute r USING (n) WHERE m.n IS NULL OR r.n IS NULL OR NOT coalesce(%s, false)", strings.Join(same, " AND "))
	if err := q.scan(ctx, "SELECT (SELECT count(*) FROM millrace_merged), (SELECT count(*) "+from+")", func(r *sql.Rows) error {
		return r.Scan(&verdict.Rows, &verdict.Differing)
	}); err != nil {
		return err
	}
	row := func(t string) string {
		cells := make([]string, len(v.Columns))
		for i, c := range v.Columns {
			cells[i] = fmt.Sprintf("%s := %s.c%d", schemas.QuoteIdent(c.Name), t, i)
		}
		return fmt.Sprintf("CASE WHEN %s.n IS NULL THEN '' ELSE to_json(struct_pack(%s))::VARCHAR END", t, strings.Join(cells, ", "))
	}
	return q.scan(ctx, "SELECT "+row("m")+", "+row("r")+" "+from+" ORDER BY n LIMIT 10", func(r *sql.Rows) error {
		var d Difference
		if err := r.Scan(&d.Merged, &d.Recompute); err != nil {
			return err
		}
		verdict.Examples = append(verdict.Examples, d)
		return nil
	})
}

func (q *question) scan(ctx context.Context, query string, f func(*sql.Rows) error) error {
	rows, err := q.session.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func isFloat(t string) bool { return t == "DOUBLE" || t == "FLOAT" }

func columnNames(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("c%d", i)
	}
	return out
}
