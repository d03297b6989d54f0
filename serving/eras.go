package serving

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// history is that of a question's reference tables. Those of now are kept as long as the project's definitions stay.
func (s *Server) history(d *Definitions) *versions.History {
	if d.past {
		return versions.NewHistory(s.store, s.opts.Compiler, d.Catalog)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tables == nil || s.tablesOf != d.Catalog {
		s.tables, s.tablesOf = versions.NewHistory(s.store, s.opts.Compiler, d.Catalog), d.Catalog
	}
	return s.tables
}

// versions are those that are in force for a topic's records, as a certificate says, or dataset.Versions.
func (q *question) versions(ctx context.Context, p *pinned, asOf *AsOf) ([]manifest.TableVersion, error) {
	if !q.defs.Catalog.AsItWas() {
		return nil, nil
	}
	if asOf != nil && len(asOf.AsItWas) > 0 {
		var out []manifest.TableVersion
		for _, name := range slices.Sorted(maps.Keys(asOf.AsItWas)) {
			for _, v := range asOf.AsItWas[name][p.topic.Name] {
				out = append(out, manifest.TableVersion{Reference: name, Hash: v.Hash, From: v.From})
			}
		}
		slices.SortStableFunc(out, func(a, b manifest.TableVersion) int {
			switch { // frontiers of one log, one after the other
			case maps.Equal(a.From, b.From):
				return 0
			case a.From.AtMost(b.From):
				return -1
			}
			return 1
		})
		return out, nil
	}
	return dataset.Versions(ctx, q.server.store, p.manifest, p.topic.Name, p.id)
}

// eras cuts what is pinned for a merged view; those that begin beyond its end are left out.
func (q *question) eras(ctx context.Context, p *pinned, v *views.View) ([]versions.Era, error) {
	eras, err := q.history.Eras(ctx, p.versions, v)
	if err != nil {
		return nil, err
	}
	for len(eras) > 1 && len(eras[len(eras)-1].From.Ranges(p.to)) == 0 {
		eras = eras[:len(eras)-1]
		eras[len(eras)-1].To = nil
	}
	return eras, nil
}

// within is the part of what is pinned that lies in an era.
func (p *pinned) within(e *versions.Era) *pinned {
	part := *p
	part.from, part.to = p.from.Clone(), p.to.Clone()
	for partition := range p.to {
		r := e.Within(schemas.Range{Partition: partition, From: p.from[partition], To: p.to[partition]})
		part.from[partition], part.to[partition] = r.From, r.To
	}
	part.below = p.below.Clone()
	for partition, offset := range p.below {
		part.below[partition] = min(offset, part.to[partition])
	}
	return &part
}

// halfOf is the part of what is pinned that batch or speed, or with neither all of it, stands for.
func (p *pinned) halfOf(part string) *pinned {
	switch part {
	case "batch":
		return p.within(&versions.Era{To: p.half})
	case "speed":
		return p.within(&versions.Era{From: p.half})
	}
	return p
}

// joinNow makes the tables that are joined as they are, which a view's final plan may read too.
func (q *question) joinNow(ctx context.Context, e *versions.Era) error {
	for _, name := range slices.Sorted(maps.Keys(e.References)) {
		if r := e.References[name]; !r.AsItWas {
			if err := q.session.LoadReferences(ctx, []*views.Reference{r}); err != nil {
				return err
			}
		}
	}
	return nil
}

// joinThen puts an era's versions of the others under their names, until leave.
func (q *question) joinThen(ctx context.Context, e *versions.Era) error {
	for _, name := range slices.Sorted(maps.Keys(e.References)) {
		r := e.References[name]
		if !r.AsItWas {
			continue
		}
		err := q.session.Exec(ctx, "DROP TABLE IF EXISTS "+schemas.QuoteIdent(name))
		if err == nil {
			err = q.session.LoadReferences(ctx, []*views.Reference{r})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leave puts the versions of now back where the question itself reads a table that views join as it was.
func (q *question) leave(ctx context.Context, e *versions.Era) error {
	for _, name := range slices.Sorted(maps.Keys(e.References)) {
		if !e.References[name].AsItWas {
			continue
		}
		if err := q.session.Exec(ctx, "DROP TABLE IF EXISTS "+schemas.QuoteIdent(name)); err != nil {
			return err
		}
		if q.direct[name] {
			if err := q.session.LoadReferences(ctx, []*views.Reference{q.defs.Catalog.References[name]}); err != nil {
				return err
			}
		}
	}
	return nil
}

// recomputeEras is a view's answer from all rows, each joined with the versions of its era: the partial plan over the rows
// of each, for its SELECT knows one version of a table only.
func (q *question) recomputeEras(ctx context.Context, v *views.View, eras []versions.Era, use string) (string, error) {
	columns := slices.Clone(v.Wanted[v.Topic])
	for _, c := range []string{"_partition", "_offset"} {
		if !slices.Contains(columns, c) {
			columns = append(columns, c)
		}
	}
	rows, err := q.attachRows(ctx, use+"."+v.Name+"."+v.Topic, v.Topic, columns)
	if err != nil {
		return "", err
	}
	state := use + "." + v.Name + ".state"
	if err := q.session.CreateState(ctx, state, v); err != nil {
		return "", err
	}
	if err := q.joinNow(ctx, &eras[0]); err != nil {
		return "", err
	}
	p := q.pins[v.Topic]
	for i := range eras {
		var where []string
		part := p.within(&eras[i])
		for _, r := range part.from.Ranges(part.to) {
			where = append(where, fmt.Sprintf("_partition = %d AND _offset >= %d AND _offset < %d", r.Partition, r.From, r.To))
		}
		if len(where) == 0 {
			continue
		}
		source := fmt.Sprintf("%s.%d", state, i)
		err := q.joinThen(ctx, &eras[i])
		if err == nil {
			err = q.session.Exec(ctx, fmt.Sprintf("CREATE VIEW %s AS SELECT * FROM %s WHERE %s", schemas.QuoteIdent(source), schemas.QuoteIdent(rows), strings.Join(where, " OR ")))
		}
		if err == nil {
			err = q.session.Exec(ctx, fmt.Sprintf("INSERT INTO %s %s", schemas.QuoteIdent(state), eras[i].View.PartialSQL(source)))
		}
		if err != nil {
			return "", err
		}
	}
	return v.FinalSQL(state), q.leave(ctx, &eras[len(eras)-1])
}

// certifyVersions notes with which versions views have joined records.
func (q *question) certifyVersions(c *Certificate) {
	for _, name := range slices.Sorted(maps.Keys(q.views)) { // of several topics the last one's view decides
		v := q.defs.Views[name]
		for _, table := range q.history.AsItWas(v) {
			for _, topic := range v.Topics {
				var list []VersionFrom
				for _, known := range q.pins[topic].versions {
					if known.Reference == table {
						list = append(list, VersionFrom{known.Hash, known.From})
					}
				}
				if list == nil { // nothing is in force yet but what there is now
					list = []VersionFrom{{q.defs.Catalog.References[table].Hash, schemas.Frontier{}}}
				}
				if c.AsItWas == nil {
					c.AsItWas = map[string]map[string][]VersionFrom{}
				}
				if c.AsItWas[table] == nil {
					c.AsItWas[table] = map[string][]VersionFrom{}
				}
				c.AsItWas[table][topic] = list
				if !q.direct[table] {
					c.References[table] = list[len(list)-1].Hash
				}
			}
		}
	}
}
