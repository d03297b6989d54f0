package main

import (
	"cmp"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipelines/runner"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

// engineFlags say where pipelines run, over what millrace.yaml says.
type engineFlags struct {
	runner, endpoint, worker, rest string
	parallelism                    int
}

func (f *engineFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.runner, "runner", "", "where the pipeline runs: prism, flink or spark (default: what millrace.yaml says)")
	flags.StringVar(&f.endpoint, "endpoint", "", "host:port of the engine's Beam job server")
	flags.StringVar(&f.worker, "worker", "", "host:port of \"millrace worker\"; process: the engine starts workers; empty: this process is the worker")
	flags.StringVar(&f.rest, "rest", "", "host:port of Flink's REST interface")
	flags.IntVar(&f.parallelism, "parallelism", 0, "how many pieces of the pipeline run side by side")
	_ = cmd.RegisterFlagCompletionFunc("runner", cobra.FixedCompletions(project.Runners, cobra.ShellCompDirectiveNoFileComp))
}

// engine is where the file and the flags say that pipelines run.
func (f *engineFlags) engine(c *project.Config) (runner.Engine, error) {
	usage := func(hint, format string, args ...any) (runner.Engine, error) {
		return runner.Engine{}, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf(format, args...), Hint: hint}
	}
	e := runner.Engine{Runner: c.Runner, Endpoint: c.Endpoint, Rest: c.Engine.Rest, Worker: c.Engine.Worker, Parallelism: c.Engine.Parallelism, Settings: c.Engine.Options}
	switch f.runner {
	case "", c.Runner:
	case project.Prism:
		e = runner.Engine{}
	case project.Flink, project.Spark:
		e.Runner, e.Endpoint = f.runner, ""
		if c.Runner != project.Prism {
			e.Settings = nil // they are the other engine's
		}
	default:
		return usage(known(f.runner), "there is no runner %q", f.runner)
	}
	if !e.Remote() {
		if f.endpoint != "" || f.worker != "" || f.rest != "" || f.parallelism != 0 {
			return usage("add --runner flink or --runner spark", "prism runs in this process: it has no job server, no workers elsewhere and no parallelism")
		}
		return runner.Engine{}, nil
	}
	e.Endpoint, e.Worker, e.Rest = cmp.Or(f.endpoint, e.Endpoint), cmp.Or(f.worker, e.Worker), cmp.Or(f.rest, e.Rest)
	e.Parallelism = cmp.Or(f.parallelism, e.Parallelism)
	if e.Runner != project.Flink {
		e.Rest = ""
	}
	if !isAddress(e.Endpoint) {
		return usage("add --endpoint host:port of its Beam job server, or endpoint: in millrace.yaml", "runner %s needs an endpoint, and it is %q", e.Runner, e.Endpoint)
	}
	if e.Rest != "" && !isAddress(e.Rest) {
		return usage("write host:port of Flink's REST interface, such as 127.0.0.1:8081", "--rest %q is no address", e.Rest)
	}
	if !project.CheckWorker(e.Worker) {
		return usage("write host:port of `millrace worker`, or process", "--worker %q is no place of workers", e.Worker)
	}
	if e.Parallelism < 0 {
		return usage("leave it out for one piece at a time", "--parallelism %d is less than 1", e.Parallelism)
	}
	return e, nil
}

func isAddress(text string) bool {
	_, _, err := net.SplitHostPort(text)
	return err == nil
}

func known(word string) string {
	if near := schemas.Nearest(word, project.Runners); near != "" {
		return "did you mean " + near + "?"
	}
	return "there are " + strings.Join(project.Runners, ", ")
}

// sparkSpeed is why the speed layer does not run on Spark.
const sparkSpeed = "Spark cannot run the speed layer: its Beam runner has no splittable DoFn that hands back what it has not read, so it cannot follow a log"

// speedEngine is where the speed layer runs: where the pipelines do, but for Spark, which can only run cycles.
func (a *app) speedEngine(f *engineFlags, c *project.Config) (runner.Engine, error) {
	if f.runner == project.Spark {
		return runner.Engine{}, &schemas.Problem{Kind: schemas.Usage, Message: sparkSpeed, Hint: "use --runner prism or --runner flink; `millrace batch --runner spark` works"}
	}
	e, err := f.engine(c)
	if err == nil && e.Runner == project.Spark {
		return runner.Engine{}, nil
	}
	return e, err
}
