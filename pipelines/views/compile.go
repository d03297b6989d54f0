package views

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
	"github.com/millrace/millrace/schemas"
)

// Compile makes a view of one SELECT. What stands for other SQL is put in first: macros, other views, stars, PIVOT. The
// definition hash covers the SELECT so expanded, as DuckDB prints it (white space and comments do not matter), the hashes
// of the topics' schemas and of the references, and the version of the plans.
// Errors: *schemas.Problem of kind Usage at its place in the file for anything that is wrong with the SELECT; the file is
// another where a macro or another view is wrong.
func (c *Compiler) Compile(name, file, text string, cat *Catalog) (*View, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	src := tree.Source{File: file, Text: text}
	st, err := c.duck.Parse(src)
	if err != nil {
		return nil, err
	}
	query := st.Sub("node")
	v := &View{Name: name, Reasons: []string{}, Notes: []string{}, Warnings: []string{}, Wanted: map[string][]string{}, KeyColumns: map[string]string{}}
	b := &build{duck: c.duck, builtin: c.builtin, src: src, cat: cat, view: v, query: query}
	defer c.duck.DropTables()
	if err := b.expand(); err != nil {
		return nil, err
	}
	if err := checkFunctions(c.duck, b.src, query, true); err != nil {
		return nil, err
	}
	if err := checkNested(c.duck, b.src, query); err != nil {
		return nil, err
	}
	if v.SQL, err = c.duck.Print(query.Clone()); err != nil {
		return nil, err
	}
	if err := b.resolveTables(); err != nil {
		return nil, err
	}
	if err := b.createTables(); err != nil {
		return nil, err
	}
	if err := checkClockWords(b.src, query, b.isColumn); err != nil {
		return nil, err
	}
	if err := checkRowID(b.src, query, b.isColumn); err != nil {
		return nil, err
	}
	if v.Columns, err = c.duck.DescribeTree(b.src, query, b.columnNames()); err != nil {
		return nil, err
	}
	if err := checkNames(b.src, v.Columns); err != nil {
		return nil, err
	}
	if err := checkTypes(c.duck, b.src, v.Columns); err != nil {
		return nil, err
	}
	v.Definition = b.definition()
	if err := b.settle(); err != nil {
		return nil, err
	}
	if err := b.raw(); err != nil {
		return nil, err
	}
	for name := range b.topics {
		v.Wanted[name] = b.wanted(name)
	}
	b.warn()
	if err := b.merged(); err != nil {
		return nil, err
	}
	return v, b.checkSession()
}

// build is one compilation under way.
type build struct {
	duck     *engine.Conn
	builtin  *Macros
	src      tree.Source
	cat      *Catalog
	view     *View
	query    tree.Node
	topics   map[string]*schemas.Topic // those read
	refs     map[string]*Reference
	settled  tree.Node // the query, its answer fixed where SQL leaves it open
	rawTree  tree.Node // what Plans.Raw prints
	rawCast  bool      // Plans.Raw casts what that tree gives
	tied     bool      // some aggregate needs the record's place in the log
	sketched bool      // some aggregate is a sketch
}

func lookup[T any](m map[string]T, name string) (string, T, bool) {
	if v, ok := m[name]; ok {
		return name, v, true
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if strings.EqualFold(k, name) {
			return k, m[k], true
		}
	}
	var zero T
	return "", zero, false
}

// resolveTables finds every table the query reads and gives it its declared spelling.
func (b *build) resolveTables() error {
	b.topics, b.refs = map[string]*schemas.Topic{}, map[string]*Reference{}
	var problem error
	tree.VisitTables(b.query, func(n tree.Node) {
		if problem != nil {
			return
		}
		name := n.Str("table_name")
		if n.Str("schema_name") == "" && n.Str("catalog_name") == "" && n["at_clause"] == nil {
			if k, t, ok := lookup(b.cat.Topics, name); ok {
				b.topics[k] = t
				return
			}
			if k, r, ok := lookup(b.cat.References, name); ok {
				b.refs[k] = r
				return
			}
		}
		known := append(slices.Sorted(maps.Keys(b.cat.Topics)), slices.Sorted(maps.Keys(b.cat.ViewTexts))...)
		known = append(known, slices.Sorted(maps.Keys(b.cat.References))...)
		problem = unknownTable(b.src, n, known, "topic, view or reference table")
	})
	v := b.view
	v.Topics, v.References = sortedNames(b.topics), sortedNames(b.refs)
	if len(v.Topics) == 1 {
		v.Topic = v.Topics[0]
	}
	return problem
}

func sortedNames[T any](m map[string]T) []string {
	out := make([]string, 0, len(m))
	return slices.AppendSeq(out, slices.Values(slices.Sorted(maps.Keys(m))))
}

func topicColumns(t *schemas.Topic) []Column {
	var out []Column
	for _, f := range append(slices.Clip(t.Fields), schemas.SystemFields()...) {
		out = append(out, Column{Name: f.Name, Type: f.Type.String()})
	}
	return out
}

func (b *build) createTables() error {
	for name, t := range b.topics {
		if err := b.duck.CreateTable("", name, topicColumns(t)); err != nil {
			return err
		}
	}
	for name, r := range b.refs {
		if err := b.duck.CreateTable("", name, r.Columns); err != nil {
			return err
		}
	}
	return nil
}

func (b *build) columnNames() []string {
	seen := map[string]bool{}
	var out []string
	add := func(cols []Column) {
		for _, col := range cols {
			if !seen[col.Name] {
				seen[col.Name] = true
				out = append(out, col.Name)
			}
		}
	}
	for _, n := range b.view.Topics {
		add(topicColumns(b.topics[n]))
	}
	for _, n := range b.view.References {
		add(b.refs[n].Columns)
	}
	return out
}

func (b *build) isColumn(name string) bool {
	return slices.ContainsFunc(b.columnNames(), func(c string) bool { return strings.EqualFold(c, name) })
}

func (b *build) definition() string {
	h := sha256.New()
	fmt.Fprintf(h, "view %s\n%q\n", planVersion, b.view.SQL)
	for _, n := range b.view.Topics {
		fmt.Fprintf(h, "topic %q %s\n", n, b.topics[n].Hash())
	}
	for _, n := range b.view.References {
		fmt.Fprintf(h, "reference %q %s\n", n, b.refs[n].Hash)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// wanted lists the columns that the plans read of a topic, in declared order. It may name one too many, never one too
// few: every column whose name occurs in the query counts.
func (b *build) wanted(name string) []string {
	cols := usedNames(b.query).of(name, topicColumns(b.topics[name]))
	if b.tied {
		for _, s := range []string{"_partition", "_offset", "_timestamp"} {
			if !slices.Contains(cols, s) {
				cols = append(cols, s)
			}
		}
	}
	if len(cols) == 0 {
		cols = []string{"_partition"} // count(*) alone still needs rows to count
	}
	return cols
}

// names is what a query mentions, in lower case.
type names struct {
	all     bool // a star, a NATURAL join or the like
	mention map[string]bool
	alone   map[string]bool     // mentioned without a qualifier
	aliases map[string][]string // table -> its aliases
	renamed map[string]bool     // table -> its columns have other names here
}

func usedNames(query tree.Node) names {
	u := names{mention: map[string]bool{}, alone: map[string]bool{}, aliases: map[string][]string{}, renamed: map[string]bool{}}
	tree.Walk(query, func(n tree.Node) bool {
		switch {
		case n.Class() == "STAR":
			u.all = true
		case n.Str("type") == "ORDER_MODIFIER":
			if orders := n.Nodes("orders"); len(orders) == 1 && orders[0].Sub("expression").Class() == "STAR" {
				return false // ORDER BY ALL orders by what is selected
			}
		case n.Class() == "COLUMN_REF":
			cols := n.ColumnNames()
			if len(cols) == 1 {
				u.alone[strings.ToLower(cols[0])] = true
			}
			for _, c := range cols {
				u.mention[strings.ToLower(c)] = true
			}
		case n.Class() == "POSITIONAL_REFERENCE" || n.Str("type") == "PIVOT" || n.Str("ref_type") == "NATURAL" || n.Str("ref_type") == "POSITIONAL":
			u.all = true
		case n.Str("type") == "BASE_TABLE":
			t := strings.ToLower(n.Str("table_name"))
			u.aliases[t] = append(u.aliases[t], strings.ToLower(n.TableAlias()))
			u.renamed[t] = u.renamed[t] || len(n.List("column_name_alias")) > 0
		}
		for _, c := range n.List("using_columns") {
			if s, ok := c.(string); ok {
				u.mention[strings.ToLower(s)] = true
			}
		}
		return true
	})
	return u
}

// of gives the names of a table's columns that the query may read.
func (u names) of(table string, cols []Column) []string {
	key := strings.ToLower(table)
	all := u.all || u.renamed[key]
	for _, a := range u.aliases[key] {
		// a table's name where a column may stand is the whole row
		all = all || u.alone[a]
	}
	var out []string
	for _, c := range cols {
		if all || u.mention[strings.ToLower(c.Name)] {
			out = append(out, c.Name)
		}
	}
	return out
}
