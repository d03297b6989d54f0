package expand

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
	"github.com/millrace/millrace/schemas"
)

// Macros are what the CREATE MACRO statements of one file define. A call is replaced by the macro's body before a SELECT
// is compiled, so no plan and no answer needs a macro. Immutable once CheckMacros is done, and safe for concurrent use.
type Macros struct {
	src        tree.Source
	scalar     map[string][]*macro // overloads by lower-case name
	table      map[string][]*macro
	broken     map[string]bool  // by lower-case name: those left out
	statements []tree.Statement // one for each macro
}

// macro is one overload.
type macro struct {
	name   string
	params []param
	body   tree.Node // an expression, or the query of a table macro; its places are those of the file
	table  bool
	file   *tree.Source // nil: it is built in
	at     int          // where its name stands
}

type param struct {
	name  string
	value tree.Node // the default; nil: an argument must be given
}

// Check refuses calls in a macro's body that may stand in no view; isMacro says which names are macros that make tables.
type Check func(src tree.Source, body tree.Node, isMacro func(name string) bool) error

// ReadMacros reads CREATE MACRO and CREATE FUNCTION statements. DuckDB parses parameters and bodies. A macro with a
// problem is left out; the others may be used. Problems are of kind Usage, at their place in the file.
func ReadMacros(duck *engine.Conn, builtin *Macros, file, text string, check Check) (*Macros, []*schemas.Problem) {
	c := macroReader{duck, builtin}
	m := &Macros{src: tree.Source{File: file, Text: text}, scalar: map[string][]*macro{}, table: map[string][]*macro{}, broken: map[string]bool{}}
	var problems []*schemas.Problem
	leaveOut := func(name string, err error) {
		name = strings.ToLower(name)
		delete(m.scalar, name)
		delete(m.table, name)
		m.broken[name] = true
		problems = append(problems, asProblem(err))
	}
	for _, st := range tree.Statements(text) {
		if name, err := c.readMacro(m, st); err != nil {
			leaveOut(name, err)
			continue
		}
		m.statements = append(m.statements, st)
	}
	for _, one := range m.all() {
		err := check(m.src, tree.Node{"body": one.body}, func(name string) bool { return m.table[name] != nil || m.broken[name] })
		if err == nil {
			err = m.checkRecursion(one)
		}
		if err != nil {
			leaveOut(one.name, err)
		}
	}
	return m, problems
}

func (m *Macros) kind(table bool) map[string][]*macro {
	if table {
		return m.table
	}
	return m.scalar
}

// all lists the macros in order of names.
func (m *Macros) all() []*macro {
	var out []*macro
	for _, of := range []map[string][]*macro{m.scalar, m.table} {
		for _, name := range slices.Sorted(maps.Keys(of)) {
			out = append(out, of[name]...)
		}
	}
	return out
}

// macroReader reads the macros of a file.
type macroReader struct {
	duck    *engine.Conn
	builtin *Macros // whose names are taken; nil while these are read
}

const macroHint = "write CREATE MACRO name(a, b := 1) AS expression; or CREATE MACRO name(a) AS TABLE SELECT ...;"

// readMacro reads one statement, with all its overloads, and gives the macro's name, as far as it was read.
func (c macroReader) readMacro(m *Macros, st tree.Statement) (string, error) {
	src := m.src
	i, ok := afterWords(st)
	if !ok {
		return "", src.Wrong(st[0].From, "only CREATE MACRO may stand here", macroHint)
	}
	if i+1 >= len(st) || st[i].Kind != tree.WordToken && st[i].Kind != tree.QuotedToken {
		return "", src.Wrong(st.Place(i), "the macro has no name", macroHint)
	}
	name := st[i]
	said := name.Text
	if st[i+1].Sign() != "(" {
		return said, src.Wrong(st[i+1].From, "the macro's parameters are missing", "write them in parentheses behind its name; () if there are none")
	}
	var all []*macro
	for i+1 < len(st) {
		o, next, err := c.readOverload(src, st, name, i+1)
		if err != nil {
			return said, err
		}
		if slices.ContainsFunc(all, func(other *macro) bool { return len(other.params) == len(o.params) || other.table != o.table }) {
			return o.name, src.Wrong(st[i+1].From, fmt.Sprintf("two overloads of %s take as many parameters", o.name), "tell overloads apart by how many parameters they have")
		}
		all = append(all, o)
		i = next
	}
	if err := c.checkName(m, all[0]); err != nil {
		return "", err
	}
	m.kind(all[0].table)[strings.ToLower(all[0].name)] = all
	return all[0].name, nil
}

// afterWords finds the token after CREATE [OR REPLACE] [TEMP] MACRO|FUNCTION [IF NOT EXISTS].
func afterWords(st tree.Statement) (int, bool) {
	i := 0
	next := func(word string) bool {
		if i < len(st) && st[i].IsWord(word) {
			i++
			return true
		}
		return false
	}
	if !next("CREATE") {
		return 0, false
	}
	if next("OR") && !next("REPLACE") {
		return 0, false
	}
	if !next("TEMP") {
		next("TEMPORARY")
	}
	if !next("MACRO") && !next("FUNCTION") {
		return 0, false
	}
	if next("IF") && (!next("NOT") || !next("EXISTS")) {
		return 0, false
	}
	return i, true
}

// readOverload reads `(parameters) AS body` from token i on, up to the comma before the next overload.
func (c macroReader) readOverload(src tree.Source, st tree.Statement, name tree.Token, i int) (o *macro, next int, err error) {
	end := i + 1
	for end < len(st) && (st[end].Sign() != ")" || st[end].Depth > st[i].Depth) {
		end++
	}
	if end+1 >= len(st) || !st[end+1].IsWord("AS") {
		return nil, 0, src.Wrong(st.Place(end+1), "AS is missing behind the macro's parameters", macroHint)
	}
	o = &macro{file: &src, at: name.From}
	if err := c.readParameters(src, o, name, src.Text[st[i].From:st[end].To], st[i].From); err != nil {
		return nil, 0, err
	}
	body := end + 2
	if body < len(st) && st[body].IsWord("TABLE") {
		o.table = true
		body++
	}
	for next = body; next < len(st) && !overloadAt(st, next); next++ {
	}
	if body >= len(st) || next == body {
		return nil, 0, src.Wrong(st.Place(body), "the macro has no body", macroHint)
	}
	return o, next, c.readBody(src, o, st[body].From, st[next-1].To)
}

// overloadAt says whether the tokens from i on are `, (...) AS`.
func overloadAt(st tree.Statement, i int) bool {
	if st[i].Sign() != "," || st[i].Depth > 0 || i+1 >= len(st) || st[i+1].Sign() != "(" {
		return false
	}
	for i += 2; i < len(st) && st[i].Depth > 0; i++ {
	}
	return i+1 < len(st) && st[i+1].IsWord("AS")
}

// readParameters lets DuckDB make a macro of these parameters, and takes name and parameters from it.
func (c macroReader) readParameters(src tree.Source, o *macro, name tree.Token, params string, at int) error {
	head := "CREATE MACRO " + name.Text
	if err := c.duck.Exec(head + params + " AS NULL"); err != nil {
		e := engine.ErrorOf(err)
		place := tree.ByteOffset(head+params, e.Position) - len(head)
		if e.Position < 0 || place < 0 || place >= len(params) {
			place = 0
		}
		return src.Wrong(at+place, e.FirstLine(), macroHint)
	}
	var names, types string
	err := c.duck.Rows("SELECT function_name, parameters::JSON::VARCHAR, parameter_types::JSON::VARCHAR FROM duckdb_functions() WHERE NOT internal", nil, func(r *sql.Rows) error {
		return r.Scan(&o.name, &names, &types)
	})
	if err != nil {
		return fmt.Errorf("read a macro's parameters: %s", engine.ErrorOf(err).Message)
	}
	if err := c.duck.Exec("DROP MACRO " + schemas.QuoteIdent(o.name)); err != nil {
		return fmt.Errorf("drop a macro: %s", engine.ErrorOf(err).Message)
	}
	var named []string
	var typed []*string
	if err := json.Unmarshal([]byte(names), &named); err != nil {
		return fmt.Errorf("read a macro's parameters: %w", err)
	}
	if err := json.Unmarshal([]byte(types), &typed); err != nil {
		return fmt.Errorf("read the types of a macro's parameters: %w", err)
	}
	if slices.ContainsFunc(typed, func(t *string) bool { return t != nil }) {
		return src.Wrong(at, "parameters with types are not supported", "leave the types out; CAST(a AS INTEGER) in the body has the same effect")
	}
	values, err := c.defaults(params, at)
	if err != nil {
		return err
	}
	for _, n := range named {
		o.params = append(o.params, param{n, values[strings.ToLower(n)]})
	}
	return nil
}

// defaults are the values of the parameters that have one: (a, b := 1) is a call's argument list too.
func (c macroReader) defaults(params string, at int) (map[string]tree.Node, error) {
	const before = "SELECT f"
	n, err := c.duck.Select(before + params)
	if err != nil {
		return nil, err
	}
	out := map[string]tree.Node{}
	for _, arg := range n.List("select_list")[0].(tree.Node).Nodes("children") {
		if name := arg.Str("alias"); name != "" {
			tree.Shift(arg, at-len(before))
			out[strings.ToLower(name)] = arg.WithAlias("")
		}
	}
	return out, nil
}

// readBody parses the body that lies between two places of the file.
func (c macroReader) readBody(src tree.Source, o *macro, from, to int) error {
	before := "SELECT "
	if o.table {
		before = ""
	}
	st, err := c.duck.ParsePart(src, before+src.Text[from:to], from-len(before))
	if err != nil {
		return err
	}
	tree.Shift(st, from-len(before))
	o.body = st.Sub("node")
	if !o.table {
		if !isBareSelect(o.body) {
			return src.Wrong(from, "the macro's body is not one expression", "put a SELECT that gives one value in parentheses; AS TABLE SELECT ... makes a macro for FROM")
		}
		o.body = o.body.List("select_list")[0].(tree.Node)
	}
	return nil
}

// isBareSelect says whether a query is SELECT with one expression and no more.
func isBareSelect(q tree.Node) bool {
	items := q.Nodes("select_list")
	if len(items) != 1 || items[0].Str("alias") != "" || items[0].Class() == "STAR" || q.Sub("from_table").Str("type") != "EMPTY" {
		return false
	}
	bare := tree.EmptySelect(q)
	bare["select_list"] = q["select_list"]
	return tree.Encode(bare) == tree.Encode(q)
}

// asProblem is the Problem in an error's chain, or one that says it.
func asProblem(err error) *schemas.Problem {
	var p *schemas.Problem
	if !errors.As(err, &p) {
		p = &schemas.Problem{Kind: schemas.Failed, Message: err.Error()}
	}
	return p
}
