package expand

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
	"github.com/millrace/millrace/schemas"
)

//go:embed builtin.sql
var builtinText string

// Builtin reads the macros that every project has.
func Builtin(duck *engine.Conn, check Check) (*Macros, error) {
	m, problems := ReadMacros(duck, nil, "", builtinText, check)
	if len(problems) > 0 {
		return nil, fmt.Errorf("built-in macros: %w", problems[0])
	}
	for _, one := range m.all() {
		one.file = nil
	}
	return m, nil
}

// checkName refuses a macro whose name is taken.
func (c macroReader) checkName(m *Macros, o *macro) error {
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

// CheckMacros has DuckDB create the macros over the tables that exist now, which finds what only shows when names are
// looked up: unknown columns, functions and tables. A view that is not there has a problem of its own. Problems are of
// kind Usage, at their place in the file.
func CheckMacros(duck *engine.Conn, builtin, m *Macros, isView func(name string) bool) []*schemas.Problem {
	created, problems := builtin.create(duck, isView)
	if len(problems) == 0 {
		var more []string
		more, problems = m.create(duck, isView)
		created = append(created, more...)
	}
	for _, drop := range slices.Backward(created) {
		if err := duck.Exec(drop); err != nil {
			return append(problems, asProblem(fmt.Errorf("%s: %s", drop, engine.ErrorOf(err).Message)))
		}
	}
	return problems
}

// create runs the statements in an order in which each finds what it calls, and says how to drop what it made.
func (m *Macros) create(duck *engine.Conn, isView func(name string) bool) (drops []string, problems []*schemas.Problem) {
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
			if err := duck.Exec(text); err != nil {
				failed = append(failed, st)
				e := engine.ErrorOf(err)
				if !isView(e.Name) && !m.isBroken(e.Name, left) {
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
