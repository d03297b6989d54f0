package kernel

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// Folder merges state rows of views in an engine of its own. Not safe for concurrent use.
type Folder struct {
	session *Session
	schemas map[string]*arrow.Schema // of the State of the definitions it has a table for
}

// NewFolder opens one. The caller closes it.
func NewFolder(ctx context.Context, l Limits) (*Folder, error) {
	s, err := OpenSession(ctx, l)
	if err != nil {
		return nil, err
	}
	return &Folder{session: s, schemas: map[string]*arrow.Schema{}}, nil
}

// Close frees all that the folder holds.
func (f *Folder) Close() { f.session.Close() }

// Schema is that of a view's state rows.
func (f *Folder) Schema(ctx context.Context, v *views.View) (*arrow.Schema, error) {
	if s := f.schemas[v.Definition]; s != nil {
		return s, nil
	}
	schema, err := f.session.StateSchema(ctx, v)
	if err == nil {
		err = f.session.CreateState(ctx, v.Definition, v)
	}
	if err != nil {
		return nil, err
	}
	f.schemas[v.Definition] = schema
	return schema, nil
}

// Fold merges state rows of the view's Schema, one a group, sorted by the view's keys. Nil: they take more than limit bytes
// in memory. Ownership: the batches stay the caller's, who releases the answer.
func (f *Folder) Fold(ctx context.Context, v *views.View, rows []arrow.RecordBatch, limit int64) (out arrow.RecordBatch, err error) {
	if _, err := f.Schema(ctx, v); err != nil {
		return nil, err
	}
	if err = f.session.Import(ctx, v.Definition, rows...); err == nil {
		out, err = f.session.ArrowWithin(ctx, MergeSQL(v, v.Definition), limit)
	}
	if empty := f.session.Exec(ctx, "TRUNCATE "+schemas.QuoteIdent(v.Definition)); err == nil && empty != nil {
		if err = empty; out != nil {
			out.Release()
		}
		return nil, err
	}
	return out, err
}

// Checkpoint gives back the memory of rows that are gone, which the engine keeps without it.
func (f *Folder) Checkpoint(ctx context.Context) error { return f.session.Exec(ctx, "CHECKPOINT") }
