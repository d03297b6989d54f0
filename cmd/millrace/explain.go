package main

import (
	"fmt"
	"strings"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/serving"
)

// printExplanation is what `query --explain` prints.
func (a *app) printExplanation(e *serving.Explanation) error {
	if a.json {
		return a.printJSON(e)
	}
	for _, s := range e.Sources {
		if s.Class == views.Raw {
			fmt.Fprintf(a.stdout, "view %s (raw: %s)\n", s.Name, strings.Join(s.Reasons, "; "))
			a.printJoins(s.Joins)
			continue
		}
		what := "topic " + s.Name
		if s.Class != "" {
			what = fmt.Sprintf("view %s (%s, over %s)", s.Name, s.Class, s.Topic)
		}
		if s.Half != "" {
			what = s.Half + " half of " + what
		}
		fmt.Fprintln(a.stdout, what)
		if s.Class != "" {
			fmt.Fprintf(a.stdout, "  %s of the batch layer, %s of the speed layer\n", count(s.Partials, "partial"), count(s.Slices, "slice"))
			a.printJoins(s.Joins)
		}
		fmt.Fprintf(a.stdout, "  from data files: %s\n  from the log: %s\n", ranges(s.Files), ranges(s.Log))
		if len(s.Lost) > 0 {
			fmt.Fprintf(a.stdout, "  lost, for Kafka dropped them before a cycle had read them: %s\n", ranges(s.Lost))
		}
	}
	_, err := fmt.Fprintln(a.stdout, strings.TrimRight(e.Plan, "\n"))
	return err
}

// printJoins says with which versions of reference tables records are joined.
func (a *app) printJoins(joins []serving.Join) {
	for _, j := range joins {
		short := make([]string, len(j.Versions))
		for i, hash := range j.Versions {
			short[i] = hash[:12]
		}
		fmt.Fprintf(a.stdout, "  joins %s %s: version %s\n", j.Reference, how(j), strings.Join(short, ", then "))
	}
}

// how says with which of a table's versions records are joined.
func how(j serving.Join) string {
	if j.AsItWas {
		return "as it was"
	}
	return "as it is now"
}

func ranges(list []schemas.Range) string {
	if len(list) == 0 {
		return "nothing"
	}
	var records int64
	texts := make([]string, len(list))
	for i, r := range list {
		texts[i] = r.String()
		records += r.Len()
	}
	return fmt.Sprintf("%s, %s", strings.Join(texts, " "), count(int(records), "offset"))
}
