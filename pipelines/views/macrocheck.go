package views

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
	"github.com/millrace/millrace/schemas"
)

//go:embed builtin.sql
var builtinText string

// builtin reads the macros that every project has.
func (c *Compiler) readBuiltin() error {
	m, problems := c.ReadMacros("", builtinText)
	if len(problems) > 0 {
		return fmt.Errorf("built-in macros: %w", problems[0])
	}
	for _, one := range m.all() {
		one.file = nil
	}
	c.builtin = m
	return nil
}

// checkName refuses a macro whose name is taken.
func (c *Compiler) checkName(m *Macros, o *macro) error {
	key := strings.ToLower(o.name)
	if key == engine.SessionName || c.builtin != nil && (c.builtin.scalar[key] != nil || c.builtin.table[key] != nil) {
		return m.src.Wrong(o.at, fmt.Sprintf("%s is built in", o.name), "give yours another name")
	}
	if m.scalar[key] != nil || m.table[key] != nil {
		return m.src.Wrong(o.at, fmt.Sprintf("there are two macros %s", o.name), "remove one, or make them overloads: (a) AS ..., (a, b) AS ...")
	}
	return nil
}

// checkRecursion refuses a macro that calls itself, directly or by a circle of calls.
func (m *Macros) checkRecursion(of *macro) error {
	var problem error
	done := map[*macro]bool{}
	var follow func(o *macro, path []string)
	follow = func(o *macro, path []string) {
		done[o] = true
		tree.Walk(o.body, func(n tree.Node) bool {
			if name := n.Str("function_name"); name != "" && problem == nil {
				for _, kind := range []bool{false, true} {
					next, _, ok := overload(m.kind(kind)[strings.ToLower(name)], n)
					switch {
					case ok && next == of:
						problem = m.src.Wrong(of.at, "a macro may not call itself: "+strings.Join(append(path, of.name), " calls "), "let it end: a list with list_reduce, or a view WITH RECURSIVE")
					case ok && !done[next]:
						follow(next, append(slices.Clip(path), next.name))
					}
				}
			}
			return problem == nil
		})
	}
	follow(of, []string{of.name})
	return problem
}

// CheckMacros has DuckDB create the macros over the tables of a project, which finds what only shows when names are
// looked up: unknown columns, functions and tables. Problems are of kind Usage, at their place in the file.
func (c *Compiler) CheckMacros(m *Macros, known Tables) []*schemas.Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.duck.DropTables()
	if err := c.createAll(known); err != nil {
		return []*schemas.Problem{asProblem(err)}
	}
	created, problems := c.createMacros(c.builtin, nil)
	if len(problems) == 0 {
		var more []string
		more, problems = c.createMacros(m, known.ViewTexts)
		created = append(created, more...)
	}
	for _, drop := range slices.Backward(created) {
		if err := c.duck.Exec(drop); err != nil {
			return append(problems, asProblem(fmt.Errorf("%s: %s", drop, engine.ErrorOf(err).Message)))
		}
	}
	return problems
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

// createMacros runs the statements in an order in which each finds what it calls, and says how to drop what it made. A
// view that is not there has a problem of its own.
func (c *Compiler) createMacros(m *Macros, views map[string]ViewText) (drops []string, problems []*schemas.Problem) {
	var left []tree.Statement
	for _, st := range m.statements {
		if m.named(st) != nil {
			left = append(left, st)
		}
	}
	for progress := true; progress && len(left) > 0; {
		progress, problems = false, nil
		var failed []tree.Statement
		for _, st := range left {
			text := m.src.Text[st[0].From:st[len(st)-1].To]
			if err := c.duck.Exec(text); err != nil {
				failed = append(failed, st)
				e := engine.ErrorOf(err)
				if _, _, isView := lookup(views, e.Name); !isView && !m.isBroken(e.Name, left) {
					problems = append(problems, asProblem(m.problem(st, e)))
				}
				continue
			}
			progress = true
			drops = append(drops, m.drop(st))
		}
		left = failed
	}
	return drops, problems
}

// named is the macro that a statement makes, nil if it was left out.
func (m *Macros) named(st tree.Statement) *macro {
	for _, one := range m.all() {
		if one.at >= st[0].From && one.at < st[len(st)-1].To {
			return one
		}
	}
	return nil
}

// isBroken says whether a function that is not there is a macro with a problem of its own.
func (m *Macros) isBroken(name string, left []tree.Statement) bool {
	return m.broken[strings.ToLower(name)] || slices.ContainsFunc(left, func(st tree.Statement) bool { return strings.EqualFold(m.named(st).name, name) })
}

// problem is what DuckDB says of a CREATE MACRO.
func (m *Macros) problem(st tree.Statement, e engine.Error) error {
	one := m.named(st)
	var names []string
	for _, p := range one.params {
		names = append(names, p.name)
	}
	if e.Candidates != "" {
		names = append(names, strings.Split(e.Candidates, ",")...)
	}
	at := one.at
	if e.Position >= 0 {
		at = st[0].From + e.Position
	}
	return e.Problem(m.src, at, names)
}

// drop is the statement that undoes a CREATE MACRO.
func (m *Macros) drop(st tree.Statement) string {
	one := m.named(st)
	if one.table {
		return "DROP MACRO TABLE " + schemas.QuoteIdent(one.name)
	}
	return "DROP MACRO " + schemas.QuoteIdent(one.name)
}
