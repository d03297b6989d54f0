package views

import (
	"fmt"
	"maps"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// mostNested bounds how deep aggregates, windows and scalar subqueries may stand within each other. DuckDB pushes filters through
// each of them twice, so that planning takes twice as long a level and cannot be interrupted: 10 ms at 12, four seconds at 24,
// which a question over such a view comes to, and years at 60.
const mostNested = 12

// nesting measures how deep a query is for DuckDB's planner.
type nesting struct {
	duck *engine.Conn
	src  tree.Source
	err  error
}

// checkNested refuses a query that DuckDB would plan for ever.
func checkNested(duck *engine.Conn, src tree.Source, query tree.Node) error {
	n := &nesting{duck: duck, src: src}
	n.depth(query, nil)
	return n.err
}

// depth is that of a tree; ctes has those of the common table expressions in scope, by lower-case name.
func (n *nesting) depth(v any, ctes map[string]int) (deepest int) {
	below := func(c any) any {
		deepest = max(deepest, n.depth(c, ctes))
		return c
	}
	t, ok := v.(tree.Node)
	if !ok {
		tree.Children(v, below)
		return deepest
	}
	switch {
	case t.Str("type") == "BASE_TABLE" && t.Str("schema_name") == "":
		return ctes[strings.ToLower(t.Str("table_name"))]
	case t.IsQuery():
		ctes = maps.Clone(ctes)
		if ctes == nil {
			ctes = map[string]int{}
		}
		for _, e := range t.Sub("cte_map").Nodes("map") {
			ctes[strings.ToLower(e.Str("key"))] = n.depth(e["value"], ctes)
		}
		for _, k := range tree.SortedKeys(t) {
			if k != "cte_map" {
				below(t[k])
			}
		}
		deepest += n.own(t)
	default:
		tree.Children(t, below)
		if t.Class() == "SUBQUERY" && t.Str("subquery_type") == "SCALAR" {
			deepest++
		}
	}
	if deepest > mostNested && n.err == nil {
		n.err = n.src.Wrong(tree.FirstLocation(t), fmt.Sprintf("aggregates, windows and scalar subqueries stand more than %d deep within each other", mostNested),
			"write fewer levels, through views and WITH too: DuckDB plans twice as long for each")
	}
	return deepest
}

// own is what a SELECT adds to the depth.
func (n *nesting) own(q tree.Node) int {
	levels := 0
	parts := []any{q["select_list"], q["having"], q["qualify"], q["modifiers"]}
	if len(q.List("group_expressions")) > 0 || hasAggregate(n.duck, parts) {
		levels++
	}
	windows := false
	tree.Walk(parts, func(e tree.Node) bool {
		windows = windows || e.Class() == "WINDOW"
		return !e.IsQuery()
	})
	if windows {
		levels++
	}
	return levels
}
