package expand

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// selected is a column of a FROM clause as an expression.
type selected struct {
	table string // its alias; empty: none, or those of USING
	name  string
	expr  tree.Node
}

// expandStars puts single columns in place of *, COLUMNS(...) and #1 in a SELECT. What it cannot tell apart stays as it
// is: the names and types of the columns are compared with those that DuckDB gives for the SELECT as it stood.
func (x *expander) expandStars(q tree.Node, f *frame) {
	items := q.Nodes("select_list")
	where := q.Sub("where_clause")
	if !slices.ContainsFunc(items, hasStar) && (where == nil || !hasStar(where)) {
		return
	}
	g := &frame{ctes: f.ctes, from: f.from, outer: f.outer, leaves: f.leaves}
	want, ok := x.describe(q, g)
	if !ok {
		return
	}
	s := &stars{x: x, frame: g}
	if s.all, ok = s.everything(); !ok {
		return
	}
	var out []tree.Node
	for _, item := range items {
		each, ok := s.expand(item)
		if !ok || len(out)+len(each) > len(want) {
			return
		}
		for _, one := range each {
			if hasStar(item) {
				tree.NameAs(one, want[len(out)].Name)
			}
			out = append(out, one)
		}
	}
	expanded := q.Clone()
	expanded["select_list"] = tree.AsList(out)
	for i, group := range expanded.Nodes("group_expressions") {
		if group.Class() != "POSITIONAL_REFERENCE" {
			continue
		}
		if cols, ok := s.columns(group); ok {
			expanded.List("group_expressions")[i] = cols[0].expr.Clone()
		}
	}
	if where != nil && hasStar(where) {
		each, ok := s.expand(where)
		if !ok || len(each) == 0 {
			return
		}
		expanded["where_clause"] = tree.AllOf(each)
	}
	if got, ok := x.describe(expanded, g); ok && slices.Equal(got, want) {
		for _, clause := range []string{"select_list", "where_clause", "group_expressions"} {
			q[clause] = expanded[clause]
		}
	}
}

// hasStar says whether an expression has a star or a column by its place, outside of queries within it.
func hasStar(e tree.Node) bool {
	found := false
	tree.Walk(e, func(n tree.Node) bool {
		found = found || n.Class() == "STAR" || n.Class() == "POSITIONAL_REFERENCE"
		return !found && !n.IsQuery()
	})
	return found
}

// stars are the columns that the stars of one SELECT mean.
type stars struct {
	x     *expander
	frame *frame
	all   []selected // what * means
}

// everything lists the columns of *: table by table, each column of USING once.
func (s *stars) everything() ([]selected, bool) {
	using, tables := map[string]bool{}, map[string]int{}
	leaves := s.x.leavesOf(s.frame)
	for _, l := range leaves {
		for _, c := range l.columns {
			tables[strings.ToLower(c.Name)]++
		}
	}
	tree.Walk(s.frame.from, func(n tree.Node) bool {
		for _, c := range n.List("using_columns") {
			name, _ := c.(string)
			using[strings.ToLower(name)] = true
		}
		if n.Str("ref_type") == "NATURAL" {
			for name, n := range tables {
				using[name] = using[name] || n > 1
			}
		}
		return !n.IsQuery()
	})
	var out []selected
	seen := map[string]bool{}
	for _, l := range leaves {
		for _, c := range l.columns {
			key := strings.ToLower(c.Name)
			table, ref := l.alias, tree.ColumnRef(c.Name)
			switch {
			case using[key] && seen[key]:
				continue
			case tables[key] > 1 && !using[key]:
				ref = tree.ColumnRef(l.name(), c.Name)
			}
			if seen[key] = true; using[key] {
				table = ""
			}
			out = append(out, selected{table, c.Name, ref})
		}
	}
	return out, slices.EqualFunc(out, s.names(tree.Star("")), func(c selected, name string) bool { return c.name == name })
}

// names are what DuckDB calls the columns of one expression over the FROM clause.
func (s *stars) names(item tree.Node) []string {
	q := tree.SelectFrom(s.frame.from, item.Clone().WithAlias(""))
	cols, _ := s.x.describe(q, s.frame)
	var out []string
	for _, c := range cols {
		out = append(out, c.Name)
	}
	return out
}

// expand gives one expression for each column that an expression means. All its stars mean as many.
func (s *stars) expand(item tree.Node) ([]tree.Node, bool) {
	if args := item.Nodes("children"); item.Class() == "FUNCTION" && len(args) > 0 && args[0].Class() == "STAR" && !args[0].Flag("columns") { // * LIKE 'a%'
		cols, ok := pick(s.all, s.names(item))
		var out []tree.Node
		for _, c := range cols {
			out = append(out, c.expr.Clone())
		}
		return out, ok
	}
	sets := map[uintptr][]selected{} // by the address of a star
	count, ok := -1, true
	var look func(v any, unpacked bool)
	look = func(v any, unpacked bool) {
		n, isNode := v.(tree.Node)
		switch {
		case isNode && n.IsQuery():
			return
		case isNode && (n.Class() == "STAR" || n.Class() == "POSITIONAL_REFERENCE"):
			cols, known := s.columns(n)
			sets[n.Address()] = cols
			if !unpacked {
				ok = ok && (count < 0 || count == len(cols))
				count = len(cols)
			}
			ok = ok && known && (n.Flag("columns") || n.Class() != "STAR" || item.Class() == "STAR")
			return
		}
		unpacked = n.Str("type") == "OPERATOR_UNPACK" || unpacked && !isNode
		tree.Children(v, func(c any) any { look(c, unpacked); return c })
	}
	look(item, false)
	if !ok {
		return nil, false
	}
	if count < 0 {
		count = 1
	}
	var out []tree.Node
	for i := range count {
		out = append(out, substitute(item, sets, i).(tree.Node))
	}
	return out, true
}

// substitute is a copy of an expression with column i of each star in its place, and all columns of one that is unpacked.
func substitute(v any, sets map[uintptr][]selected, i int) any {
	switch v := v.(type) {
	case tree.Node:
		if set, ok := sets[v.Address()]; ok {
			return set[i].expr.Clone().WithAlias(v.Str("alias"))
		}
		out := make(tree.Node, len(v))
		for k, c := range v {
			out[k] = substitute(c, sets, i)
		}
		return out
	case []any:
		out := []any{}
		for _, c := range v {
			n, _ := c.(tree.Node)
			if n.Str("type") != "OPERATOR_UNPACK" {
				out = append(out, substitute(c, sets, i))
				continue
			}
			for _, one := range sets[n.Nodes("children")[0].Address()] {
				out = append(out, one.expr.Clone())
			}
		}
		return out
	}
	return v
}

// columns are those that one star or #1 means.
func (s *stars) columns(star tree.Node) ([]selected, bool) {
	if star.Class() == "POSITIONAL_REFERENCE" {
		return s.byPlace(star)
	}
	if star["expr"] != nil {
		return pick(s.all, s.names(star))
	}
	base, ok := s.of(star.Str("relation_name"))
	if !ok {
		return nil, false
	}
	replaced := map[string]tree.Node{}
	for _, r := range star.Nodes("replace_list") {
		replaced[strings.ToLower(r.Str("key"))] = r.Sub("value")
	}
	var out []selected
	for _, c := range base {
		if s.excluded(star, c) {
			continue
		}
		if value, ok := replaced[strings.ToLower(c.name)]; ok {
			c.expr = value.Clone().WithAlias("")
		}
		out = append(out, c)
	}
	return out, true
}

func (s *stars) excluded(star tree.Node, c selected) bool {
	for _, e := range star.List("exclude_list") {
		if name, _ := e.(string); strings.EqualFold(name, c.name) {
			return true
		}
	}
	for _, e := range star.Nodes("qualified_exclude_list") {
		if strings.EqualFold(e.Str("column"), c.name) && (e.Str("table") == "" || strings.EqualFold(e.Str("table"), c.table)) {
			return true
		}
	}
	return false
}

// of are the columns of one table, of the fields of a struct, or of all tables.
func (s *stars) of(table string) ([]selected, bool) {
	if table == "" {
		return s.all, true
	}
	for _, l := range s.x.leavesOf(s.frame) {
		if !strings.EqualFold(l.alias, table) {
			continue
		}
		var out []selected
		for _, c := range l.columns {
			i := slices.IndexFunc(s.all, func(a selected) bool { return a.table == l.alias && a.name == c.Name })
			if i >= 0 {
				out = append(out, s.all[i])
			} else {
				out = append(out, selected{l.alias, c.Name, tree.ColumnRef(l.name(), c.Name)})
			}
		}
		return out, true
	}
	var out []selected
	for _, field := range s.names(tree.Star(table)) {
		out = append(out, selected{"", field, tree.ColumnRef(table, field)})
	}
	return out, len(out) > 0
}

// byPlace is the column that #1 means: places count the columns of all tables.
func (s *stars) byPlace(ref tree.Node) ([]selected, bool) {
	number, _ := ref["index"].(json.Number)
	at, err := number.Int64()
	for _, l := range s.x.leavesOf(s.frame) {
		if n := int64(len(l.columns)); at > n {
			at -= n
			continue
		}
		if err != nil || at < 1 {
			break
		}
		table, _ := s.of(l.alias)
		return table[at-1 : at], true
	}
	return nil, false
}

// pick finds columns by name; false if one is not there, or there twice.
func pick(all []selected, names []string) ([]selected, bool) {
	var out []selected
	for _, name := range names {
		found := -1
		for i, c := range all {
			if c.name == name {
				if found >= 0 {
					return nil, false
				}
				found = i
			}
		}
		if found < 0 {
			return nil, false
		}
		out = append(out, all[found])
	}
	return out, len(out) > 0
}
