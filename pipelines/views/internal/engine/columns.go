package engine

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/tree"
	"github.com/millrace/millrace/schemas"
)

// Column is a name and a type in DuckDB's spelling.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// ReadColumns reads what a DESCRIBE gives. The caller closes rows.
func ReadColumns(rows *sql.Rows) ([]Column, error) {
	var out []Column
	for rows.Next() {
		var col Column
		var skip [4]any
		if err := rows.Scan(&col.Name, &col.Type, &skip[0], &skip[1], &skip[2], &skip[3]); err != nil {
			return nil, err
		}
		out = append(out, col)
	}
	return out, rows.Err()
}

// Describe gives the columns of a SELECT over the tables that exist now. Errors are DuckDB's, for ErrorOf.
func (c *Conn) Describe(q string) ([]Column, error) {
	rows, err := c.conn.QueryContext(context.Background(), "DESCRIBE "+q)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return ReadColumns(rows)
}

// DescribeTree gives the columns of a query over the tables that exist now. Errors are Problems at the places that the
// tree names; known are the columns to compare a wrong name with.
func (c *Conn) DescribeTree(src tree.Source, query tree.Node, known []string) ([]Column, error) {
	text, err := c.Print(query.Clone())
	if err != nil {
		return nil, err
	}
	cols, err := c.Describe(text)
	if err == nil {
		return cols, nil
	}
	e := ErrorOf(err)
	if src.Mixed() && e.Candidates != "" { // the columns may be those of a view or a macro, not of a table
		known = strings.Split(e.Candidates, ",")
	}
	at := -1
	if e.Position >= 0 {
		if printed, perr := c.Select(text); perr == nil {
			at = tree.SameLocation(printed, query, e.Position-len("DESCRIBE "))
		}
	}
	if at < 0 { // the place is of something that is no node, such as a type
		if _, err := c.Describe(src.Text); err != nil && ErrorOf(err).Message == e.Message {
			at = max(ErrorOf(err).Position-len("DESCRIBE "), -1)
		}
	}
	return nil, e.Problem(src, at, known)
}

// CreateTable makes an empty table; schema may be empty.
func (c *Conn) CreateTable(schema, name string, cols []Column) error {
	var defs []string
	for _, col := range cols {
		defs = append(defs, schemas.QuoteIdent(col.Name)+" "+col.Type)
	}
	full := schemas.QuoteIdent(name)
	if schema != "" {
		if err := c.Exec("CREATE SCHEMA IF NOT EXISTS " + schemas.QuoteIdent(schema)); err != nil {
			return fmt.Errorf("create schema %s: %s", schema, ErrorOf(err).Message)
		}
		full = schemas.QuoteIdent(schema) + "." + full
	}
	if err := c.Exec("CREATE OR REPLACE TABLE " + full + " (" + strings.Join(defs, ", ") + ")"); err != nil {
		return fmt.Errorf("create table %s: %s", name, ErrorOf(err).Message)
	}
	return nil
}

// DropTables empties the catalog for the next compilation.
func (c *Conn) DropTables() {
	var drops []string
	err := c.Rows("SELECT schema_name, table_name FROM duckdb_tables()", nil, func(r *sql.Rows) error {
		var schema, table string
		if err := r.Scan(&schema, &table); err != nil {
			return err
		}
		drops = append(drops, "DROP TABLE "+schemas.QuoteIdent(schema)+"."+schemas.QuoteIdent(table))
		return nil
	})
	for _, d := range drops {
		if err == nil {
			err = c.Exec(d)
		}
	}
	if err != nil {
		panic(err) // dropping an empty in-memory table cannot fail
	}
}
