package kernel

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// MergeSQL is a query that merges the state rows of a table, one a group, sorted by the view's keys.
func MergeSQL(v *views.View, table string) string {
	q := v.MergeSQL(table)
	if v.Keys == 0 {
		return q
	}
	return fmt.Sprintf("SELECT * FROM (%s) ORDER BY %s", q, identifiers(names(v.State[:v.Keys])))
}

// StateList is a select list that gives a view's state rows, from a file for example, in State's types.
func StateList(v *views.View) string {
	out := make([]string, len(v.State))
	for i, c := range v.State {
		out[i] = fmt.Sprintf("CAST(%s AS %s) AS %[1]s", schemas.QuoteIdent(c.Name), c.Type)
	}
	return strings.Join(out, ", ")
}

// CreateState makes an empty table for a view's state rows.
func (s *Session) CreateState(ctx context.Context, table string, v *views.View) error {
	return s.Exec(ctx, fmt.Sprintf("CREATE OR REPLACE TABLE %s (%s)", schemas.QuoteIdent(table), declare(v.State)))
}

// StateSchema is what state rows of a view look like in Arrow.
func (s *Session) StateSchema(ctx context.Context, v *views.View) (*arrow.Schema, error) {
	out := make([]string, len(v.State))
	for i, c := range v.State {
		out[i] = fmt.Sprintf("CAST(NULL AS %s) AS %s", c.Type, schemas.QuoteIdent(c.Name))
	}
	rows, err := s.Arrow(ctx, "SELECT "+strings.Join(out, ", ")+" WHERE false")
	if err != nil {
		return nil, err
	}
	defer rows.Release()
	return rows.Schema(), nil
}

func names(columns []views.Column) []string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = c.Name
	}
	return out
}

func identifiers(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = schemas.QuoteIdent(n)
	}
	return strings.Join(quoted, ", ")
}

// declare is the columns of a CREATE TABLE.
func declare(columns []views.Column) string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = schemas.QuoteIdent(c.Name) + " " + c.Type
	}
	return strings.Join(out, ", ")
}
