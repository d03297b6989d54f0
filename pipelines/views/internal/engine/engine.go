package engine

import (
	"context"
	"database/sql"
	"errors"

	"github.com/duckdb/duckdb-go/v2"
)

// Conn is a DuckDB in memory that parses, prints and describes SQL over empty tables. It reads no file. Whoever opens it
// closes it. Concurrency: one caller at a time.
type Conn struct {
	db         *sql.DB
	conn       *sql.Conn
	volatile   map[string]bool // scalar functions and macros whose value changes between calls or days
	aggregates map[string]bool
	functions  map[string]bool // every name, for the tables of table functions too
}

// Open starts an engine. Errors: *schemas.Problem of kind Environment.
func Open() (*Conn, error) {
	c := &Conn{}
	connector, err := duckdb.NewConnector("", nil)
	if err != nil {
		return nil, NotStarted(err)
	}
	c.db = sql.OpenDB(connector)
	if c.conn, err = c.db.Conn(context.Background()); err != nil {
		return nil, errors.Join(NotStarted(err), c.db.Close())
	}
	for _, s := range []string{
		"SET threads = 1", "SET TimeZone = 'UTC'", "SET enable_external_access = false", "SET errors_as_json = true",
	} {
		if err = c.Exec(s); err != nil {
			return nil, errors.Join(NotStarted(err), c.Close())
		}
	}
	if err = c.declareSession(); err != nil {
		return nil, errors.Join(NotStarted(err), c.Close())
	}
	if err = c.readFunctions(); err != nil {
		return nil, errors.Join(NotStarted(err), c.Close())
	}
	return c, nil
}

// Close ends the engine.
func (c *Conn) Close() error {
	return errors.Join(c.conn.Close(), c.db.Close())
}

// Exec runs a statement. Errors are DuckDB's, for ErrorOf.
func (c *Conn) Exec(q string) error {
	_, err := c.conn.ExecContext(context.Background(), q)
	return err
}

// Rows runs a query and calls scan for each row. Errors are DuckDB's, for ErrorOf, or those of scan.
func (c *Conn) Rows(q string, args []any, scan func(*sql.Rows) error) error {
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

// Text is the one text that a query gives. Errors are DuckDB's, for ErrorOf.
func (c *Conn) Text(q string, args ...any) (string, error) {
	var out string
	err := c.Rows(q, args, func(r *sql.Rows) error { return r.Scan(&out) })
	return out, err
}

func (c *Conn) readFunctions() error {
	c.volatile, c.aggregates, c.functions = map[string]bool{}, map[string]bool{}, map[string]bool{}
	return c.Rows("SELECT lower(function_name), function_type, coalesce(stability, '') FROM duckdb_functions()", nil, func(r *sql.Rows) error {
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

// IsAggregate says whether DuckDB has an aggregate function of that name, in lower case.
func (c *Conn) IsAggregate(name string) bool { return c.aggregates[name] }

// IsVolatile says whether DuckDB has a function of that name, in lower case, whose value changes between calls.
func (c *Conn) IsVolatile(name string) bool { return c.volatile[name] }

// HasFunction says whether DuckDB has any function of that name, in lower case.
func (c *Conn) HasFunction(name string) bool { return c.functions[name] }
