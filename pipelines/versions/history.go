package versions

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// Era is a stretch of a topic's log whose records a view joins with the same versions of its reference tables.
type Era struct {
	View       *views.View                 // compiled with them
	References map[string]*views.Reference // those that the view joins
	From, To   schemas.Frontier            // half-open; a partition that is not in From: from its start; To nil: without end
}

// Within is the part of a range that lies in the era; it may be empty.
func (e *Era) Within(r schemas.Range) schemas.Range {
	r.From = max(r.From, e.From[r.Partition])
	if e.To != nil {
		r.To = min(r.To, e.To[r.Partition])
	}
	r.To = max(r.To, r.From)
	return r
}

// History says which versions of reference tables were in force when. Safe for concurrent use.
type History struct {
	store    store.Store
	compiler *views.Compiler
	catalog  *views.Catalog

	mu     sync.Mutex
	tables map[string]*views.Reference // by name and hash
	views  map[string]*views.View      // by definition of now and hashes
}

// NewHistory is the history of a catalog's tables, which it does not change.
func NewHistory(s store.Store, compiler *views.Compiler, catalog *views.Catalog) *History {
	return &History{store: s, compiler: compiler, catalog: catalog, tables: map[string]*views.Reference{}, views: map[string]*views.View{}}
}

// AsItWas are the reference tables of a view that it joins as they were.
func (h *History) AsItWas(v *views.View) []string {
	return slices.DeleteFunc(slices.Clone(v.References), func(name string) bool {
		r := h.catalog.References[name]
		return r == nil || !r.AsItWas
	})
}

// Eras cuts a topic's log for one of its views by the versions of its manifest, in order of time; there is one at least. A
// view that joins no table as it was, or whose tables have no version there yet, has one era with the versions of now.
// Errors: a Problem if a version is not kept or does not fit the view.
func (h *History) Eras(ctx context.Context, known []manifest.TableVersion, v *views.View) ([]Era, error) {
	names := h.AsItWas(v)
	force := map[string]string{} // reference -> hash
	eras := []Era{{}}
	hashes := []map[string]string{force}
	for _, version := range known {
		if !slices.Contains(names, version.Reference) {
			continue
		}
		last := len(eras) - 1
		_, again := force[version.Reference]
		switch {
		case !again: // it is in force over all before, too
			for _, m := range hashes {
				m[version.Reference] = version.Hash
			}
		case force[version.Reference] == version.Hash:
		case maps.Equal(eras[last].From, version.From):
			force[version.Reference] = version.Hash
		default:
			force = maps.Clone(force)
			force[version.Reference] = version.Hash
			eras[last].To = version.From
			eras, hashes = append(eras, Era{From: version.From}), append(hashes, force)
		}
	}
	for i := range eras {
		var err error
		if eras[i].View, eras[i].References, err = h.then(ctx, v, hashes[i]); err != nil {
			return nil, err
		}
	}
	return eras, nil
}

// then is a view compiled with versions of some of its tables, and all its tables.
func (h *History) then(ctx context.Context, v *views.View, hashes map[string]string) (*views.View, map[string]*views.Reference, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	refs, key, other := map[string]*views.Reference{}, []string{v.Definition}, false
	for _, name := range v.References {
		refs[name] = h.catalog.References[name]
		if hash := hashes[name]; hash != "" && hash != refs[name].Hash {
			r, err := h.table(ctx, name, hash)
			if err != nil {
				return nil, nil, err
			}
			refs[name], other = r, true
			key = append(key, name, hash)
		}
	}
	if !other {
		return v, refs, nil
	}
	id := strings.Join(key, " ")
	if h.views[id] == nil {
		then, err := h.compile(v, refs)
		if err != nil {
			return nil, nil, err
		}
		h.views[id] = then
	}
	return h.views[id], refs, nil
}

func (h *History) table(ctx context.Context, name, hash string) (*views.Reference, error) {
	key := name + " " + hash
	if h.tables[key] != nil {
		return h.tables[key], nil
	}
	r, err := Load(ctx, h.store, name, hash)
	if errors.Is(err, ErrNotKept) {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("the version %.12s of reference %s, with which records are joined as it was, is not kept", hash, name),
			Hint: "restore references/" + name + "/ of the store from a copy, or declare history: as it is now in reference/" + name + ".yaml"}
	}
	if err != nil {
		return nil, err
	}
	r.AsItWas = true
	h.tables[key] = r
	return r, nil
}

// compile makes a view with other versions of its tables. Its state must be the same, for it is merged with that of others.
func (h *History) compile(v *views.View, refs map[string]*views.Reference) (*views.View, error) {
	catalog := &views.Catalog{Topics: h.catalog.Topics, References: maps.Clone(h.catalog.References)}
	maps.Copy(catalog.References, refs)
	then, err := h.compiler.Compile(v.Name, "", v.SQL, catalog) // macros and views are in it already
	if err == nil && (!slices.Equal(then.State, v.State) || !slices.Equal(then.Columns, v.Columns)) {
		err = errors.New("the types of its columns are others")
	}
	if err != nil {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("view %s does not fit an older version of %s, with which records are joined as it was", v.Name, strings.Join(h.AsItWas(v), " or ")), Err: err,
			Hint: "give the changed table another name, or declare history: as it is now"}
	}
	return then, nil
}

// New are the versions of now that a manifest does not know to be in force yet. One that could not be kept is none of them:
// it would be lost with the next.
func (h *History) New(ctx context.Context, known []manifest.TableVersion) []manifest.TableVersion {
	force := map[string]string{}
	for _, v := range known {
		force[v.Reference] = v.Hash
	}
	var out []manifest.TableVersion
	for _, name := range slices.Sorted(maps.Keys(h.catalog.References)) {
		r := h.catalog.References[name]
		if !r.AsItWas || force[name] == r.Hash {
			continue
		}
		if _, err := find(ctx, h.store, name, r.Hash); err == nil {
			out = append(out, manifest.TableVersion{Reference: name, Hash: r.Hash})
		}
	}
	return out
}
