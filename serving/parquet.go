package serving

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/schemas"
)

// parquetColumns is a query that gives the answer with types that Parquet holds whole. DuckDB's COPY by itself writes a
// HUGEINT as the nearest DOUBLE, an INTERVAL in milliseconds, a TIMETZ without its zone. Here a HUGEINT or UHUGEINT is
// DECIMAL(38,0), or text if a value of its column has 39 digits or it lies within a STRUCT, LIST or MAP; the others are
// text that casts back.
func (a *Answer) parquetColumns(ctx context.Context) (string, error) {
	rows, err := a.q.session.Query(ctx, "SELECT * FROM millrace_answer LIMIT 0")
	if err != nil {
		return "", err
	}
	names, err := rows.Columns() // two of one name in the answer have been told apart
	if err = errors.Join(err, rows.Close()); err != nil {
		return "", err
	}
	cells := make([]string, len(names))
	for i, c := range a.Columns {
		name := schemas.QuoteIdent(names[i])
		cells[i] = name
		t, err := schemas.ParseType(c.Type)
		if err != nil { // one that no field can have: as DuckDB writes it
			continue
		}
		to := parquetType(t)
		if t.ID == schemas.HugeInt || t.ID == schemas.UHugeInt {
			fits := false
			if err := a.q.scan(ctx, fmt.Sprintf("SELECT count(*) = 0 FROM millrace_answer WHERE %s IS NOT NULL AND TRY_CAST(%[1]s AS DECIMAL(38,0)) IS NULL", name),
				func(r *sql.Rows) error { return r.Scan(&fits) }); err != nil {
				return "", err
			}
			if fits {
				to = &schemas.Type{ID: schemas.Decimal, Width: 38}
			}
		}
		if to != t {
			cells[i] = fmt.Sprintf("CAST(%s AS %s) AS %[1]s", name, to)
		}
	}
	return "SELECT " + strings.Join(cells, ", ") + " FROM millrace_answer", nil
}

// parquetType is t, with text in the place of what DuckDB would not write whole.
func parquetType(t *schemas.Type) *schemas.Type {
	switch t.ID {
	case schemas.HugeInt, schemas.UHugeInt, schemas.BigNum, schemas.Interval, schemas.Bit, schemas.TimeTZ, schemas.TimeNS:
		return &schemas.Type{ID: schemas.Varchar}
	}
	out := *t
	out.Fields = slices.Clone(t.Fields)
	same := true
	for i, f := range t.Fields {
		out.Fields[i].Type = parquetType(f.Type)
		same = same && out.Fields[i].Type == f.Type
	}
	if t.Elem != nil {
		out.Elem = parquetType(t.Elem)
		same = same && out.Elem == t.Elem
	}
	if t.Key != nil {
		out.Key = parquetType(t.Key)
		same = same && out.Key == t.Key
	}
	if same {
		return t
	}
	return &out
}
