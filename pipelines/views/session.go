package views

import (
	"regexp"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// session is the State of groups by session: of each stretch of records no further apart than the gap, the first and
// the last time. Stretches that a part cut, or that a late record joins, become one when parts are merged.
type session struct {
	start, stop *column
	gap         string
}

func isSession(e tree.Node) bool {
	return e.Class() == "FUNCTION" && strings.EqualFold(e.Str("function_name"), engine.SessionName) && len(e.List("children")) == 2
}

// Literals and calls in the SQL of plans.
var (
	textLiteral = regexp.MustCompile(`'(?:[^']|'')*'`)
	sessionCall = regexp.MustCompile(`(?i)\bsession"?\(`)
)

// checkSession refuses a view that has sessions and is not merged, or has one where it is no group key: DuckDB alone does
// not know what a session is.
func (b *build) checkSession() error {
	plans := b.view.Plans
	if !sessionCall.MatchString(textLiteral.ReplaceAllString(plans.Raw+plans.Partial+plans.Final, "")) {
		return nil
	}
	var at tree.Node
	tree.Walk(b.query, func(n tree.Node) bool {
		if at == nil && isSession(n) {
			at = n
		}
		return at == nil
	})
	if at == nil {
		return nil
	}
	why := strings.Join(b.view.Reasons, "; ")
	if why == "" {
		why = "it is no key of GROUP BY"
	}
	return b.src.Wrong(at.Location(), "session(...) has no answer here: "+why, "make session(ts, gap) a key of GROUP BY, over one topic")
}

// fuse makes the last of the group keys, a session, a stretch of time.
func (g *grouper) fuse() error {
	args := g.keys[len(g.keys)-1].Nodes("children")
	at, err := g.duck.PrintExpr(args[0])
	if err != nil {
		return err
	}
	s := &session{}
	if s.gap, err = g.duck.PrintExpr(args[1]); err != nil {
		return err
	}
	switch {
	case tree.HasColumn(args[1]):
		return blocked("the gap of a session is no constant")
	case g.sets != nil:
		return blocked("sessions under ROLLUP, CUBE and GROUPING SETS are computed over all rows")
	}
	s.start, s.stop = g.newState(), g.newState()
	s.start.text, s.start.merge = at, "min("+s.start.name+")"
	s.stop.text, s.stop.merge = at, "max("+s.stop.name+")"
	g.main.states = []*column{s.start, s.stop}
	g.note("session: the first and last time of each stretch is kept; stretches that lie close enough become one")
	g.main.fuse = s
	return nil
}

// islands numbers the stretches that belong together, within each group, as the column island.
func (s *session) islands(g *section, from string) string {
	by := s.start.name + " IS NULL"
	for _, k := range g.keys {
		by += ", " + k.name
	}
	window := "(PARTITION BY " + by + " ORDER BY " + s.start.name + ", " + s.stop.name + " ROWS "
	return "(SELECT *, sum(fresh) OVER " + window + "UNBOUNDED PRECEDING) AS island FROM (SELECT *, CASE WHEN " + s.start.name + " IS NULL OR " +
		s.start.name + " <= max(" + s.stop.name + ") OVER " + window + "BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) + " + s.gap + " THEN 0 ELSE 1 END AS fresh FROM " + from + "))"
}

// fused says whether the last of the keys is a session.
func (g *grouper) fused() bool { return g.main != nil && g.main.fuse != nil }

// ofSessions adds to a bag's rows the time begun at which their session began.
func (g *grouper) ofSessions(b *bag, rows string) string {
	if !g.fused() {
		return rows
	}
	s, at := g.main.fuse, "bag."+b.keys[len(g.keys)-1].name
	same := "(" + at + " BETWEEN stretch.begun AND stretch.ended OR " + at + " IS NULL AND stretch.begun IS NULL)"
	selected, by := []string{}, []string{}
	for i, k := range g.main.keys {
		selected, by = append(selected, "part."+k.name), append(by, "part."+k.name)
		same += " AND bag." + b.keys[i].name + " IS NOT DISTINCT FROM stretch." + k.name
	}
	selected, by = append(selected, s.start.merge+" AS begun", s.stop.merge+" AS ended"), append(by, "part.island")
	return "(SELECT bag.*, stretch.begun FROM " + rows + " AS bag JOIN (SELECT " + strings.Join(selected, ", ") + " FROM " + g.stretched(g.main) + " AS part" + groupBy(by) +
		") AS stretch ON " + same + ")"
}
