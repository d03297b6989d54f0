package serving

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// Change asks what a view's answer would be if its SELECT were another.
type Change struct {
	Old   *views.View // nil: there is none yet
	New   *views.View
	Keys  []string // columns by which rows are matched; nil: they are found
	Limit int      // examples of each kind
	AsOf  *AsOf
}

// Outcome is what comes of a Change, old and new over the same offsets. Rows are compared in the columns that both have.
type Outcome struct {
	View        string            `json:"view"`
	Old         *Side             `json:"old"` // null: there is none
	New         *Side             `json:"new"`
	NewColumns  []string          `json:"new_columns"`
	GoneColumns []string          `json:"gone_columns"`
	MatchedBy   []string          `json:"matched_by"` // empty: one row each; null: no columns tell rows apart, and whole rows are matched
	Same        int64             `json:"same"`
	Added       int64             `json:"added"`
	Removed     int64             `json:"removed"`
	Changed     int64             `json:"changed"`
	Differences []ColumnChange    `json:"differences"` // of the changed rows
	Examples    []ChangedRow      `json:"examples"`    // the biggest differences first
	AddedRows   []json.RawMessage `json:"added_rows"`
	RemovedRows []json.RawMessage `json:"removed_rows"`
	Certificate *Certificate      `json:"certificate"`
}

// Side is one of the two answers and what it took.
type Side struct {
	Definition string         `json:"definition"`
	Class      views.Class    `json:"class"`
	Reasons    []string       `json:"reasons"` // why it is raw
	Columns    []views.Column `json:"columns"`
	Problem    string         `json:"problem,omitempty"` // why there is no answer; old only
	Rows       int64          `json:"rows"`
	Seconds    float64        `json:"seconds"`
	Partials   int            `json:"partials"` // files of the batch layer
	Slices     int            `json:"slices"`
	Offsets    int64          `json:"offsets"` // read record by record, from data files and the log
}

// ColumnChange is how one column differs. The numbers are those of a column of numbers, null where they are not finite.
type ColumnChange struct {
	Column  string   `json:"column"`
	Rows    int64    `json:"rows"`              // that differ in it
	Largest *float64 `json:"largest,omitempty"` // difference, new less old
	OldSum  *float64 `json:"old_sum,omitempty"` // over all rows
	NewSum  *float64 `json:"new_sum,omitempty"`
}

// ChangedRow is one row in both answers, as JSON objects.
type ChangedRow struct {
	Old json.RawMessage `json:"old"`
	New json.RawMessage `json:"new"`
}

// newSide is the changed view's name within the question: no view can have it.
const newSide = "millrace changed view"

// WhatIf answers for the old view as any question would, for the new one as if it had just been put into the project, and
// compares. Nothing is written. Errors: Problems of kind Usage for a new view that has no answer and for keys that do not
// tell rows apart; as Query's.
func (s *Server) WhatIf(ctx context.Context, defs *Definitions, c Change) (*Outcome, error) {
	tables := []views.Table{{Kind: views.ViewTable, Name: newSide}}
	mine := &Definitions{Catalog: defs.Catalog, Views: map[string]*views.View{}}
	changed := *c.New
	changed.Name = newSide
	mine.Views[newSide] = &changed
	if c.Old != nil {
		mine.Views[c.Old.Name] = c.Old
		tables = append(tables, views.Table{Kind: views.ViewTable, Name: c.Old.Name})
	}
	q, err := s.begin(ctx, mine)
	if err != nil {
		return nil, err
	}
	defer q.close()
	if err := q.pinAll(ctx, tables, c.AsOf); err != nil {
		return nil, err
	}
	o := &Outcome{View: c.New.Name, NewColumns: []string{}, GoneColumns: []string{}, Differences: []ColumnChange{}, Examples: []ChangedRow{}, AddedRows: []json.RawMessage{}, RemovedRows: []json.RawMessage{}}
	if c.Old != nil {
		if o.Old, err = q.side(ctx, c.Old, c.Old.Name, "millrace_old"); err != nil {
			var known *schemas.Problem
			if !errors.As(err, &known) || known.Kind != schemas.Usage {
				return nil, err
			}
			o.Old.Problem = known.Message // what is to be mended, perhaps
		}
	}
	if o.New, err = q.side(ctx, c.New, newSide, "millrace_new"); err != nil {
		return nil, err
	}
	if err := q.differ(ctx, &c, o); err != nil {
		return nil, q.problem(ctx, err)
	}
	if o.Certificate, err = q.certify(ctx); err != nil {
		return nil, err
	}
	delete(o.Certificate.Views, newSide)
	o.Certificate.Views[c.New.Name] = c.New.Definition
	return o, nil
}

// side makes a table of a view's answer. The Side is there also with an error.
func (q *question) side(ctx context.Context, v *views.View, name, table string) (*Side, error) {
	began, first := time.Now(), len(q.sources)
	s := &Side{Definition: v.Definition, Class: v.Class, Reasons: v.Reasons, Columns: v.Columns}
	err := q.attach(ctx, views.Table{Kind: views.ViewTable, Name: name})
	if err == nil {
		err = q.session.Exec(ctx, fmt.Sprintf("CREATE TABLE %s AS SELECT * FROM %s", table, schemas.QuoteIdent(name)))
	}
	if err == nil {
		err = q.scan(ctx, "SELECT count(*) FROM "+table, func(r *sql.Rows) error { return r.Scan(&s.Rows) })
	}
	s.Seconds = time.Since(began).Seconds()
	for _, source := range q.sources[first:] {
		s.Partials, s.Slices = s.Partials+source.Partials, s.Slices+source.Slices
		for _, r := range append(source.Files, source.Log...) {
			s.Offsets += r.Len()
		}
	}
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case kernel.OfRecords(err):
		err = &schemas.Problem{Kind: schemas.Usage, Message: "view " + v.Name + " has no answer over these records: " + kernel.Sentence(err), Hint: "TRY_CAST or a WHERE in its SQL mends it"}
	case err != nil:
		err = q.damaged(err)
	}
	return s, err
}
