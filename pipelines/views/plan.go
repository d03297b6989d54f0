package views

import (
	"errors"
	"fmt"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// blocked is why a view is raw.
type blocked string

func (b blocked) Error() string { return string(b) }

// planner makes the plans of a view that is answered from partials.
type planner struct {
	*build
	root     tree.Node // of the final plan
	sections []*section
	standIns []func() string // SQL of the results that stand in the final plan's FROM
	top      *grouper        // of the root; nil: it groups no records itself

	named, stated, outs int // keys, states and outputs of bags so far
}

// merged makes the plans, or says in the view why it is raw.
func (b *build) merged() error {
	p := &planner{build: b}
	err := p.plan()
	var why blocked
	if errors.As(err, &why) {
		v := b.view
		v.Class, v.Reasons, v.Plans = Raw, append(v.Reasons, string(why)), Plans{Raw: v.Plans.Raw}
		v.State, v.Keys, v.KeyColumns, v.Measured, v.Notes = nil, 0, map[string]string{}, nil, []string{}
		return nil
	}
	return err
}

func (p *planner) plan() error {
	switch v := p.view; {
	case len(v.Topics) == 0:
		return blocked("it reads no topic")
	case len(v.Topics) > 1:
		return blocked("it reads several topics: " + strings.Join(v.Topics, ", ") + "; a view of each that groups by the join's columns, joined in a query, is answered from partials")
	}
	p.root = p.settled.Clone()
	k, err := p.split(p.root, nil)
	if err != nil {
		return err
	}
	if k == records {
		if err := p.keepRows(p.root, nil); err != nil {
			return err
		}
	}
	tree.CompleteOrder(p.root, len(p.view.Columns))
	p.view.Class = Merged
	if p.sketched {
		p.view.Class = Sketched
	}
	if err := p.typeStates(); err != nil {
		return err
	}
	if err := p.printPlans(); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	if err := p.magnitudes(); err != nil {
		return err
	}
	return p.measures()
}

func (p *planner) isRoot(q tree.Node) bool { return q.Address() == p.root.Address() }

const standInMark = "__millrace_results_"

// standIn is a table in the final plan's FROM that stands for SQL which is not known yet.
func (p *planner) standIn(sql func() string) tree.Node {
	p.standIns = append(p.standIns, sql)
	return tree.Table(standInName(len(p.standIns)-1), "merged")
}

func standInName(i int) string { return fmt.Sprintf("%s%d__", standInMark, i) }
