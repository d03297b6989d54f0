package views

import (
	"fmt"
	"slices"

	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// section is a part of State: what one GROUP BY over the topic's records comes to, or the rows of a SELECT as they are.
type section struct {
	from   tree.Node // a SELECT whose FROM, WHERE and WITH give the rows; of kept rows the SELECT itself
	keys   []*column
	states []*column
	kept   *keptRows
	fuse   *session
}

// column is a column of State.
type column struct {
	name           string
	text           string // how it is computed over the topic's rows
	merge          string // how it is computed over State; a key has none
	plain, carrier string // its type in the plans and the type it travels as
}

func (c *column) packed(expr string) string {
	if c.plain == c.carrier {
		return expr
	}
	return "CAST(" + expr + " AS " + c.carrier + ")"
}

func (g *section) columns() []*column { return slices.Concat(g.keys, g.states) }

// newKey is the next key, by its text over the topic's rows.
func (p *planner) newKey(text string) *column {
	p.named++
	return &column{name: fmt.Sprintf("k%d", p.named-1), text: text}
}

// newState is the next state; its texts are the caller's to fill in.
func (p *planner) newState() *column {
	p.stated++
	return &column{name: fmt.Sprintf("s%d", p.stated-1)}
}
