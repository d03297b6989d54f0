package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipelines/runner"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

func newPipelines(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pipelines",
		Short: "See and end the project's pipelines at Flink or Spark",
		Long: `pipelines asks the engine itself: Flink's REST interface where "rest:" is given, else Beam's job service, whose word on a
running job may be a minute old. Pipelines on prism live and end in the process that runs them.`,
		Example: `  millrace pipelines list
  millrace pipelines drain speed-flights`,
	}
	return group(cmd, newPipelinesList(a), newPipelinesStatus(a), newPipelinesCancel(a), newPipelinesDrain(a), newPipelinesSavepoint(a))
}

// yard is a project's pipelines at its engine.
type yard struct {
	engine  runner.Engine
	project string
}

func (a *app) yard(f *engineFlags) (*yard, error) {
	p, found := project.Open(a.dir)
	if p == nil || len(found) > 0 {
		return nil, problems(found)
	}
	e, err := f.engine(&p.Config)
	if err != nil {
		return nil, err
	}
	s, err := store.Open(p.Config.Store)
	if err != nil {
		return nil, err
	}
	return &yard{e, s.URL()}, nil
}

// find is the pipeline that a name or the beginning of an id means: the one that runs, else the newest.
func (y *yard) find(ctx context.Context, name string, running bool) (*runner.Pipeline, error) {
	if !y.engine.Remote() {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: "the project's pipelines run on prism, in the process of `millrace up`, `millrace speed` or `millrace batch`",
			Hint: "a signal to that process ends them; nothing is lost"}
	}
	all, err := y.engine.List(ctx, y.project)
	if err != nil {
		return nil, err
	}
	var best *runner.Pipeline
	var names []string
	for i := range all {
		p := &all[i]
		if running && p.Over() {
			continue
		}
		names = append(names, p.Name)
		if p.Name != name && (len(name) < 4 || !strings.HasPrefix(p.ID, name)) {
			continue
		}
		if best == nil { // those that run come first, then the newest
			best = p
		}
	}
	if best == nil {
		what := "pipeline"
		if running {
			what = "running pipeline"
		}
		return nil, noSuch(what, name, names, "`millrace pipelines list` shows what there is")
	}
	return best, nil
}

func newPipelinesList(a *app) *cobra.Command {
	var on engineFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the project's pipelines at the engine",
		Example: `  millrace pipelines list --json`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			y, err := a.yard(&on)
			if err != nil {
				return err
			}
			all := []runner.Pipeline{}
			if y.engine.Remote() {
				if all, err = y.engine.List(cmd.Context(), y.project); err != nil {
					return err
				}
			} else {
				a.note("the project's pipelines run on prism: they live in the process of `millrace up`, `millrace speed` or `millrace batch`")
			}
			if a.json {
				return a.printJSON(map[string]any{"pipelines": all})
			}
			return a.printPipelines(all)
		},
	}
	on.add(cmd)
	return cmd
}

func newPipelinesStatus(a *app) *cobra.Command {
	return a.onPipeline("status NAME", "Tell of one pipeline", `  millrace pipelines status speed-flights`, false, nil, func(_ context.Context, _ *yard, p *runner.Pipeline) error {
		if a.json {
			return a.printJSON(p)
		}
		if err := a.printPipelines([]runner.Pipeline{*p}); err != nil || p.Failure == "" {
			return err
		}
		_, err := fmt.Fprintf(a.stdout, "its last failure: %s\n", p.Failure)
		return err
	})
}

func newPipelinesCancel(a *app) *cobra.Command {
	return a.onPipeline("cancel NAME", "End a pipeline; returns when the engine says that it has ended", `  millrace pipelines cancel speed-flights`, true, nil,
		func(ctx context.Context, y *yard, p *runner.Pipeline) error {
			if err := y.engine.Cancel(ctx, p); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(p)
			}
			_, err := fmt.Fprintf(a.stdout, "%s is %s\n", p.Name, p.State)
			return err
		})
}

func newPipelinesDrain(a *app) *cobra.Command {
	var folder string
	return a.onPipeline("drain NAME", "Stop a pipeline with a savepoint and print its path", `  millrace pipelines drain speed-flights
  millrace speed flights --from-savepoint PATH --parallelism 4`, true, &folder,
		func(ctx context.Context, y *yard, p *runner.Pipeline) error {
			at, err := y.engine.Drain(ctx, p, folder)
			if err != nil {
				return err
			}
			return a.printSavepoint(p, at)
		})
}

func newPipelinesSavepoint(a *app) *cobra.Command {
	var folder string
	return a.onPipeline("savepoint NAME", "Keep a pipeline's state, which runs on, and print its path", `  millrace pipelines savepoint speed-flights`, true, &folder,
		func(ctx context.Context, y *yard, p *runner.Pipeline) error {
			at, err := y.engine.Savepoint(ctx, p, folder)
			if err != nil {
				return err
			}
			return a.printSavepoint(p, at)
		})
}

// onPipeline is a verb on one pipeline; a folder is where its savepoints go.
func (a *app) onPipeline(use, short, example string, running bool, folder *string, do func(context.Context, *yard, *runner.Pipeline) error) *cobra.Command {
	var on engineFlags
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			y, err := a.yard(&on)
			if err != nil {
				return err
			}
			p, err := y.find(cmd.Context(), args[0], running)
			if err != nil {
				return err
			}
			return do(cmd.Context(), y, p)
		},
	}
	on.add(cmd)
	if folder != nil {
		cmd.Flags().StringVar(folder, "to", "", "folder of the savepoint, a URL that Flink can write (default: what Flink is configured to)")
	}
	return cmd
}

func (a *app) printSavepoint(p *runner.Pipeline, at string) error {
	if a.json {
		return a.printJSON(map[string]any{"pipeline": p, "savepoint": at})
	}
	_, err := fmt.Fprintln(a.stdout, at)
	return err
}

func (a *app) printPipelines(all []runner.Pipeline) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "pipeline\tengine\tstate\tsince\ttasks\trestarts\tcheckpoint\tid")
	for _, p := range all {
		restarts := "-"
		if p.Restarts != nil {
			restarts = fmt.Sprint(*p.Restarts)
		}
		tasks := fmt.Sprintf("%d/%d", p.Tasks["running"], p.Tasks["total"])
		if p.Tasks == nil {
			tasks = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, p.Engine, p.State, moment(p.Since), tasks, restarts, moment(p.Checkpoint), p.ID)
	}
	return w.Flush()
}

func moment(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format("2006-01-02 15:04:05")
}
