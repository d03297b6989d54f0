package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

func newRebuild(a *app) *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use:   "rebuild VIEW...",
		Short: "Make every partial of a view anew from the data files, and say whether what was stored was right",
		Long: `rebuild proves the data files, makes the partials of the views' definitions anew from them and compares them with those that
are stored. One that is not the same replaces what was stored; answers use the old one until then. It makes those that are
missing too.

Nothing needs it in the ordinary course: partials of new and changed views are made by themselves. It may run beside
everything else, and stopped anywhere it leaves what it has committed.`,
		Example: `  millrace rebuild delays
  millrace rebuild --all --json`,
		RunE:              func(cmd *cobra.Command, args []string) error { return runRebuild(cmd.Context(), a, args, all) },
		ValidArgsFunction: a.complete(viewNames, 0, false),
	}
	cmd.Flags().BoolVar(&all, "all", false, "every view that has partials")
	return cmd
}

func runRebuild(ctx context.Context, a *app, names []string, all bool) error {
	if all == (len(names) > 0) {
		return &schemas.Problem{Kind: schemas.Usage, Message: "which views are meant?", Hint: "name them, or write --all"}
	}
	e, wrong, err := a.engineForRebuild(ctx, names)
	if err != nil {
		return err
	}
	defer e.Close()
	of, err := e.rebuildable(a, names)
	if err != nil {
		return err
	}
	out := struct {
		Views    []*batch.Rebuilt `json:"views"`
		Problems problems         `json:"problems,omitempty"` // with --all: of the project's files
	}{Views: []*batch.Rebuilt{}}
	out.Problems = wrong
	t := a.track(ctx, e.session.project, a.bar())
	defer t.close()
	failing := 0
	for _, topic := range e.session.project.TopicNames() {
		if len(of[topic]) == 0 {
			continue
		}
		made, err := e.cycle(a, topic).Rebuild(ctx, of[topic], batch.Pace{Watch: t.watch})
		if err != nil {
			return err
		}
		t.bar.clear()
		out.Views = append(out.Views, made...)
		for _, r := range made {
			if !a.json {
				a.printRebuilt(r)
			}
		}
		for _, f := range failuresOf(made) {
			a.note("%s: %s", topic, f)
			failing++
		}
	}
	if a.json {
		if err := a.printJSON(out); err != nil {
			return err
		}
	}
	switch {
	case len(out.Problems) > 0: // a view is missing because of one of them
		err = out.Problems
	case failing > 0:
		err = &schemas.Problem{Message: fmt.Sprintf("%s of %d cannot be answered", count(failing, "view"), len(out.Views)), Hint: "mend the SQL; `millrace batch` then makes the partials"}
	}
	if err != nil && a.json {
		return said{err}
	}
	return err
}

// engineForRebuild has the views named. If none is it has all that compile, and what is wrong with the others is given back.
func (a *app) engineForRebuild(ctx context.Context, names []string) (*engine, problems, error) {
	if len(names) == 0 {
		return a.engineDespite(ctx, nil)
	}
	e, err := a.engineWithViews(ctx, names)
	return e, nil, err
}

// rebuildable are the views named, or all that have partials, by topic. Errors: a Problem for a view that has none, with
// why.
func (e *engine) rebuildable(a *app, names []string) (map[string][]*views.View, error) {
	out := map[string][]*views.View{}
	all := len(names) == 0
	if all {
		names = viewNames(e.session.project)
	}
	defs := e.catalog.definitions()
	for _, name := range names {
		v := defs.Views[name]
		switch {
		case v == nil && all: // it does not compile
		case v == nil:
			return nil, noSuch("view", name, viewNames(e.session.project), "views/"+name+".sql would declare it")
		case v.Class.FromPartials():
			out[v.Topic] = append(out[v.Topic], v)
		case all:
			a.note("%s is answered from raw: it has no partials", name)
		default:
			return nil, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("view %s is answered from raw and has no partials: %s", name, strings.Join(v.Reasons, "; ")),
				Hint: "there is nothing to rebuild: each question computes it from the records"}
		}
	}
	return out, nil
}

func (a *app) printRebuilt(r *batch.Rebuilt) {
	if r.Manifest == 0 {
		fmt.Fprintf(a.stdout, "%s: no cycle has committed anything; `millrace batch` makes its partials\n", r.View)
		return
	}
	how := "each as it was stored"
	switch n := len(r.Differed); {
	case r.Failed != "":
		how = "but its SQL fails on some of them: " + r.Failed
	case n > 0:
		how = fmt.Sprintf("%d not as it was stored, and replaced", n)
	case r.New == r.Partials:
		how = "there were none before"
	case r.New > 0:
		how = fmt.Sprintf("%d for the first time, the others as they were stored", r.New)
	}
	fmt.Fprintf(a.stdout, "%s: %s over %s records made anew in %.1f s, %s\n", r.View, count(r.Partials, "partial"), thousands(r.Records), r.Seconds, how)
	for _, d := range r.Differed {
		fmt.Fprintf(a.stdout, "  %s: %s\n", d.Range, d.What)
	}
}
