package serving

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// Answer is a question's rows, in the question's order, and what they cover. Close it when done.
type Answer struct {
	Columns     []views.Column
	Certificate *Certificate
	q           *question
}

// Close frees the answer.
func (a *Answer) Close() { a.q.close() }

// Rows calls f with each row as a JSON array, in order.
func (a *Answer) Rows(ctx context.Context, f func(row json.RawMessage) error) error {
	names := columnNames(len(a.Columns)) // two of the answer's may be the same
	cells := make([]string, len(names))
	for i, c := range names {
		cells[i] = "coalesce(to_json(" + c + ")::VARCHAR, 'null')"
	}
	return a.q.scan(ctx, "SELECT '[' || concat_ws(',', "+strings.Join(cells, ", ")+") || ']' FROM millrace_answer AS t("+strings.Join(names, ", ")+")", func(r *sql.Rows) error {
		var row string
		if err := r.Scan(&row); err != nil {
			return err
		}
		return f(json.RawMessage(row))
	})
}

// Text calls f with each row's cells as DuckDB prints them; nil is NULL.
func (a *Answer) Text(ctx context.Context, f func(cells []*string) error) error {
	cells := make([]*string, len(a.Columns))
	into := make([]any, len(cells))
	for i := range cells {
		into[i] = &cells[i]
	}
	return a.q.scan(ctx, "SELECT CAST(COLUMNS(*) AS VARCHAR) FROM millrace_answer", func(r *sql.Rows) error {
		if err := r.Scan(into...); err != nil {
			return err
		}
		return f(cells)
	})
}

// Format is a file format that DuckDB writes.
type Format string

// The formats that File knows.
const (
	CSV     Format = "csv"
	NDJSON  Format = "ndjson"
	Parquet Format = "parquet"
)

// File writes the answer to a new file in the answer's scratch folder, gone after Close, and returns its path. Null is
// what stands for NULL in CSV. Parquet's types are those of parquetColumns.
func (a *Answer) File(ctx context.Context, f Format, null string) (string, error) {
	options := map[Format]string{
		CSV:     "FORMAT csv, HEADER true, NULLSTR " + schemas.QuoteText(null),
		NDJSON:  "FORMAT json",
		Parquet: "FORMAT parquet, COMPRESSION zstd, WRITE_BLOOM_FILTER false",
	}[f]
	if options == "" {
		return "", &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("format %q is not known", f), Hint: "use csv, ndjson or parquet"}
	}
	file, err := os.CreateTemp(a.q.scratch, "answer-*."+string(f))
	if err != nil {
		return "", err
	}
	file.Close()
	path, source := filepath.ToSlash(file.Name()), "SELECT * FROM millrace_answer"
	if f == Parquet {
		if source, err = a.parquetColumns(ctx); err != nil {
			return "", a.q.problem(ctx, err)
		}
	}
	if err := a.q.session.Exec(ctx, fmt.Sprintf("COPY (%s) TO %s (%s)", source, schemas.QuoteText(path), options)); err != nil {
		return "", a.q.problem(ctx, err)
	}
	return path, nil
}
