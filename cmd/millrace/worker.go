package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/pipelines/runner"
)

type workerOptions struct {
	listen        string
	id, provision string // of a worker that an engine starts
}

func newWorker(a *app) *cobra.Command {
	o := &workerOptions{}
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Give workers to Flink or Spark: the code of the pipelines runs in this process",
		Long: `worker listens until a signal for engines that ask for workers (Beam's EXTERNAL environment). Start one on each machine of
the engine, from the same binary that submits the pipelines, and name it with "worker:" under "engine:" in millrace.yaml or
with --worker. It needs no project: a pipeline carries all that it wants.`,
		Example: `  millrace worker
  millrace worker --listen 127.0.0.1:50001`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.provision != "" {
				return runner.Boot(cmd.Context(), o.id, o.provision)
			}
			return runWorker(cmd.Context(), a, o.listen)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.listen, "listen", "127.0.0.1:50000", "host:port; port 0 is any free one")
	// An engine starts a process with these.
	flags.StringVar(&o.id, "id", "", "")
	flags.StringVar(&o.provision, "provision_endpoint", "", "")
	for _, name := range engineArgs {
		flags.String(name, "", "")
	}
	for _, name := range append([]string{"id", "provision_endpoint"}, engineArgs...) {
		_ = flags.MarkHidden(name)
	}
	return cmd
}

// engineArgs are the other flags of Beam's boot contract; the provision service says what they say.
var engineArgs = []string{"logging_endpoint", "artifact_endpoint", "control_endpoint", "semi_persist_dir"}

// asWorker makes a command line that an engine has made, which is flags alone, one of the verb worker.
func asWorker(args []string) []string {
	boots := func(arg string) bool { return strings.HasPrefix(arg, "--provision_endpoint=") }
	if len(args) > 0 && strings.HasPrefix(args[0], "--") && slices.ContainsFunc(args, boots) {
		return append([]string{"worker"}, args...)
	}
	return args
}

func runWorker(ctx context.Context, a *app, listen string) error {
	pool, err := runner.ServeWorkers(ctx, listen)
	if err != nil {
		return err
	}
	defer pool.Close()
	fmt.Fprintf(a.stdout, "millrace worker (%s) at %s\n", runner.Build(), pool.Addr())
	<-ctx.Done()
	return nil
}
