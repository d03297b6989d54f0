package serving

import (
	"context"
	"fmt"
	"strings"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// attach puts a table under one name the question uses.
func (q *question) attach(ctx context.Context, t views.Table) error {
	name := schemas.QuoteIdent(t.Name)
	if t.Schema != "" {
		name = t.Schema + "." + name
	}
	var source string
	var err error
	switch t.Kind {
	case views.TopicTable:
		source, err = q.attachRows(ctx, "millrace.rows."+t.Name, t.Name, t.Columns)
	case views.RejectsTable:
		source, err = q.attachRejects(ctx, t.Name)
	case views.ReferenceTable:
		refs, err := q.references([]string{t.Name})
		if err != nil {
			return err
		}
		return q.session.LoadReferences(ctx, refs)
	case views.ViewTable, views.BatchTable, views.SpeedTable:
		v := q.defs.Views[t.Name]
		answer, err := q.merge(ctx, v, t.Schema, wantedOf(v, t.Equals))
		if err != nil {
			return err
		}
		return q.session.Exec(ctx, fmt.Sprintf("CREATE VIEW %s AS %s", name, answer))
	}
	if err != nil {
		return err
	}
	return q.session.Exec(ctx, fmt.Sprintf("CREATE VIEW %s AS SELECT * FROM %s", name, schemas.QuoteIdent(source)))
}

// merge is the SELECT that answers a view from its partials, or from the rows themselves if it cannot be merged.
func (q *question) merge(ctx context.Context, v *views.View, half string, want wanted) (string, error) {
	if v.Class.FromPartials() {
		state, err := q.attachView(ctx, v, half, want)
		if err != nil {
			return "", err
		}
		return v.FinalSQL(state), nil
	}
	if half != "" {
		return "", &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("%s.%s: the view is answered from raw and has no halves", half, v.Name), Hint: "ask for " + v.Name}
	}
	source := Source{Name: v.Name, Class: v.Class, Reasons: v.Reasons, Topic: strings.Join(v.Topics, ", "), Files: []schemas.Range{}, Log: []schemas.Range{}}
	for _, name := range v.References {
		source.Joins = append(source.Joins, Join{Reference: name, Versions: []string{q.defs.Catalog.References[name].Hash}})
	}
	q.sources = append(q.sources, source)
	return q.recompute(ctx, v, "answer")
}

// recompute is the view's own SELECT over all rows of its topics, which get names that begin with use.
func (q *question) recompute(ctx context.Context, v *views.View, use string) (string, error) {
	tables, err := q.rows(ctx, v, use)
	if err != nil {
		return "", err
	}
	return v.RawSQL(tables), nil
}

// rows attaches all rows of a view's topics under names that begin with use, and its references.
func (q *question) rows(ctx context.Context, v *views.View, use string) (map[string]string, error) {
	tables := map[string]string{}
	for _, t := range v.Topics {
		rows, err := q.attachRows(ctx, use+"."+v.Name+"."+t, t, v.Wanted[t])
		if err != nil {
			return nil, err
		}
		tables[t] = rows
	}
	refs, err := q.references(v.References)
	if err != nil {
		return nil, err
	}
	return tables, q.session.LoadReferences(ctx, refs)
}
