package serving

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// importBytes is how much of slices' rows is brought into an engine at once.
const importBytes = 32 << 20

// attachView makes the table that holds a merged view's state rows over all layers, and returns its name. Part picks
// the half: "batch", "speed" or "" for all. Rows that are not wanted need not be there.
func (q *question) attachView(ctx context.Context, v *views.View, part string, want wanted) (string, error) {
	p := q.pins[v.Topic]
	name := "millrace." + part + "." + v.Name
	refs, err := q.references(v.References)
	if err == nil {
		err = q.session.LoadReferences(ctx, refs)
	}
	if err != nil {
		return "", err
	}
	var c *cover
	for whole := false; !whole; {
		if c, err = q.coverView(ctx, p, v); err != nil {
			return "", fmt.Errorf("view %s: %w", v.Name, err)
		}
		switch part {
		case "batch":
			c.slices, c.raw = nil, nil
		case "speed":
			c.partials, c.history = nil, nil
		}
		if whole, err = q.attachSlices(ctx, p, v, name, want, c.slices); err != nil {
			return "", fmt.Errorf("slices of %s: %w", v.Name, err)
		}
	}
	state, raw, err := q.attachRecords(ctx, p, v, part, refs, c)
	if err != nil {
		return "", err
	}
	if part == "" {
		q.count(p, c, raw)
	}
	q.sources = append(q.sources, sourceOf(v.Name, part, v.Class, p, c))
	var sources []string
	if len(c.slices) > 0 {
		sources = append(sources, "SELECT * FROM "+schemas.QuoteIdent(name))
	}
	if state != "" {
		sources = append(sources, "SELECT * FROM "+schemas.QuoteIdent(state))
	}
	var paths []string
	for _, f := range c.partials {
		if f.Rows > 0 {
			path, err := q.local(ctx, p, f.Path)
			if err != nil {
				return "", err
			}
			paths = append(paths, path)
		}
	}
	if len(paths) > 0 {
		sources = append(sources, fmt.Sprintf("SELECT %s FROM read_parquet(%s)", kernel.StateList(v), list(paths)))
	}
	if len(sources) == 0 {
		if err := q.session.CreateState(ctx, name, v); err != nil {
			return "", err
		}
		return name, nil
	}
	all := name + ".all"
	return all, q.session.Exec(ctx, fmt.Sprintf("CREATE VIEW %s AS %s", schemas.QuoteIdent(all), strings.Join(sources, " UNION ALL ")))
}

// attachSlices brings slices' rows into a table, if there are any. It says no if one of them cannot be read: others must be
// chosen then.
func (q *question) attachSlices(ctx context.Context, p *pinned, v *views.View, table string, want wanted, chosen []*slicelog.Entry) (whole bool, err error) {
	if len(chosen) == 0 {
		return true, nil
	}
	schema, err := q.server.stateSchema(ctx, q.session, v)
	if err == nil {
		err = q.session.CreateState(ctx, table, v)
	}
	for at := 0; err == nil && at < len(chosen); {
		n, size := 1, chosen[at].Size
		for ; at+n < len(chosen) && chosen[at+n].Partition == chosen[at].Partition && size+chosen[at+n].Size <= importBytes; n++ {
			size += chosen[at+n].Size
		}
		var rows []arrow.RecordBatch
		if rows, whole, err = q.server.slices.rows(ctx, p, chosen[at:at+n], schema); err != nil || !whole {
			return false, err
		}
		rows = want.narrow(rows)
		err = q.session.ImportWhere(ctx, table, want.where, rows...)
		slicelog.ReleaseRows(rows)
		at += n
	}
	return err == nil, err
}

// attachRecords brings what neither partials nor slices cover through the kernel into a table of state rows, and returns
// its name, empty if there is nothing, and what was read from the log.
func (q *question) attachRecords(ctx context.Context, p *pinned, v *views.View, part string, refs []*views.Reference, c *cover) (table string, raw Counts, err error) {
	if len(c.history)+len(c.raw) == 0 {
		return "", raw, nil
	}
	k, err := kernel.In(ctx, q.session, kernel.Spec{Name: "kernel." + part + "." + v.Name, Topic: p.topic, Views: []*views.View{v}, References: refs, Together: true})
	if err != nil {
		return "", raw, fmt.Errorf("view %s: %w", v.Name, err)
	}
	defer k.Close()
	if table, err = k.StateTable(ctx, 0); err != nil {
		return "", raw, fmt.Errorf("view %s: %w", v.Name, err)
	}
	for _, gap := range c.history {
		if err := q.addHistory(ctx, k, p, gap); err != nil {
			return "", raw, err
		}
	}
	raw, err = q.addRaw(ctx, k, p, c.raw)
	return table, raw, err
}

// stateSchema is what state rows of a view look like in Arrow.
func (s *Server) stateSchema(ctx context.Context, session *kernel.Session, v *views.View) (*arrow.Schema, error) {
	if known, ok := s.schemas.Load(v.Definition); ok {
		return known.(*arrow.Schema), nil
	}
	schema, err := session.StateSchema(ctx, v)
	if err == nil {
		s.schemas.Store(v.Definition, schema)
	}
	return schema, err
}
