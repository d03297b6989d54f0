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

// past is the project's definitions with reference tables in the versions that a certificate names.
type past struct {
	*Definitions
	gone   map[string]string // reference -> the version that is asked for and not kept
	broken map[string]error  // view -> why it does not compile with those versions
}

// past puts the versions that a moment names in place of those of now, and compiles the views that join them anew.
func (s *Server) past(ctx context.Context, now *Definitions, asOf *AsOf) (*past, error) {
	p := &past{Definitions: now, gone: map[string]string{}, broken: map[string]error{}}
	if asOf == nil {
		return p, nil
	}
	catalog := *now.Catalog
	catalog.References = maps.Clone(catalog.References)
	other := map[string]bool{}
	modes := false
	for name, hash := range asOf.References {
		r := now.Catalog.References[name]
		if r == nil {
			continue
		}
		then, mode := r, asOf.AsItWas[name] != nil
		if r.Hash != hash {
			kept, err := versions.Load(ctx, s.store, name, hash)
			if errors.Is(err, versions.ErrNotKept) {
				p.gone[name] = hash
				continue
			}
			if err != nil {
				return nil, err
			}
			then, other[name] = kept, true
		}
		if r.AsItWas != mode || other[name] { // as the answer was made, whatever the table's declaration says now
			declared := *then
			declared.AsItWas = mode
			catalog.References[name], modes = &declared, true
		}
	}
	if !modes {
		return p, nil
	}
	p.Definitions = &Definitions{Catalog: &catalog, Views: maps.Clone(now.Views)}
	for name, v := range now.Views {
		if !slices.ContainsFunc(v.References, func(r string) bool { return other[r] }) {
			continue
		}
		text, known := catalog.ViewTexts[name]
		if !known {
			text = views.ViewText{SQL: v.SQL}
		}
		then, err := s.opts.Compiler.Compile(name, text.File, text.SQL, &catalog)
		if err != nil {
			delete(p.Views, name)
			p.broken[name] = err
			continue
		}
		p.Views[name] = then
	}
	return p, nil
}

// explain adds to what is wrong with a question the views that cannot be read as of its moment.
func (p *past) explain(err error) error {
	var known *schemas.Problem
	if len(p.broken) == 0 || !errors.As(err, &known) {
		return err
	}
	out := *known
	for _, name := range slices.Sorted(maps.Keys(p.broken)) {
		out.Hint += fmt.Sprintf("; view %s does not fit the certificate's reference tables: %v", name, p.broken[name])
	}
	return &out
}

// check refuses tables that need a version which is not kept.
func (p *past) check(tables []views.Table) error {
	for _, t := range tables {
		needs := []string{t.Name}
		if v := p.Views[t.Name]; v != nil && t.Kind != views.ReferenceTable {
			needs = v.References
		}
		for _, name := range needs {
			if hash, gone := p.gone[name]; gone {
				return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("as of: the certificate's version %.12s of reference %s is not kept, and the table has changed since", hash, name),
					Hint: "put the old file back into reference/, or leave the certificate's \"references\" out to use the table as it is now"}
			}
		}
	}
	return nil
}
