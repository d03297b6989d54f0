package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/serving"
)

type validateOptions struct {
	verbose bool
}

func newValidate(a *app) *cobra.Command {
	o := &validateOptions{}
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check every file of the project and say how each view is answered",
		Long: `validate reads every file of the project and prints every problem with its file, line and column.
It needs no broker. For each view it prints its class:

  merged    answered from partials and the records they do not cover
  sketched  the same, with an error that is stated
  raw       computed from all records each time; why, and what small change would make it merge

and what may surprise in it.`,
		Example: `  millrace validate
  millrace validate -v          # columns of topics and views, and each view's plans
  millrace validate --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runValidate(cmd.Context(), a, o) },
	}
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "print the columns of topics and views, and each view's plans")
	return cmd
}

// validation is what `validate --json` prints.
type validation struct {
	Views    []viewVerdict             `json:"views"`
	Topics   map[string][]views.Column `json:"topics,omitempty"` // with -v: their columns
	Problems problems                  `json:"problems"`
	Notes    []string                  `json:"notes,omitempty"`
}

// viewVerdict is one view of a validation.
type viewVerdict struct {
	Name    string         `json:"name"`
	Class   views.Class    `json:"class"`
	Reasons []string       `json:"reasons"`
	Notes   []string       `json:"notes"`    // what the partials keep
	Warns   []string       `json:"warnings"` // what may surprise
	Columns []views.Column `json:"columns"`
	Joins   []serving.Join `json:"joins,omitempty"` // reference tables, in the version of now
	Plans   *plans         `json:"plans,omitempty"`

	Estimate *batch.Estimate `json:"estimate,omitempty"` // with -v: of its partials, where a cycle has committed records
}

// plans are a view's plans, its sources by name.
type plans struct {
	Partial string `json:"partial,omitempty"`
	Merge   string `json:"merge,omitempty"`
	Final   string `json:"final,omitempty"`
	Raw     string `json:"raw"`
}

func runValidate(ctx context.Context, a *app, o *validateOptions) error {
	p, found := project.Open(a.dir)
	if p == nil {
		return problems(found)
	}
	c, more, err := compile(p, nil)
	if err != nil {
		return err
	}
	all := append(problems(found), more...)
	slices.SortStableFunc(all, func(x, y *schemas.Problem) int {
		return cmp.Or(cmp.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line), cmp.Compare(x.Column, y.Column))
	})
	out := validation{Views: []viewVerdict{}, Problems: all, Notes: p.Notes}
	if out.Problems == nil {
		out.Problems = problems{}
	}
	if o.verbose {
		out.Topics = map[string][]views.Column{}
		for name, topic := range p.Topics {
			for _, f := range append(slices.Clone(topic.Fields), schemas.SystemFields()...) {
				out.Topics[name] = append(out.Topics[name], views.Column{Name: f.Name, Type: f.Type.String()})
			}
		}
	}
	for _, v := range c.views {
		verdict := viewVerdict{Name: v.Name, Class: v.Class, Reasons: v.Reasons, Notes: v.Notes, Warns: v.Warnings, Columns: v.Columns}
		for _, name := range v.References {
			r := c.References[name]
			verdict.Joins = append(verdict.Joins, serving.Join{Reference: name, AsItWas: r.AsItWas, Versions: []string{r.Hash}})
		}
		if o.verbose {
			verdict.Plans = &plans{Raw: v.RawSQL(nil)}
			if v.Class != views.Raw {
				verdict.Plans = &plans{Partial: v.PartialSQL(v.Topic), Merge: v.MergeSQL("partials"), Final: v.FinalSQL("merged"), Raw: v.RawSQL(nil)}
			}
		}
		out.Views = append(out.Views, verdict)
	}
	if o.verbose && len(all) == 0 {
		if err := a.estimate(ctx, p, out.Views); err != nil {
			a.note("no estimate of partials: %s", err)
		}
	}
	if a.json {
		err = a.printJSON(out)
	} else {
		err = a.printValidation(p, out)
	}
	if err == nil && len(all) > 0 {
		err = said{all}
	}
	return err
}

// manyRows is from how many rows on partials are worth a warning.
const manyRows = 100_000

// estimate tries what the views' partials come to, where there is something to try it on.
func (a *app) estimate(ctx context.Context, p *project.Project, verdicts []viewVerdict) error {
	if _, err := os.Stat(p.Private("broker")); p.Config.Embedded() && err != nil {
		return nil // no broker has run here yet, and this is no reason to begin
	}
	e, err := a.engine(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	for i, v := range e.catalog.views {
		if !v.Class.FromPartials() || i >= len(verdicts) || verdicts[i].Name != v.Name {
			continue
		}
		est, err := e.cycle(a, v.Topic).Estimate(ctx, v)
		if err != nil {
			return err
		}
		if est.Records > 0 {
			verdicts[i].Estimate = est
		}
	}
	return nil
}

// print writes what there is to say of a view, a line each.
func (v *viewVerdict) print(w io.Writer) {
	line := func(what, text string) {
		if text != "" {
			fmt.Fprintf(w, "  %-8s %s\n", what, text)
		}
	}
	for _, text := range v.Warns {
		line("warning", text)
	}
	s := v.Plans
	for _, j := range v.Joins {
		if j.AsItWas || s != nil { // as it is now is what one expects
			line("joins", j.Reference+" "+how(j))
		}
	}
	if s == nil {
		return
	}
	for _, text := range v.Notes {
		line("keeps", text)
	}
	if e := v.Estimate; e != nil {
		line("partials", fmt.Sprintf("about %s in %s for %s records, from a sample of %s", rowCount(e.Rows), size(e.Bytes), thousands(e.Records), thousands(e.Sample)))
		if e.Rows > e.Records/2 && e.Rows > manyRows {
			line("warning", "its partials grow with the records: a coarser key or a WHERE bounds them")
		}
	}
	line("columns", columnList(v.Columns))
	line("partial", s.Partial)
	line("merge", s.Merge)
	line("final", s.Final)
	line("raw", s.Raw)
}

func (a *app) printValidation(p *project.Project, v validation) error {
	for _, problem := range v.Problems {
		fmt.Fprintln(a.stderr, problem)
	}
	for _, n := range v.Notes {
		a.note("note: %s", n)
	}
	if len(v.Topics) > 0 {
		for _, name := range p.TopicNames() {
			fmt.Fprintf(a.stdout, "%s  topic\n  %-8s %s\n", name, "columns", columnList(v.Topics[name]))
		}
	}
	longest := 0
	for _, view := range v.Views {
		longest = max(longest, utf8.RuneCountInString(view.Name))
	}
	for _, view := range v.Views {
		text := strings.TrimRight(fmt.Sprintf("%-*s  %-8s  %s", longest, view.Name, view.Class, strings.Join(view.Reasons, "; ")), " ")
		fmt.Fprintln(a.stdout, text)
		view.print(a.stdout)
	}
	if n := len(v.Problems); n > 0 {
		_, err := fmt.Fprintf(a.stdout, "%s\n", count(n, "problem"))
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "%s, %s, %s, %s: no problems\n", count(len(p.Topics), "topic"), count(len(p.Views), "view"),
		count(len(p.References), "reference table"), count(len(p.Jobs), "job"))
	return err
}

// columnList is columns as one declares them.
func columnList(columns []views.Column) string {
	texts := make([]string, len(columns))
	for i, c := range columns {
		texts[i] = c.Name + " " + c.Type
	}
	return strings.Join(texts, ", ")
}

// count is a number and its noun.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
