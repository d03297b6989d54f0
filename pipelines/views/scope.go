package views

import (
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
	"github.com/millrace/millrace/schemas"
)

// scope is what the names in a SELECT mean: the tables of its FROM, in order, and the columns of each.
type scope struct {
	tables  []string                     // aliases, lower case
	columns map[string]map[string]string // table -> column in lower case -> as declared
}

// newScope asks DuckDB which columns each table in the FROM clause of a SELECT has.
func newScope(duck *engine.Conn, sel tree.Node) (*scope, error) {
	s := &scope{columns: map[string]map[string]string{}}
	probe := tree.EmptySelect(sel)
	for _, t := range tree.FromTables(sel.Sub("from_table")) {
		alias := t.TableAlias()
		if alias == "" {
			continue
		}
		star, err := duck.Expr(schemas.QuoteIdent(alias) + ".*")
		if err != nil {
			return nil, err
		}
		probe["select_list"] = []any{star}
		text, err := duck.Print(probe)
		if err != nil {
			return nil, err
		}
		cols, err := duck.Describe(text)
		if err != nil {
			continue // the right side of a SEMI or ANTI join has no columns here
		}
		key := strings.ToLower(alias)
		if s.columns[key] == nil {
			s.tables = append(s.tables, key)
			s.columns[key] = map[string]string{}
		}
		for _, col := range cols {
			s.columns[key][strings.ToLower(col.Name)] = col.Name
		}
	}
	return s, nil
}

// resolve finds the column that a reference means, and the struct fields taken from it.
func (s *scope) resolve(names []string) (table, column string, fields []string, ok bool) {
	first := strings.ToLower(names[0])
	if len(names) > 1 {
		if col, ok := s.columns[first][strings.ToLower(names[1])]; ok {
			return first, col, names[2:], true
		}
	}
	for _, t := range s.tables {
		if col, ok := s.columns[t][first]; ok {
			return t, col, names[1:], true
		}
	}
	return "", "", nil, false
}

// key is a text that is equal for expressions that mean the same to GROUP BY: places, the outer alias, upper and lower
// case of names and omitted table names do not matter.
func (s *scope) key(e tree.Node, params []string) string {
	return tree.Encode(s.qualify(e.Clone().WithAlias(""), params))
}

func (s *scope) qualify(v any, params []string) any {
	n, ok := v.(tree.Node)
	if !ok {
		tree.Children(v, func(c any) any { return s.qualify(c, params) })
		return v
	}
	delete(n, "query_location")
	if n.Class() == "SUBQUERY" {
		tree.Walk(n, func(c tree.Node) bool { delete(c, "query_location"); return true })
		return n
	}
	if f, ok := n["function_name"].(string); ok {
		n["function_name"] = strings.ToLower(f)
	}
	if n.Class() == "COLUMN_REF" {
		return s.qualifyRef(n, params)
	}
	params = append(slices.Clip(params), n.LambdaParams()...)
	tree.Children(n, func(c any) any { return s.qualify(c, params) })
	return n
}

func (s *scope) qualifyRef(n tree.Node, params []string) tree.Node {
	names := n.ColumnNames()
	if slices.Contains(params, strings.ToLower(names[0])) {
		return n
	}
	table, column, fields, ok := s.resolve(names)
	if !ok {
		return n
	}
	out := tree.Node{"class": "COLUMN_REF", "column_names": []any{table, strings.ToLower(column)}, "alias": ""}
	for _, f := range fields {
		out = tree.Node{"class": "FIELD", "of": out, "field": strings.ToLower(f), "alias": ""}
	}
	out["alias"] = n["alias"]
	return out
}

// unalias puts the SELECT list's expressions in place of their aliases. A column of the FROM clause comes before an
// alias of the same name, unless aliasFirst.
func (s *scope) unalias(e tree.Node, aliases map[string]tree.Node, aliasFirst bool) tree.Node {
	return s.unaliasAny(e.Clone(), aliases, aliasFirst, nil).(tree.Node)
}

func (s *scope) unaliasAny(v any, aliases map[string]tree.Node, aliasFirst bool, params []string) any {
	n, ok := v.(tree.Node)
	if !ok {
		tree.Children(v, func(c any) any { return s.unaliasAny(c, aliases, aliasFirst, params) })
		return v
	}
	if n.IsQuery() {
		return n
	}
	if n.Class() == "COLUMN_REF" {
		names := n.ColumnNames()
		name := strings.ToLower(names[0])
		item, ok := aliases[name]
		if !ok || len(names) > 1 || slices.Contains(params, name) {
			return n
		}
		if _, _, _, isColumn := s.resolve(names); isColumn && !aliasFirst {
			return n
		}
		return item.Clone().WithAlias(n.Str("alias"))
	}
	params = append(slices.Clip(params), n.LambdaParams()...)
	tree.Children(n, func(c any) any { return s.unaliasAny(c, aliases, aliasFirst, params) })
	return n
}
