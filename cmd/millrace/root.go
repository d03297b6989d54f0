package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millrace/millrace/schemas"
)

// app is what every verb shares: the standard streams and the flags of the root.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	dir   string // the project
	json  bool   // one JSON object on stdout, nothing else
	quiet bool   // no notes and no progress

	started bool // a verb runs: the command line was good
}

// run is the program: it gives the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, json: asksForJSON(args)}
	root := newRoot(a)
	root.SetArgs(asWorker(args))
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if !a.started {
		err = commandLine(cmd, err)
	}
	var printed said
	if ctx.Err() != nil && errors.Is(err, context.Canceled) && !errors.As(err, &printed) {
		err = &schemas.Problem{Kind: schemas.Failed, Message: "interrupted"}
	}
	return a.fail(err)
}

// asksForJSON finds --json before the command line is parsed, so that a wrong one is answered in JSON too.
func asksForJSON(args []string) bool {
	for _, arg := range args {
		switch arg {
		case "--json", "--json=true":
			return true
		case "--":
			return false
		}
	}
	return false
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "millrace",
		Short: "One SELECT over every record a topic ever held, answered over history and now as one",
		Long: `millrace takes events into Kafka, computes views on them by the chunk and by the cycle,
and answers SQL over history and now as one. A project is a folder; every verb works on the one it is started in,
or on the one that -C names.

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 environment (broker, store or engine out of reach).`,
		Example: `  millrace init flights --example flights
  millrace -C flights validate`,
		Args:          cobra.ArbitraryArgs,
		RunE:          subcommandsOnly,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.started = true
		},
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&a.dir, "dir", "C", ".", "the project's folder")
	flags.BoolVar(&a.json, "json", a.json, "print one JSON object on stdout and nothing else")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "no notes and no progress on stderr")
	_ = root.MarkPersistentFlagDirname("dir")
	root.AddCommand(
		newInit(a),
		newValidate(a),
		newIngest(a),
		newUp(a),
		newBatch(a),
		newSpeed(a),
		newPipelines(a),
		newWorker(a),
		newServe(a),
		newQuery(a),
		newVerify(a),
		newRebuild(a),
		newWhatIf(a),
		newRejects(a),
		newFsck(a),
		newStatus(a),
		newJobs(a),
		newDoctor(a),
		newCluster(a),
		newBench(a),
		newVersion(a),
	)
	return root
}

// subcommandsOnly is what a command that only groups others does: help, or the error for a verb it does not have.
func subcommandsOnly(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	p := &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("there is no %q in `%s`", args[0], cmd.CommandPath()),
		Hint: fmt.Sprintf("`%s --help` lists what there is", cmd.CommandPath())}
	var names []string
	for _, verb := range cmd.Commands() {
		names = append(names, verb.Name())
	}
	if near := schemas.Nearest(args[0], names); near != "" {
		p.Hint = fmt.Sprintf("did you mean `%s %s`?", cmd.CommandPath(), near)
	}
	return p
}

// group makes a command that only groups others.
func group(cmd *cobra.Command, verbs ...*cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = subcommandsOnly
	cmd.AddCommand(verbs...)
	return cmd
}

// commandLine makes a usage Problem of what cobra found wrong with the arguments.
func commandLine(cmd *cobra.Command, err error) error {
	p := &schemas.Problem{Kind: schemas.Usage, Message: err.Error(), Hint: fmt.Sprintf("`%s --help` shows how to use it", cmd.CommandPath())}
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := schemas.Nearest(strings.TrimLeft(unknown.GetSpecifiedName(), "-"), names); near != "" {
			p.Hint = fmt.Sprintf("did you mean --%s?", near)
		}
	}
	return p
}
