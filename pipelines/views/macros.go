package views

import (
	"maps"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/expand"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
	"github.com/millrace/millrace/schemas"
)

// Macros are what the CREATE MACRO statements of one file define. A call is replaced by the macro's body before a SELECT
// is compiled, so no plan and no answer needs a macro. Immutable once CheckMacros is done, and safe for concurrent use.
type Macros = expand.Macros

// ReadMacros reads CREATE MACRO and CREATE FUNCTION statements. DuckDB parses parameters and bodies. A macro with a
// problem is left out; the others may be used. Problems are of kind Usage, at their place in the file.
func (c *Compiler) ReadMacros(file, text string) (*Macros, []*schemas.Problem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return expand.ReadMacros(c.duck, c.builtin, file, text, c.checkBody)
}

// checkBody refuses in a macro what no view may call.
func (c *Compiler) checkBody(src tree.Source, body tree.Node, isMacro func(name string) bool) error {
	return checkCalls(c.duck, src, body, true, isMacro)
}

// CheckMacros has DuckDB create the macros over the tables of a project, which finds what only shows when names are
// looked up: unknown columns, functions and tables. Problems are of kind Usage, at their place in the file.
func (c *Compiler) CheckMacros(m *Macros, known Tables) []*schemas.Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.duck.DropTables()
	if err := c.createAll(known); err != nil {
		return []*schemas.Problem{{Kind: schemas.Failed, Message: err.Error()}}
	}
	return expand.CheckMacros(c.duck, c.builtin, m, func(name string) bool {
		_, _, ok := lookup(known.ViewTexts, name)
		return ok
	})
}

// createAll makes every table that a macro may read.
func (c *Compiler) createAll(known Tables) error {
	for _, name := range slices.Sorted(maps.Keys(known.Topics)) {
		if err := c.duck.CreateTable("", name, topicColumns(known.Topics[name])); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known.References)) {
		if err := c.duck.CreateTable("", name, known.References[name].Columns); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known.Views)) {
		if err := c.duck.CreateTable("", name, known.Views[name]); err != nil {
			return err
		}
	}
	return nil
}

// expand puts everything into the view's query that stands for other SQL.
func (b *build) expand() error {
	return expand.Everything(b.duck, &b.src, b.view.Name, b.query, expand.Names{Macros: b.cat.macros(b.builtin),
		View: func(name string) (expand.View, bool) {
			declared, text, ok := lookup(b.cat.ViewTexts, name)
			if _, _, isTable := b.cat.table(name); !ok && !isTable && strings.EqualFold(name, b.view.Name) {
				return expand.View{Name: b.view.Name}, true // which is refused: a view may not read itself
			}
			return expand.View{Name: declared, File: text.File, SQL: text.SQL}, ok
		},
		Table: func(t tree.Node) (string, string, []Column, bool) {
			name, cols, ok := b.cat.table(t.Str("table_name"))
			return "", name, cols, ok
		},
	})
}

// expand puts the macros' bodies into the query.
func (a *adhoc) expand() error {
	return expand.Calls(a.duck, &a.src, a.query, expand.Names{Macros: a.known.macros(a.builtin), Table: func(n tree.Node) (string, string, []Column, bool) {
		t, cols, ok := a.table(n)
		return t.Schema, t.Name, cols, ok
	}})
}

// macros are those that a query may call.
func (c *Catalog) macros(builtin *Macros) []*Macros {
	if c.Macros == nil {
		return []*Macros{builtin}
	}
	return []*Macros{builtin, c.Macros}
}

// table is a topic or a reference, as a table.
func (c *Catalog) table(name string) (string, []Column, bool) {
	if k, t, ok := lookup(c.Topics, name); ok {
		return k, topicColumns(t), true
	}
	if k, r, ok := lookup(c.References, name); ok {
		return k, r.Columns, true
	}
	return "", nil, false
}
