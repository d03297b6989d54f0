package serving

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// importBytes is how much of slices' rows is brought into an engine at once.
const importBytes = 32 << 20

// attachView makes the table that holds a merged view's state rows over all layers, and returns its name. Part picks
// the half: "batch", "speed" or "" for all. Rows that are not wanted need not be there.
func (q *question) attachView(ctx context.Context, v *views.View, part string, want wanted) (string, error) {
	p := q.pins[v.Topic]
	eras, err := q.eras(ctx, p, v)
	if err != nil {
		return "", err
	}
	if err := q.joinNow(ctx, &eras[0]); err != nil {
		return "", err
	}
	name := "millrace." + part + "." + v.Name
	all, counts := &cover{}, Counts{}
	var states []string
	for i := range eras {
		a := &eraState{question: q, p: p, era: &eras[i], name: name, part: part}
		if len(eras) > 1 {
			a.p, a.name = p.within(a.era), fmt.Sprintf("%s.%d", name, i)
		}
		state, c, raw, err := a.attach(ctx, want)
		if err != nil {
			return "", err
		}
		states = append(states, "SELECT * FROM "+schemas.QuoteIdent(state))
		all.partials, all.history = append(all.partials, c.partials...), append(all.history, c.history...)
		all.slices, all.raw = append(all.slices, c.slices...), append(all.raw, c.raw...)
		counts.Records, counts.Rejects = counts.Records+raw.Records, counts.Rejects+raw.Rejects
		if len(eras) == 1 {
			name = state
		}
	}
	if err := q.leave(ctx, &eras[len(eras)-1]); err != nil {
		return "", err
	}
	if part == "" {
		q.count(p, all, counts)
	}
	q.sources = append(q.sources, sourceOf(v.Name, part, v.Class, p, all).joins(eras))
	if len(eras) == 1 {
		return name, nil
	}
	return name, q.session.Exec(ctx, fmt.Sprintf("CREATE VIEW %s AS %s", schemas.QuoteIdent(name), strings.Join(states, " UNION ALL ")))
}

// eraState is the state rows of a view over one of its eras.
type eraState struct {
	*question
	p    *pinned // within the era
	era  *versions.Era
	name string // of its tables, or what theirs begin with
	part string
}

// attach makes their table and returns its name, what it was made of, and what was read from the log.
func (q *eraState) attach(ctx context.Context, want wanted) (table string, c *cover, raw Counts, err error) {
	v, p, name := q.era.View, q.p.halfOf(q.part), q.name
	for whole := false; !whole; {
		if c, err = q.coverView(ctx, p, v); err != nil {
			return "", nil, raw, fmt.Errorf("view %s: %w", v.Name, err)
		}
		if whole, err = q.attachSlices(ctx, p, v, name, want, c.slices); err != nil {
			return "", nil, raw, fmt.Errorf("slices of %s: %w", v.Name, err)
		}
	}
	if len(c.history)+len(c.raw) > 0 {
		if err := q.joinThen(ctx, q.era); err != nil {
			return "", nil, raw, err
		}
	}
	state, raw, err := q.attachRecords(ctx, p, v, name, c)
	if err != nil {
		return "", nil, raw, err
	}
	table, err = q.union(ctx, p, v, name, state, c)
	return table, c, raw, err
}

// union is one table over the slices' rows, those of records that nothing covers, and the partials.
func (q *question) union(ctx context.Context, p *pinned, v *views.View, name, state string, c *cover) (string, error) {
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
			path, err := q.local(ctx, p, f.Path, f.Bytes, f.CRC32C)
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
// its name, empty if there is nothing, and what was read from the log. The tables that the view joins are in the session.
func (q *question) attachRecords(ctx context.Context, p *pinned, v *views.View, name string, c *cover) (table string, raw Counts, err error) {
	if len(c.history)+len(c.raw) == 0 {
		return "", raw, nil
	}
	k, err := kernel.In(ctx, q.session, kernel.Spec{Name: "kernel." + name, Topic: p.topic, Views: []*views.View{v}, Together: true})
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
