package views

import (
	"fmt"
	"slices"
	"strings"
)

// by is the GROUP BY over the columns that hold the keys; empty if there is none.
func (g *grouper) by(columns []string) string {
	if g.sets == nil {
		return groupBy(columns)
	}
	var all []string
	for _, set := range g.sets {
		var each []string
		for _, i := range set {
			each = append(each, columns[i])
		}
		all = append(all, "("+strings.Join(each, ", ")+")")
	}
	return " GROUP BY GROUPING SETS (" + strings.Join(all, ", ") + ")"
}

func groupBy(columns []string) string {
	if len(columns) == 0 {
		return ""
	}
	return " GROUP BY " + strings.Join(columns, ", ")
}

// head is the keys and levels in the SELECT list of a part of the results, and what it is grouped by.
func (g *grouper) head(of *section) (selected, by []string) {
	for i := range g.keys {
		if g.fused() && i == len(g.keys)-1 {
			if of.fuse != nil {
				selected, by = append(selected, of.fuse.start.merge+" AS "+keyName(i)), append(by, "part.island")
			} else {
				selected, by = append(selected, "part.begun AS "+keyName(i)), append(by, "part.begun")
			}
			continue
		}
		by = append(by, "part."+of.keys[i].name)
		selected = append(selected, by[i]+" AS "+keyName(i))
	}
	level := func(call string) string {
		for i := range slices.Backward(g.keys) {
			call = strings.ReplaceAll(call, keyName(i), by[i])
		}
		return call
	}
	for i, call := range g.levels {
		selected = append(selected, level(call)+" AS "+levelName(i))
	}
	if g.sets != nil && len(by) > 0 {
		selected = append(selected, "GROUPING("+strings.Join(by, ", ")+") AS level")
	}
	return selected, by
}

// source gives the results: the groups with their states, joined with what the bags come to.
func (g *grouper) source() string {
	var parts, cols []string
	for i := range g.keys {
		cols = append(cols, "part0."+keyName(i))
	}
	for i := range g.levels {
		cols = append(cols, "part0."+levelName(i))
	}
	if g.main != nil {
		selected, by := g.head(g.main)
		for _, s := range g.main.states {
			selected = append(selected, s.merge+" AS "+s.name)
			cols = append(cols, "part0."+s.name)
		}
		parts = append(parts, "SELECT "+strings.Join(selected, ", ")+" FROM "+g.stretched(g.main)+" AS part"+g.by(by))
	}
	for _, b := range g.bags {
		for _, repeated := range []bool{false, true} {
			selected, by := g.head(&b.section)
			some := false
			for _, o := range b.outputs {
				if o.repeated == repeated {
					some = true
					selected = append(selected, o.text+" AS "+o.name)
					cols = append(cols, fmt.Sprintf("part%d.%s", len(parts), o.name))
				}
			}
			if some {
				parts = append(parts, "SELECT "+strings.Join(selected, ", ")+" FROM "+g.ofSessions(b, b.rows(g.planner, repeated))+" AS part"+g.by(by))
			}
		}
	}
	if len(parts) == 1 {
		return parts[0]
	}
	text := "SELECT " + strings.Join(cols, ", ") + " FROM (" + parts[0] + ") AS part0"
	for i, part := range parts[1:] {
		text += fmt.Sprintf(" JOIN (%s) AS part%d ON %s", part, i+1, g.same(i+1))
	}
	return text
}

// same is the condition that rows of the first part and of another are of one group.
func (g *grouper) same(part int) string {
	on := []string{"true"}
	for k := range g.keys {
		on = append(on, fmt.Sprintf("part0.%s IS NOT DISTINCT FROM part%d.%[1]s", keyName(k), part))
	}
	if g.sets != nil && len(g.keys) > 0 {
		on = append(on, fmt.Sprintf("part0.level = part%d.level", part))
	}
	return strings.Join(on[min(1, len(on)-1):], " AND ")
}
