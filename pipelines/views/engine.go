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

// parse gives the tree of the one SELECT in the text. Errors are Problems at their place in it.
func (c *Compiler) parse(src source) (node, error) { return c.parsePart(src, src.text, 0) }

// parsePart gives the tree of the one SELECT in a piece of SQL, whose byte 0 is byte at of the text. Places in the tree
// are those in the piece.
func (c *Compiler) parsePart(src source, part string, at int) (node, error) {
	text, err := c.text("SELECT json_serialize_sql($1::VARCHAR)::VARCHAR", part)
	if err != nil {
		return nil, src.wrong(max(at, 0), "the SQL could not be read: "+engineError(err).message, "write one SELECT")
	}
	tree, err := decodeTree(text)
	if err != nil {
		return nil, fmt.Errorf("read DuckDB's parse tree: %w", err)
	}
	if flag(tree, "error") {
		return nil, src.notParsed(tree, part, at)
	}
	statements := nodes(list(tree, "statements"))
	switch len(statements) {
	case 1:
		return statements[0], nil
	case 0:
		return nil, src.wrong(max(at, 0), "there is no SELECT here", "write one SELECT")
	}
	return nil, src.wrong(max(0, at+firstLocation(statements[1])), fmt.Sprintf("there are %d statements here, one SELECT is allowed", len(statements)), "keep one; WITH or UNION ALL puts several SELECTs into one statement")
}

// expr parses one expression of this package's own making.
func (c *Compiler) expr(text string) (node, error) {
	n, err := c.selectNode("SELECT " + text)
	if err != nil {
		return nil, err
	}
	return list(n, "select_list")[0].(node), nil
}

func (c *Compiler) selectNode(text string) (node, error) {
	st, err := c.parse(source{text: text})
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", text, err)
	}
	return sub(st, "node"), nil
}

// print gives the SQL of a query node.
func (c *Compiler) print(query node) (string, error) {
	text, err := c.text("SELECT json_deserialize_sql($1::VARCHAR)", encodeQuery(query))
	if err != nil {
		return "", fmt.Errorf("print SQL: %s", engineError(err).message)
	}
	return strings.TrimSuffix(strings.TrimSpace(text), ";"), nil
}

// encodeQuery is a query as json_deserialize_sql takes it, which prints the name in name.* without the quotes it may need.
func encodeQuery(query node) string {
	plain := map[uintptr]string{} // by the address of a star
	walk(query, func(n node) bool {
		if name := str(n, "relation_name"); name != "" {
			plain[address(n)] = name
			n["relation_name"] = quoteName(name)
		}
		return true
	})
	text := encodeTree(node{"error": false, "statements": []any{node{"node": query, "named_param_map": []any{}}}})
	walk(query, func(n node) bool {
		if name, ok := plain[address(n)]; ok {
			n["relation_name"] = name
		}
		return true
	})
	return text
}

// printExpr gives the SQL of an expression.
func (c *Compiler) printExpr(e node) (string, error) {
	n, err := c.selectNode("SELECT 1")
	if err != nil {
		return "", err
	}
	n["select_list"] = []any{withAlias(clone(e), "")}
	text, err := c.print(n)
	return strings.TrimPrefix(text, "SELECT "), err
}

func (s source) notParsed(tree node, part string, from int) error {
	message := str(tree, "error_message")
	if strings.Contains(message, "Only SELECT") {
		return s.notSelect(part, from)
	}
	at := -1
	if n, err := strconv.Atoi(fmt.Sprint(tree["position"])); err == nil {
		at = from + byteOffset(part, n)
	}
	if strings.TrimSpace(part) == "" {
		at, message = max(from, 0), "there is no SELECT here"
	}
	return s.wrong(at, message, "correct the SQL; it is DuckDB's dialect")
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

func firstLocation(v any) int {
	at := -1
	walk(v, func(n node) bool {
		if l := location(n); l >= 0 && (at < 0 || l < at) {
			at = l
		}
		return true
	})
	return at
}
