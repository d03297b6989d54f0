package views

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/aggregate"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// magnitudes makes the plan that measures rounding. A floating sum depends on the order of its terms by a part of the
// sum of their magnitudes, which may be far more than a part of the sum itself: 1e15 + 0.1 - 1e15. So two answers are
// compared by that measure, and the raw SELECT can give it beside each such column.
func (p *planner) magnitudes() error {
	v := p.view
	if p.top == nil || p.fuses() || p.rawCast {
		return nil
	}
	if slices.ContainsFunc(p.query.Nodes("modifiers"), func(m tree.Node) bool { return m.Str("type") == "DISTINCT_MODIFIER" }) {
		return nil // one more column would make other rows of it
	}
	q := p.rawTree.Clone()
	var measured []int
	for i, item := range p.top.items {
		if i >= len(v.Columns) || v.Columns[i].Type != "DOUBLE" && v.Columns[i].Type != "FLOAT" || !hasAggregate(p.duck, item) {
			continue
		}
		text, err := p.magnitude(item)
		if err != nil {
			return err
		}
		e, err := p.duck.Expr(text)
		if err != nil {
			return err
		}
		q["select_list"] = append(q.List("select_list"), e.WithAlias(magnitudeName(len(measured))))
		measured = append(measured, i)
	}
	if len(measured) == 0 {
		return nil
	}
	text, err := p.duck.Print(q)
	if err != nil {
		return err
	}
	// What does not bind, such as a magnitude of something that is no number, is compared by the answers' own.
	if got, err := p.duck.Describe(fillTables(text, append(slices.Clone(v.Topics), v.References...), nil)); err == nil && len(got) == len(v.Columns)+len(measured) {
		v.Plans.Magnitudes, v.Measured = text, measured
	}
	return nil
}

func magnitudeName(i int) string { return fmt.Sprintf("millrace_magnitude_%d", i) }

// magnitude is an expression's value if no term of its sums cancelled another.
func (p *planner) magnitude(e tree.Node) (string, error) {
	args := e.Nodes("children")
	if e.Class() == "CAST" {
		return p.magnitude(e.Sub("child"))
	}
	a, ok := callOf(e)
	switch name := a.Plain(); {
	case !ok:
	case (p.duck.IsAggregate(a.Name) || aggregate.IsMacro(a.Name)) && len(args) > 0 && !a.Distinct:
		if err := printCall(p.duck, &a, e); err != nil {
			return "", err
		}
		if measure := a.Measure(); measure != "" {
			return measure, nil
		}
	case len(args) == 1 && name == "-" || name == "abs" || name == "round":
		return p.magnitude(args[0])
	case len(args) == 2 && slices.Contains([]string{"+", "-", "*", "/"}, name):
		left, err := p.magnitude(args[0])
		if err != nil {
			return "", err
		}
		if name == "/" { // what divides does not cancel
			text, err := p.duck.PrintExpr(args[1])
			return "(" + left + " / abs(CAST(" + text + " AS DOUBLE)))", err
		}
		right, err := p.magnitude(args[1])
		return "(" + left + " " + strings.Replace(name, "-", "+", 1) + " " + right + ")", err
	}
	text, err := p.duck.PrintExpr(e)
	return "abs(CAST(" + text + " AS DOUBLE))", err
}

// measures makes the plan that measures the rounding of floating states. Where that does not bind, it is not known.
func (p *planner) measures() error {
	v := p.view
	if !slices.ContainsFunc(v.State[v.Keys:], func(c Column) bool { return floating(c.Type) }) {
		return nil
	}
	text, err := p.measuresBy(p.measure)
	if err != nil {
		return err
	}
	if got, err := p.duck.Describe(fill(text, v.Topic)); err != nil || len(got) != len(v.State) {
		if text, err = p.measuresBy(func(string) (string, error) { return unmeasured, nil }); err != nil {
			return err
		}
	}
	v.Plans.Measures = text
	return nil
}

// measuresBy is the partial plan with measures for floating states.
func (p *planner) measuresBy(measure func(text string) (string, error)) (string, error) {
	return p.partialSQL(func(g *section) (*section, error) {
		measured := *g
		measured.states = slices.Clone(g.states)
		for i, c := range g.states {
			if g.kept != nil || !floating(c.plain) {
				continue
			}
			m := *c
			var err error
			if m.text, err = measure(c.text); err != nil {
				return nil, err
			}
			measured.states[i] = &m
		}
		return &measured, nil
	})
}

const unmeasured = "CAST('inf' AS DOUBLE)"

func floating(t string) bool { return t == "DOUBLE" || t == "FLOAT" }

// measure is what a floating state is rounded by, given by its text over the topic's rows.
func (p *planner) measure(text string) (string, error) {
	e, err := p.duck.Expr(text)
	if err != nil {
		return "", err
	}
	a, ok := callOf(e)
	switch {
	case !ok:
	case a.Name == "least": // a mean within its bounds: least(greatest(mean, ...), ...)
		if bounded := e.Nodes("children")[0].Nodes("children"); len(bounded) > 0 {
			return p.magnitude(bounded[0])
		}
	case p.duck.IsAggregate(a.Name) && !a.Distinct:
		if err := printCall(p.duck, &a, e); err != nil {
			return "", err
		}
		if measure := a.Measure(); measure != "" {
			return measure, nil
		}
		return "CAST(NULL AS DOUBLE)", nil // one of its values, or their product
	}
	return unmeasured, nil
}
