package views

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/millrace/millrace/schemas"
)

// nest writes a SELECT into another, until there are so many; %s is where the inner one goes.
func nest(levels int, outer string) string {
	q := "SELECT origin AS k, sum(delay) AS v FROM flights GROUP BY origin"
	for range levels - 1 {
		q = strings.Replace(outer, "%s", "\n"+q, 1)
	}
	return q
}

// What DuckDB's planner would think about for years is refused, at its place, and what it can plan is not.
func TestNestedSelects(t *testing.T) {
	c, cat := openCompiler(t), corpusCatalog(t)
	known := Tables{Catalog: *cat}
	for _, x := range []struct {
		outer string
		most  int // levels that may be
	}{
		{"SELECT k, sum(v) AS v FROM (%s) GROUP BY k", 12},
		{"SELECT max(k) AS k, sum(v) AS v FROM (%s)", 12},
		{"SELECT k, sum(v) OVER (PARTITION BY k) AS v FROM (%s)", 12},
		{"WITH q AS (%s) SELECT k, sum(v) AS v FROM q GROUP BY k", 12},
		{"SELECT origin AS k, sum(delay) AS v FROM flights WHERE delay < (SELECT max(v) FROM (%s)) GROUP BY origin", 4},
		{"SELECT k, v FROM (%s) WHERE v > 1", 0},
		{"SELECT DISTINCT k, v FROM (%s)", 0},
	} {
		for _, levels := range []int{max(x.most, 1), x.most + 1, 30} {
			sql := nest(levels, x.outer)
			refused := x.most > 0 && levels > x.most
			_, compiled := c.Compile("v", "v.sql", sql, cat)
			_, queried := c.Query(sql, known)
			for _, err := range []error{compiled, queried} {
				var p *schemas.Problem
				if !refused && err != nil || refused && (!errors.As(err, &p) || p.Line == 0 || p.Column == 0 || !strings.Contains(p.Message, "more than 12 deep within each other")) {
					t.Errorf("%s, %d levels: %v", x.outer, levels, err)
				}
			}
		}
	}
}

// A chain of views is as deep as all of them, and the file of the view at fault is named.
func TestChainsOfViewsAreNested(t *testing.T) {
	c, cat := openCompiler(t), corpusCatalog(t)
	cat.ViewTexts["v1"] = ViewText{"views/v1.sql", "SELECT origin AS k, sum(delay) AS v FROM flights GROUP BY origin"}
	for i := 2; i <= 14; i++ {
		name := fmt.Sprintf("v%d", i)
		cat.ViewTexts[name] = ViewText{"views/" + name + ".sql", fmt.Sprintf("SELECT k, sum(v) AS v FROM v%d GROUP BY k", i-1)}
	}
	for i, want := range map[int]string{12: "", 13: "views/v13.sql:1:", 14: "views/v13.sql:1:"} {
		name := fmt.Sprintf("v%d", i)
		_, err := c.Compile(name, cat.ViewTexts[name].File, cat.ViewTexts[name].SQL, cat)
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
