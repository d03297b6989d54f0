package expand

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
	"github.com/millrace/millrace/schemas"
)

// unpivoted is the SELECT that an UNPIVOT stands for: each row beside a list of its values, one struct a name.
func (x *expander) unpivoted(t tree.Node, f *frame, want []engine.Column) (tree.Node, bool) {
	values, pivots := len(t.List("unpivot_names")), t.Nodes("pivots")
	if len(pivots) != 1 || len(pivots[0].List("unpivot_names")) != 1 || len(t.List("column_name_alias")) > 0 {
		return nil, false
	}
	s := &stars{x: x, frame: f}
	var ok bool
	if s.all, ok = s.everything(); !ok {
		return nil, false
	}
	entries, ok := s.entries(pivots[0])
	if !ok {
		return nil, false
	}
	structs, used, ok := s.structs(entries, values)
	if !ok {
		return nil, false
	}
	q, ok := s.beside(structs, values, t.Flag("include_nulls"))
	if !ok {
		return nil, false
	}
	tree.MoveTo(q, t.Location())
	q.Sub("from_table")["left"] = f.from
	var items []any
	for _, c := range s.all {
		if !used[c.table+"."+c.name] {
			items = append(items, c.expr.Clone())
		}
	}
	items = append(items, q.List("select_list")...)
	if len(items) != len(want) {
		return nil, false
	}
	for i, item := range tree.Nodes(items) {
		tree.NameAs(item, want[i].Name)
	}
	q["select_list"] = items
	return q, true
}

// structs are what each row has of an UNPIVOT's names: the name and so many values. used are the columns of these.
func (s *stars) structs(entries []entry, values int) (out []string, used map[string]bool, ok bool) {
	used = map[string]bool{}
	for _, e := range entries {
		if len(e.columns) != values {
			return nil, nil, false
		}
		fields := "name := " + schemas.QuoteText(e.name)
		for i, c := range e.columns {
			used[c.table+"."+c.name] = true
			text, err := s.x.duck.PrintExpr(c.expr)
			if err != nil {
				return nil, nil, false
			}
			fields += fmt.Sprintf(", value%d := %s", i, text)
		}
		out = append(out, "struct_pack("+fields+")")
	}
	return out, used, true
}

// beside is the SELECT of the names and values, of a table x and the structs beside each of its rows. Rows without a value
// are left out, unless nulls.
func (s *stars) beside(structs []string, values int, nulls bool) (tree.Node, bool) {
	pair := s.x.fresh("pair", s.frame.from)
	for slices.ContainsFunc(s.all, func(c selected) bool { return strings.EqualFold(c.name, pair) }) {
		pair += "_"
	}
	items, conditions := []string{pair + "." + pair + ".name"}, []string{}
	for i := range values {
		value := fmt.Sprintf("%s.%[1]s.value%d", pair, i)
		items = append(items, value)
		conditions = append(conditions, value+" IS NOT NULL")
	}
	text := fmt.Sprintf("SELECT %s FROM x, unnest([%s]) AS %s(%[3]s)", strings.Join(items, ", "), strings.Join(structs, ", "), pair)
	if !nulls {
		text += " WHERE " + strings.Join(conditions, " AND ")
	}
	q, err := s.x.duck.Select(text)
	return q, err == nil
}

// entry is one name of an UNPIVOT, and the columns whose values it stands before.
type entry struct {
	name    string
	columns []selected
}

// entries are those listed, each column of a star one by itself.
func (s *stars) entries(pivot tree.Node) ([]entry, bool) {
	var out []entry
	for _, e := range pivot.Nodes("entries") {
		if star := e.Sub("star_expr"); star != nil {
			if star.Class() != "STAR" || star.Str("alias") != "" {
				return nil, false
			}
			columns, ok := s.columns(star)
			if !ok {
				return nil, false
			}
			for _, c := range columns {
				out = append(out, entry{c.name, []selected{c}})
			}
			continue
		}
		var one entry
		var names []string
		for _, v := range e.Nodes("values") {
			i := slices.IndexFunc(s.all, func(c selected) bool { return strings.EqualFold(c.name, v.Str("value")) })
			if i < 0 {
				return nil, false
			}
			names = append(names, s.all[i].name)
			one.columns = append(one.columns, s.all[i])
		}
		if one.name = e.Str("alias"); one.name == "" {
			one.name = strings.Join(names, "_")
		}
		out = append(out, one)
	}
	return out, len(out) > 0
}
