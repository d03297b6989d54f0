package views

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/millrace/millrace/pipelines/views/internal/tree"
	"github.com/millrace/millrace/schemas"
)

// Compiler holds an in-memory DuckDB that parses, prints and describes SQL over empty tables. It reads no file except
// through LoadReference. Concurrency: safe; calls run one at a time.
type Compiler struct {
	mu         sync.Mutex
	db         *sql.DB
	conn       *sql.Conn
	volatile   map[string]bool // scalar functions and macros whose value changes between calls or days
	aggregates map[string]bool
	functions  map[string]bool // every name, for the tables of table functions too
	builtin    *Macros         // those that every project has
}

// Open starts the engine. The caller closes it.
func Open() (*Compiler, error) {
	c := &Compiler{}
	connector, err := duckdb.NewConnector("", nil)
	if err != nil {
		return nil, engineProblem(err)
	}
	c.db = sql.OpenDB(connector)
	if c.conn, err = c.db.Conn(context.Background()); err != nil {
		return nil, errors.Join(engineProblem(err), c.db.Close())
	}
	for _, s := range []string{
		"SET threads = 1", "SET TimeZone = 'UTC'", "SET enable_external_access = false", "SET errors_as_json = true",
	} {
		if err = c.exec(s); err != nil {
			return nil, errors.Join(engineProblem(err), c.Close())
		}
	}
	if err = c.declareSession(); err != nil {
		return nil, errors.Join(engineProblem(err), c.Close())
	}
	if err = c.readFunctions(); err != nil {
		return nil, errors.Join(engineProblem(err), c.Close())
	}
	if err = c.readBuiltin(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Close ends the engine.
func (c *Compiler) Close() error {
	return errors.Join(c.conn.Close(), c.db.Close())
}

func engineProblem(err error) error {
	return &schemas.Problem{Kind: schemas.Environment, Message: "the SQL engine did not start", Hint: "run `millrace doctor`", Err: err}
}

func (c *Compiler) exec(q string) error {
	_, err := c.conn.ExecContext(context.Background(), q)
	return err
}

func (c *Compiler) rows(q string, args []any, scan func(*sql.Rows) error) error {
	rows, err := c.conn.QueryContext(context.Background(), q, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (c *Compiler) text(q string, args ...any) (string, error) {
	var out string
	err := c.rows(q, args, func(r *sql.Rows) error { return r.Scan(&out) })
	return out, err
}

func (c *Compiler) readFunctions() error {
	c.volatile, c.aggregates, c.functions = map[string]bool{}, map[string]bool{}, map[string]bool{}
	return c.rows("SELECT lower(function_name), function_type, coalesce(stability, '') FROM duckdb_functions()", nil, func(r *sql.Rows) error {
		var name, kind, stability string
		if err := r.Scan(&name, &kind, &stability); err != nil {
			return err
		}
		c.functions[name] = true
		switch {
		case kind == "aggregate":
			c.aggregates[name] = true
		case stability == "VOLATILE" || stability == "CONSISTENT_WITHIN_QUERY":
			c.volatile[name] = true
		}
		return nil
	})
}

// describe gives the columns of a SELECT over the tables that exist now.
func (c *Compiler) describe(q string) ([]Column, error) {
	rows, err := c.conn.QueryContext(context.Background(), "DESCRIBE "+q)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return scanColumns(rows)
}

// describeTree gives the columns of a query over the tables that exist now. Errors are Problems at the places that the
// tree names; known are the columns to compare a wrong name with.
func (c *Compiler) describeTree(src tree.Source, query tree.Node, known []string) ([]Column, error) {
	text, err := c.print(query.Clone())
	if err != nil {
		return nil, err
	}
	cols, err := c.describe(text)
	if err == nil {
		return cols, nil
	}
	e := engineError(err)
	if src.Mixed() && e.candidates != "" { // the columns may be those of a view or a macro, not of a table
		known = strings.Split(e.candidates, ",")
	}
	at := -1
	if e.position >= 0 {
		if printed, perr := c.selectNode(text); perr == nil {
			at = tree.SameLocation(printed, query, e.position-len("DESCRIBE "))
		}
	}
	if at < 0 { // the place is of something that is no node, such as a type
		if _, err := c.describe(src.Text); err != nil && engineError(err).message == e.message {
			at = max(engineError(err).position-len("DESCRIBE "), -1)
		}
	}
	return nil, bindError(src, e, at, known)
}

// parse gives the tree of the one SELECT in the text. Errors are Problems at their place in it.
func (c *Compiler) parse(src tree.Source) (tree.Node, error) { return c.parsePart(src, src.Text, 0) }

// parsePart gives the tree of the one SELECT in a piece of SQL, whose byte 0 is byte at of the text. Places in the tree
// are those in the piece.
func (c *Compiler) parsePart(src tree.Source, part string, at int) (tree.Node, error) {
	text, err := c.text("SELECT json_serialize_sql($1::VARCHAR)::VARCHAR", part)
	if err != nil {
		return nil, src.Wrong(max(at, 0), "the SQL could not be read: "+engineError(err).message, "write one SELECT")
	}
	parsed, err := tree.Decode(text)
	if err != nil {
		return nil, fmt.Errorf("read DuckDB's parse tree: %w", err)
	}
	if parsed.Flag("error") {
		return nil, notParsed(src, parsed, part, at)
	}
	statements := parsed.Nodes("statements")
	switch len(statements) {
	case 1:
		return statements[0], nil
	case 0:
		return nil, src.Wrong(max(at, 0), "there is no SELECT here", "write one SELECT")
	}
	return nil, src.Wrong(max(0, at+tree.FirstLocation(statements[1])), fmt.Sprintf("there are %d statements here, one SELECT is allowed", len(statements)), "keep one; WITH or UNION ALL puts several SELECTs into one statement")
}

// expr parses one expression of this package's own making.
func (c *Compiler) expr(text string) (tree.Node, error) {
	n, err := c.selectNode("SELECT " + text)
	if err != nil {
		return nil, err
	}
	return n.List("select_list")[0].(tree.Node), nil
}

func (c *Compiler) selectNode(text string) (tree.Node, error) {
	st, err := c.parse(tree.Source{Text: text})
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", text, err)
	}
	return st.Sub("node"), nil
}

// print gives the SQL of a query node.
func (c *Compiler) print(query tree.Node) (string, error) {
	text, err := c.text("SELECT json_deserialize_sql($1::VARCHAR)", encodeQuery(query))
	if err != nil {
		return "", fmt.Errorf("print SQL: %s", engineError(err).message)
	}
	return strings.TrimSuffix(strings.TrimSpace(text), ";"), nil
}

// encodeQuery is a query as json_deserialize_sql takes it, which prints the name in name.* without the quotes it may need.
func encodeQuery(query tree.Node) string {
	plain := map[uintptr]string{} // by the address of a star
	tree.Walk(query, func(n tree.Node) bool {
		if name := n.Str("relation_name"); name != "" {
			plain[n.Address()] = name
			n["relation_name"] = quoteName(name)
		}
		return true
	})
	text := tree.Encode(tree.Node{"error": false, "statements": []any{tree.Node{"node": query, "named_param_map": []any{}}}})
	tree.Walk(query, func(n tree.Node) bool {
		if name, ok := plain[n.Address()]; ok {
			n["relation_name"] = name
		}
		return true
	})
	return text
}

// printExpr gives the SQL of an expression.
func (c *Compiler) printExpr(e tree.Node) (string, error) {
	n, err := c.selectNode("SELECT 1")
	if err != nil {
		return "", err
	}
	n["select_list"] = []any{e.Clone().WithAlias("")}
	text, err := c.print(n)
	return strings.TrimPrefix(text, "SELECT "), err
}

func notParsed(s tree.Source, parsed tree.Node, part string, from int) error {
	message := parsed.Str("error_message")
	if strings.Contains(message, "Only SELECT") {
		return notSelect(s, part, from)
	}
	at := -1
	if n, err := strconv.Atoi(fmt.Sprint(parsed["position"])); err == nil {
		at = from + tree.ByteOffset(part, n)
	}
	if strings.TrimSpace(part) == "" {
		at, message = max(from, 0), "there is no SELECT here"
	}
	return s.Wrong(at, message, "correct the SQL; it is DuckDB's dialect")
}

// duckError is DuckDB's error as its errors_as_json setting gives it.
type duckError struct {
	kind, subtype, message, name, candidates string
	position                                 int // -1: none
}

func engineError(err error) duckError {
	text := err.Error()
	var fields map[string]string
	if i := strings.IndexByte(text, '{'); i >= 0 && json.Unmarshal([]byte(text[i:]), &fields) == nil {
		e := duckError{kind: fields["exception_type"], subtype: fields["error_subtype"], message: fields["exception_message"],
			name: fields["name"], candidates: fields["candidates"], position: -1}
		if n, err := strconv.Atoi(fields["position"]); err == nil {
			e.position = n
		}
		return e
	}
	return duckError{message: text, position: -1}
}
