package serving

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// JSON writes {"columns":[{"name","type"}],"rows":[[...]],"certificate"}, row by row.
func (a *Answer) JSON(ctx context.Context, w io.Writer) error {
	certificate, err := json.Marshal(a.Certificate)
	if err != nil {
		return err
	}
	return a.object(ctx, w, `,"certificate":`+string(certificate))
}

// RowsJSON is JSON without the certificate, which says which layers answered: the same rows give the same bytes.
func (a *Answer) RowsJSON(ctx context.Context, w io.Writer) error { return a.object(ctx, w, "") }

// object writes an object of the columns, the rows and what is to follow.
func (a *Answer) object(ctx context.Context, w io.Writer, rest string) error {
	columns := a.Columns
	if columns == nil {
		columns = []views.Column{}
	}
	head, err := json.Marshal(columns)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, `{"columns":%s,"rows":[`, head); err != nil {
		return err
	}
	separator := ""
	var written error
	err = a.Rows(ctx, func(row json.RawMessage) error {
		_, written = fmt.Fprintf(w, "%s%s", separator, row)
		separator = ","
		return written
	})
	if written != nil {
		return written
	}
	if err != nil {
		return a.q.problem(ctx, err)
	}
	_, err = fmt.Fprintf(w, "]%s}\n", rest)
	return err
}

// arrowRows is the length of an Arrow stream's batches.
const arrowRows = 64 << 10

// Arrow writes the answer as an Arrow IPC stream. HUGEINT and UHUGEINT are decimal128(38, 0); what else Arrow cannot
// hold without loss is text, as [schemas.Type.Carrier] says. Errors: a Problem of kind Usage if a HUGEINT has 39 digits.
func (a *Answer) Arrow(ctx context.Context, w io.Writer) error {
	names := columnNames(len(a.Columns)) // two of the answer's may be the same
	cells := make([]string, len(a.Columns))
	for i, c := range a.Columns {
		cells[i] = fmt.Sprintf("CAST(%s AS %s) AS %s", names[i], arrowType(c.Type), schemas.QuoteIdent(c.Name))
	}
	var out *ipc.Writer
	for at := 0; ; at += arrowRows {
		// One more batch than needed, with no rows, ends it: its schema is what an empty answer has.
		batch, err := a.q.session.Arrow(ctx, fmt.Sprintf("SELECT %s FROM millrace_answer AS t(%s) WHERE rowid >= %d AND rowid < %d", strings.Join(cells, ", "), strings.Join(names, ", "), at, at+arrowRows))
		if err != nil {
			return a.q.problem(ctx, err)
		}
		rows := batch.NumRows()
		if out == nil {
			out = ipc.NewWriter(w, ipc.WithSchema(batch.Schema()))
		}
		if rows > 0 {
			err = out.Write(batch)
		}
		batch.Release()
		if err != nil {
			out.Close()
			return err
		}
		if rows < arrowRows {
			return out.Close()
		}
	}
}

// arrowType is the type that a column travels as.
func arrowType(column string) string {
	t, err := schemas.ParseType(column)
	switch {
	case err != nil:
		return "VARCHAR"
	case t.ID == schemas.HugeInt, t.ID == schemas.UHugeInt:
		return "DECIMAL(38,0)"
	}
	return t.Carrier().String()
}
