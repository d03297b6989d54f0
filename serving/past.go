package serving

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// past is the project as a certificate names it: topics, reference tables and views that have changed since are those of then.
type past struct {
	*Definitions
	gone map[string]*schemas.Problem // table -> why it cannot be read as of then
}

// past puts what a moment names in place of what there is now. What is not kept is refused only to a question that reads it.
func (s *Server) past(ctx context.Context, now *Definitions, asOf *AsOf) (*past, error) {
	p := &past{Definitions: now, gone: map[string]*schemas.Problem{}}
	if asOf == nil {
		return p, nil
	}
	catalog := *now.Catalog
	catalog.Topics, catalog.References = maps.Clone(catalog.Topics), maps.Clone(catalog.References)
	then := &Definitions{Catalog: &catalog, Views: maps.Clone(now.Views), past: true}
	other, err := p.topics(ctx, s, asOf, &catalog)
	if err != nil {
		return nil, err
	}
	modes, err := p.references(ctx, s, asOf, &catalog, other)
	if err != nil {
		return nil, err
	}
	changed, err := p.views(ctx, s, asOf, then, other)
	if err != nil {
		return nil, err
	}
	if changed || modes || len(other) > 0 {
		p.Definitions = then
	}
	return p, nil
}

// topics puts the topics' declarations of then in place, and tells which are others than now.
func (p *past) topics(ctx context.Context, s *Server, asOf *AsOf, then *views.Catalog) (other map[string]bool, err error) {
	other = map[string]bool{}
	for name, certified := range asOf.Topics {
		hash := certified.Schema
		if t := then.Topics[name]; t == nil || hash == "" || t.Hash() == hash {
			continue
		}
		kept, err := versions.LoadTopic(ctx, s.store, hash)
		switch {
		case errors.Is(err, versions.ErrNotKept):
			p.lose(name, nil, "put topics/"+name+".yaml back as it was to get that answer", "the certificate's declaration %.12s of topic %s is not kept, and its file has changed since", hash, name)
		case err != nil:
			return nil, err
		default:
			kept.Name = name
			then.Topics[name], other[name] = kept, true
		}
	}
	return other, nil
}

// references puts the reference tables of then in place. It adds those that are others than now, and says whether one is
// joined in another way.
func (p *past) references(ctx context.Context, s *Server, asOf *AsOf, then *views.Catalog, other map[string]bool) (modes bool, err error) {
	for name, hash := range asOf.References {
		r := then.References[name]
		if r == nil {
			continue
		}
		kept, mode := r, asOf.AsItWas[name] != nil
		if r.Hash != hash {
			kept, err = versions.Load(ctx, s.store, name, hash)
			if errors.Is(err, versions.ErrNotKept) {
				p.lose(name, nil, "put the old file back into reference/, or leave the certificate's \"references\" out to use the table as it is now",
					"the certificate's version %.12s of reference %s is not kept, and the table has changed since", hash, name)
				continue
			}
			if err != nil {
				return false, err
			}
			other[name] = true
		}
		if r.AsItWas != mode || other[name] { // as the answer was made, whatever the table's declaration says now
			declared := *kept
			declared.AsItWas = mode
			then.References[name], modes = &declared, true
		}
	}
	return modes, nil
}

// views puts the views of then in place: those whose definition is another, and those that read what has changed.
func (p *past) views(ctx context.Context, s *Server, asOf *AsOf, then *Definitions, other map[string]bool) (changed bool, err error) {
	names := maps.Clone(asOf.Views)
	if names == nil {
		names = map[string]string{}
	}
	for name, v := range then.Views {
		if slices.ContainsFunc(slices.Concat(v.Topics, v.References), func(table string) bool { return other[table] }) {
			names[name] = asOf.Views[name]
		}
	}
	for name, hash := range names {
		now := then.Views[name]
		if now != nil && now.Definition == hash && !slices.ContainsFunc(now.References, func(table string) bool { return other[table] }) {
			continue
		}
		v, err := p.view(ctx, s, now, name, hash, then.Catalog)
		if err != nil {
			return false, err
		}
		if v != nil {
			then.Views[name], changed = v, true
		}
	}
	return changed, nil
}

// view is one view of then: by the SELECT that its definition has, else by that of now if it is the same; nil if it is lost.
func (p *past) view(ctx context.Context, s *Server, now *views.View, name, hash string, then *views.Catalog) (*views.View, error) {
	sql, err := versions.LoadView(ctx, s.store, hash)
	if err != nil && !errors.Is(err, versions.ErrNotKept) {
		return nil, err
	}
	kept := err == nil
	if !kept && now == nil {
		p.lose(name, nil, "put views/"+name+".sql back as it was to get that answer", "the certificate's definition %.12s of view %s is not kept, and the view is gone since", hash, name)
		return nil, nil
	}
	if !kept {
		sql = now.SQL
	}
	v, err := s.opts.Compiler.Compile(name, "", sql, &views.Catalog{Topics: then.Topics, References: then.References}) // macros and views are in it
	switch {
	case err != nil:
		p.lose(name, err, "ask without the certificate for the view as it is now", "view %s does not fit the certificate's tables", name)
	case !kept && hash != "" && hash != now.Definition && hash != v.Definition:
		p.lose(name, nil, "put views/"+name+".sql back as it was to get that answer, or leave the certificate's \"views\" out to use the view as it is now",
			"the certificate's definition %.12s of view %s is not kept, and the view has changed since", hash, name)
	default:
		return v, nil
	}
	return nil, nil
}

// lose notes why a table cannot be read as of then.
func (p *past) lose(name string, cause error, hint, format string, args ...any) {
	p.gone[name] = &schemas.Problem{Kind: schemas.Usage, Message: "as of: " + fmt.Sprintf(format, args...), Err: cause, Hint: hint}
}

// explain adds to what is wrong with a question what it cannot read as of its moment.
func (p *past) explain(err error) error {
	var known *schemas.Problem
	if len(p.gone) == 0 || !errors.As(err, &known) {
		return err
	}
	out := *known
	for _, name := range slices.Sorted(maps.Keys(p.gone)) {
		out.Hint += "; " + p.gone[name].Error()
	}
	return &out
}

// check refuses tables that are not to be had as of then.
func (p *past) check(tables []views.Table) error {
	for _, t := range tables {
		needs := []string{t.Name}
		if v := p.Views[t.Name]; v != nil && (t.Kind == views.ViewTable || t.Kind == views.BatchTable || t.Kind == views.SpeedTable) {
			needs = slices.Concat(needs, v.Topics, v.References)
		}
		for _, name := range needs {
			if problem := p.gone[name]; problem != nil {
				return problem
			}
		}
	}
	return nil
}
