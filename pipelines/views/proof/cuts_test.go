package proof_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// cutting is one way to compute a view from partials: which part each row goes to, and which parts merge with which.
// Its fields are all there is to it, so that a failure can print it.
type cutting struct {
	Parts    int
	Bounds   []int   // the rows' numbers at which a part ends; nil: rows are scattered over the parts
	Seed     int     // scatters rows over parts and shuffles them in a part; 0: rows stay in their order
	Together [][]int // each step merges these of the tables at hand, whose result joins them at the end
}

func (c cutting) String() string {
	rows := fmt.Sprintf("cut at %v", c.Bounds)
	if c.Bounds == nil {
		rows = fmt.Sprintf("scattered over %d parts", c.Parts)
	}
	return fmt.Sprintf("rows %s, shuffled by %d; merged %v", rows, c.Seed, c.Together)
}

// part is an expression over rowid.
func (c cutting) part() string {
	if c.Bounds == nil {
		return fmt.Sprintf("hash(rowid + %d) %% %d", c.Seed*1000, c.Parts)
	}
	return fmt.Sprintf("len(list_filter(%s::BIGINT[], lambda b: b <= rowid))", strings.ReplaceAll(fmt.Sprint(c.Bounds), " ", ", "))
}

// drawCutting draws one for n rows; pick(n) is at least 0 and below n.
func drawCutting(rows int, pick func(n int) int) cutting {
	c := cutting{Parts: 1 + pick(min(rows+1, 4))}
	if c.Seed = pick(1000); pick(3) > 0 {
		c.Bounds = []int{}
		for range c.Parts - 1 {
			c.Bounds = append(c.Bounds, pick(rows+1))
		}
		slices.Sort(c.Bounds)
		c.Seed *= pick(2)
	}
	at := make([]int, c.Parts)
	for i := range at {
		at[i] = i
	}
	for next := c.Parts; len(at) > 1 || len(c.Together) == 0; next++ {
		var step []int
		for range min(len(at), 2+pick(2)) {
			i := pick(len(at))
			step = append(step, at[i])
			at = slices.Delete(at, i, i+1)
		}
		at = append(at, next)
		c.Together = append(c.Together, step)
	}
	return c
}

func randomPick(seed uint64) func(int) int {
	r := rand.New(rand.NewPCG(seed, 1))
	return r.IntN
}

// cut computes the view's answer from partials of its topic's table in two ways: over the partials as they are, and over
// merges of merges.
func (g *ground) cut(t reporter, v *views.View, c cutting) (overParts, overMerged answer, err error) {
	t.Helper()
	wanted := make([]string, len(v.Wanted[v.Topic]))
	for i, name := range v.Wanted[v.Topic] {
		wanted[i] = schemas.QuoteIdent(name)
	}
	order := ""
	if c.Seed > 0 {
		order = fmt.Sprintf(" ORDER BY hash(rowid + %d)", c.Seed)
	}
	run := func(query string) {
		if err == nil {
			if err = g.try(query); err != nil {
				err = fmt.Errorf("%w\n%s", err, query)
			}
		}
	}
	into := func(i int, query string) {
		run(fmt.Sprintf("CREATE OR REPLACE TEMP TABLE state%d AS %s", i, query))
	}
	for part := range c.Parts {
		run(fmt.Sprintf("CREATE OR REPLACE TEMP VIEW chunk AS SELECT %s FROM %s WHERE %s = %d%s", strings.Join(wanted, ", "), schemas.QuoteIdent(v.Topic), c.part(), part, order))
		into(part, v.PartialSQL("chunk"))
	}
	together := func(tables []int) string {
		var all []string
		for _, i := range tables {
			all = append(all, fmt.Sprintf("SELECT * FROM state%d", i))
		}
		return "CREATE OR REPLACE TEMP VIEW parts AS " + strings.Join(all, " UNION ALL ")
	}
	all := make([]int, c.Parts)
	for i := range all {
		all[i] = i
	}
	run(together(all))
	if err == nil {
		overParts, err = g.text(t, v.FinalSQL("parts"))
	}
	for i, step := range c.Together {
		run(together(step))
		into(c.Parts+i, v.MergeSQL("parts"))
	}
	if err == nil {
		overMerged, err = g.text(t, v.FinalSQL(fmt.Sprintf("state%d", c.Parts+len(c.Together)-1)))
	}
	return overParts, overMerged, err
}
