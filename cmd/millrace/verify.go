package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/serving"
)

func newVerify(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify [VIEW...]",
		Short: "Compare each view's merged answer with a recompute over every record",
		Example: `  millrace verify
  millrace verify delays --json`,
		RunE:              func(cmd *cobra.Command, args []string) error { return runVerify(cmd.Context(), a, args) },
		ValidArgsFunction: a.complete(viewNames, 0, false),
	}
}

func viewNames(p *project.Project) []string {
	var out []string
	for _, v := range p.Views {
		out = append(out, v.Name)
	}
	return out
}

func runVerify(ctx context.Context, a *app, names []string) error {
	e, err := a.engineWithViews(ctx, names)
	if err != nil {
		return err
	}
	defer e.Close()
	defs := e.catalog.definitions()
	if len(names) == 0 {
		names = viewNames(e.session.project)
	}
	out := struct {
		Views []*serving.Verdict `json:"views"`
	}{Views: []*serving.Verdict{}}
	wrong, failing, lost := 0, 0, map[string][]schemas.Range{}
	for _, name := range names {
		v := defs.Views[name]
		if v == nil {
			return noSuch("view", name, viewNames(e.session.project), "views/"+name+".sql would declare it")
		}
		verdict, err := e.server.Verify(ctx, defs, v, nil)
		if schemas.KindOf(err) == schemas.Usage { // of this view: the others can still be proven
			verdict, err = &serving.Verdict{View: v.Name, Class: v.Class, Problem: err.Error()}, nil
			failing++
		}
		if err != nil {
			return err
		}
		out.Views = append(out.Views, verdict)
		if verdict.Certificate != nil {
			for topic, covered := range verdict.Certificate.Topics {
				lost[topic] = covered.Lost
			}
		}
		if verdict.Differing > 0 {
			wrong++
		}
		if !a.json {
			a.printVerdict(verdict)
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(lost)) {
		if !a.json {
			printLost(a.stdout, topic, lost[topic])
		}
	}
	if a.json {
		if err := a.printJSON(out); err != nil {
			return err
		}
	}
	if wrong+failing > 0 {
		err := &schemas.Problem{Message: fmt.Sprintf("%s of %d differ from a recompute", count(wrong, "view"), len(names)), Hint: "run `millrace fsck`"}
		if wrong == 0 {
			err = &schemas.Problem{Message: fmt.Sprintf("%s of %d cannot be answered", count(failing, "view"), len(names)), Hint: "mend the SQL; `millrace batch` then makes the partials"}
		}
		if a.json {
			return said{err}
		}
		return err
	}
	return nil
}

// engineWithViews is an engine with the views named, or all if none is. Errors: what is wrong with one of them.
func (a *app) engineWithViews(ctx context.Context, names []string) (*engine, error) {
	if len(names) == 0 {
		return a.engine(ctx)
	}
	e, wrong, err := a.engineDespite(ctx, viewsIn(strings.Join(names, " ")))
	if err != nil {
		return nil, err
	}
	defs := e.catalog.definitions()
	for _, name := range names {
		if defs.Views[name] == nil && slices.Contains(viewNames(e.session.project), name) {
			e.Close()
			return nil, wrong
		}
	}
	return e, nil
}

func (a *app) printVerdict(v *serving.Verdict) {
	if v.Problem != "" {
		fmt.Fprintf(a.stdout, "%s: %s\n", v.View, v.Problem)
		return
	}
	if v.Differing == 0 {
		how := "merged equals the recompute"
		if v.Class == views.Raw {
			how = "answered from raw, so there is nothing to differ"
		}
		noun := "rows"
		if v.Rows == 1 {
			noun = "row"
		}
		fmt.Fprintf(a.stdout, "%s: %s %s, %s\n", v.View, thousands(v.Rows), noun, how)
		return
	}
	fmt.Fprintf(a.stdout, "%s: %s of %s rows differ\n", v.View, thousands(v.Differing), thousands(v.Rows))
	for _, d := range v.Examples {
		fmt.Fprintf(a.stdout, "  merged    %s\n  recompute %s\n", d.Merged, d.Recompute)
	}
}
