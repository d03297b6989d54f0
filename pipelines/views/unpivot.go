package views

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/schemas"
)

// unpivoted is the SELECT that an UNPIVOT stands for: each row beside a list of its values, one struct a name.
func (x *expander) unpivoted(t node, f *frame, want []Column) (node, bool) {
	values, pivots := list(t, "unpivot_names"), nodes(list(t, "pivots"))
	if len(pivots) != 1 || len(list(pivots[0], "unpivot_names")) != 1 || len(list(t, "column_name_alias")) > 0 {
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
	used := map[string]bool{}
	var structs []string
	for _, e := range entries {
		if len(e.columns) != len(values) {
			return nil, false
		}
		fields := "name := " + schemas.QuoteText(e.name)
		for i, c := range e.columns {
			used[c.table+"."+c.name] = true
			text, err := x.c.printExpr(c.expr)
			if err != nil {
				return nil, false
			}
			fields += fmt.Sprintf(", value%d := %s", i, text)
		}
		structs = append(structs, "struct_pack("+fields+")")
	}
	pair := x.fresh("pair", f.from)
	for slices.ContainsFunc(s.all, func(c selected) bool { return strings.EqualFold(c.name, pair) }) {
		pair += "_"
	}
	var items []string
	where := ""
	for i := range values {
		value := fmt.Sprintf("%s.%[1]s.value%d", pair, i)
		items = append(items, value)
		if !flag(t, "include_nulls") {
			where += map[bool]string{true: " WHERE ", false: " AND "}[i == 0] + value + " IS NOT NULL"
		}
	}
	q, err := x.c.selectNode(fmt.Sprintf("SELECT %[1]s.%[1]s.name, %[2]s FROM x, unnest([%[3]s]) AS %[1]s(%[1]s)%[4]s", pair, strings.Join(items, ", "), strings.Join(structs, ", "), where))
	if err != nil {
		return nil, false
	}
	moveTo(q, location(t))
	sub(q, "from_table")["left"] = f.from
	var all []any
	for _, c := range s.all {
		if !used[c.table+"."+c.name] {
			all = append(all, clone(c.expr))
		}
	}
	all = append(all, list(q, "select_list")...)
	if len(all) != len(want) {
		return nil, false
	}
	for i, item := range nodes(all) {
		nameAs(item, want[i].Name)
	}
	q["select_list"] = all
	return q, true
}

// entry is one name of an UNPIVOT, and the columns whose values it stands before.
type entry struct {
	name    string
	columns []selected
}

// entries are those listed, each column of a star one by itself.
func (s *stars) entries(pivot node) ([]entry, bool) {
	var out []entry
	for _, e := range nodes(list(pivot, "entries")) {
		if star := sub(e, "star_expr"); star != nil {
			if class(star) != "STAR" || str(star, "alias") != "" {
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
		for _, v := range nodes(list(e, "values")) {
			i := slices.IndexFunc(s.all, func(c selected) bool { return strings.EqualFold(c.name, str(v, "value")) })
			if i < 0 {
				return nil, false
			}
			names = append(names, s.all[i].name)
			one.columns = append(one.columns, s.all[i])
		}
		if one.name = str(e, "alias"); one.name == "" {
			one.name = strings.Join(names, "_")
		}
		out = append(out, one)
	}
	return out, len(out) > 0
}
