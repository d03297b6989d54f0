package views

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/tree"
)

// note says once what partials keep.
func (b *build) note(text string) {
	if !slices.Contains(b.view.Notes, text) {
		b.view.Notes = append(b.view.Notes, text)
	}
}

// noteBag is of an aggregate that keeps its values.
func (g *grouper) noteBag(n tree.Node) {
	text, err := g.duck.PrintExpr(n.Clone().WithAlias(""))
	if err != nil {
		return
	}
	text = strings.ReplaceAll(text, `"`, "")
	switch a, _ := callOf(n); {
	case a.Distinct:
		g.note(text + ": each different value of a group is kept once")
	case a.TakesOrder() && a.Plain() != "mode":
		g.note(text + ": every value of a group is kept, with what it is ordered by")
	default:
		g.note(text + ": each different value of a group is kept with its count")
	}
}

// zoned are functions whose answer over TIMESTAMPTZ hangs on the time zone.
var zoned = map[string]bool{
	"time_bucket": true, "date_trunc": true, "datetrunc": true, "date_part": true, "datepart": true, "strftime": true, "hour": true,
	"day": true, "dayofmonth": true, "dayofweek": true, "isodow": true, "week": true, "month": true, "year": true, "quarter": true, "dayname": true, "monthname": true,
}

// days are the spans of time that begin elsewhere in another time zone.
var days = regexp.MustCompile(`(?i)day|week|month|quarter|year|decade|%`)

// warn notes what may surprise in a view: sums of floating point numbers, days whose time zone nobody set, whole-number
// division, and groups that grow with the records.
func (b *build) warn() {
	said := map[string]bool{}
	warn := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !said[text] {
			said[text] = true
			b.view.Warnings = append(b.view.Warnings, text)
		}
	}
	types := map[string]string{} // of columns, by lower-case name; where tables disagree none
	for _, name := range b.view.Topics {
		for _, c := range topicColumns(b.topics[name]) {
			types[strings.ToLower(c.Name)] = c.Type
		}
	}
	typeOf := func(e tree.Node) string {
		if e.Class() != "COLUMN_REF" {
			return ""
		}
		names := e.ColumnNames()
		return types[strings.ToLower(names[len(names)-1])]
	}
	tree.Walk(b.query, func(n tree.Node) bool {
		if n.Str("type") == "SELECT_NODE" {
			for _, k := range n.Nodes("group_expressions") {
				names := k.ColumnNames()
				switch t := typeOf(k); {
				case t == "":
				case t == "UUID" || strings.HasPrefix(t, "TIMESTAMP") || strings.EqualFold(names[len(names)-1], "_offset") || strings.EqualFold(names[len(names)-1], "_key"):
					warn("GROUP BY %s: there may be as many groups as records; time_bucket, a WHERE or a coarser key bounds them", strings.Join(names, "."))
				}
			}
		}
		args := n.Nodes("children")
		if n.Class() != "FUNCTION" || len(args) == 0 {
			return true
		}
		name := strings.ToLower(n.Str("function_name"))
		switch t := typeOf(args[0]); {
		case (name == "sum" || name == "avg") && (t == "DOUBLE" || t == "FLOAT"):
			warn("%s over %s: floating point sums differ in their last digits by the order of records; DECIMAL is exact, fsum nearly", name, strings.Join(args[0].ColumnNames(), "."))
		case zoned[name] && typeOf(args[len(args)-1]) == "TIMESTAMP WITH TIME ZONE" && (len(args) == 1 || days.MatchString(tree.Encode(args[0]))):
			warn("%s over %s: no time zone is set, so days and hours are those of UTC; AT TIME ZONE 'Europe/Paris' gives local ones", name, strings.Join(args[len(args)-1].ColumnNames(), "."))
		case name == "//":
			warn("a // b drops the remainder; a / b keeps it")
		}
		return true
	})
}
