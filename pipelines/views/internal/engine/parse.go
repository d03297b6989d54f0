package engine

import (
	"fmt"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/tree"
	"github.com/millrace/millrace/schemas"
)

// Parse gives the tree of the one SELECT in the text. Errors are Problems at their place in it.
func (c *Conn) Parse(src tree.Source) (tree.Node, error) { return c.ParsePart(src, src.Text, 0) }

// ParsePart gives the tree of the one SELECT in a piece of SQL, whose byte 0 is byte at of the text. Places in the tree
// are those in the piece.
func (c *Conn) ParsePart(src tree.Source, part string, at int) (tree.Node, error) {
	text, err := c.Text("SELECT json_serialize_sql($1::VARCHAR)::VARCHAR", part)
	if err != nil {
		return nil, src.Wrong(max(at, 0), "the SQL could not be read: "+ErrorOf(err).Message, "write one SELECT")
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

// Expr parses one expression that a plan is made of.
func (c *Conn) Expr(text string) (tree.Node, error) {
	n, err := c.Select("SELECT " + text)
	if err != nil {
		return nil, err
	}
	return n.List("select_list")[0].(tree.Node), nil
}

// Select gives the query node of one SELECT that a plan is made of.
func (c *Conn) Select(text string) (tree.Node, error) {
	st, err := c.Parse(tree.Source{Text: text})
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", text, err)
	}
	return st.Sub("node"), nil
}

// Print gives the SQL of a query node, which stays as it is.
func (c *Conn) Print(query tree.Node) (string, error) {
	text, err := c.Text("SELECT json_deserialize_sql($1::VARCHAR)", encodeQuery(query))
	if err != nil {
		return "", fmt.Errorf("print SQL: %s", ErrorOf(err).Message)
	}
	return strings.TrimSuffix(strings.TrimSpace(text), ";"), nil
}

// encodeQuery is a query as json_deserialize_sql takes it, which prints the name in name.* without the quotes it may need.
func encodeQuery(query tree.Node) string {
	plain := map[uintptr]string{} // by the address of a star
	tree.Walk(query, func(n tree.Node) bool {
		if name := n.Str("relation_name"); name != "" {
			plain[n.Address()] = name
			n["relation_name"] = schemas.QuoteIdent(name)
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

// PrintExpr gives the SQL of an expression, without its alias.
func (c *Conn) PrintExpr(e tree.Node) (string, error) {
	n, err := c.Select("SELECT 1")
	if err != nil {
		return "", err
	}
	n["select_list"] = []any{e.Clone().WithAlias("")}
	text, err := c.Print(n)
	return strings.TrimPrefix(text, "SELECT "), err
}
