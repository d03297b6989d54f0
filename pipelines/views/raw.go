package views

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// settle fixes the answer where SQL leaves it open.
func (b *build) settle() error {
	b.settled = b.query.Clone()
	nameColumns(b.settled, b.view.Columns)
	s := &settler{duck: b.duck, sketches: true, isTopic: func(t tree.Node) bool {
		_, _, ok := lookup(b.topics, t.Str("table_name"))
		return ok
	}}
	if err := s.settleQuery(b.settled, nil); err != nil {
		return err
	}
	b.tied, b.sketched = s.used, s.sketched
	tree.CompleteOrder(b.settled, len(b.view.Columns))
	return nil
}

// raw makes the plan that runs the SELECT itself over all rows.
func (b *build) raw() error {
	q := b.settled.Clone()
	s := &settler{duck: b.duck, moments: true, isTopic: func(tree.Node) bool { return false }}
	if err := s.settleQuery(q, nil); err != nil {
		return err
	}
	names := append(append([]string(nil), b.view.Topics...), b.view.References...)
	tree.VisitTables(q, func(n tree.Node) {
		i := slices.IndexFunc(names, func(s string) bool { return strings.EqualFold(s, n.Str("table_name")) })
		n["alias"] = n.TableAlias()
		n["table_name"] = mark(i)
	})
	text, err := b.duck.Print(q.Clone())
	if err != nil {
		return err
	}
	b.view.Plans.Raw, b.rawTree = text, q
	got, err := b.duck.Describe(b.view.RawSQL(nil))
	if err != nil {
		return fmt.Errorf("view %s: raw plan: %s\n%s", b.view.Name, engine.ErrorOf(err).Message, b.view.RawSQL(nil))
	}
	if !slices.Equal(got, b.view.Columns) {
		b.view.Plans.Raw, b.rawCast = castColumns(text, got, b.view.Columns), true
	}
	return nil
}

// nameColumns writes the answer's names into the SELECT list, for an unnamed column is called after its text, and plans
// change the text.
func nameColumns(q tree.Node, columns []Column) {
	for q.Str("type") == "SET_OPERATION_NODE" {
		q = q.Sub("left")
	}
	items := q.Nodes("select_list")
	if len(items) != len(columns) {
		return
	}
	for _, item := range items {
		if item.Class() == "STAR" {
			return
		}
	}
	for i, item := range items {
		if item.Class() != "COLUMN_REF" && item.Str("alias") == "" {
			item["alias"] = columns[i].Name
		}
	}
}
