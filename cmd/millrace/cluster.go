package main

import (
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/cmd/cluster"
	"github.com/millrace/millrace/schemas"
)

func newCluster(a *app) *cobra.Command {
	where := func() string { return filepath.Join(a.dir, ".millrace", "cluster") }
	return group(&cobra.Command{
		Use:   "cluster",
		Short: "A real Kafka, Flink and Spark on this machine, for trying things out",
		Long: `cluster fetches Kafka, Flink and Spark through Maven, once, into the user's cache folder (or the one that MILLRACE_CACHE
names), and runs them in the background. Everything listens on the loopback interface only. It needs a JDK of version 17 or
newer and mvn. Data, logs and records lie in .millrace/cluster of the folder that -C names, which need not be a project.`,
		Example: `  millrace cluster up
  millrace cluster status
  millrace cluster down`,
	}, newClusterFetch(a), newClusterUp(a, where), newClusterDown(a, where), newClusterStatus(a, where))
}

func newClusterFetch(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "fetch [kafka] [flink] [spark]",
		Short: "Fetch engines into the cache, all if none is named, and start nothing",
		Long:  "fetch prepares a machine for `cluster up` without a network. What is in the cache already is left alone.",
		Example: `  millrace cluster fetch
  millrace cluster fetch kafka --json`,
		ValidArgsFunction: cobra.FixedCompletions(cluster.Engines, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = cluster.Engines
			}
			dirs, err := cluster.Fetch(cmd.Context(), args, a.note)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(dirs)
			}
			for _, name := range args {
				fmt.Fprintf(a.stdout, "%s is in %s\n", name, dirs[name])
			}
			return nil
		},
	}
}

func newClusterUp(a *app, where func() string) *cobra.Command {
	o := cluster.UpOptions{}
	cmd := &cobra.Command{
		Use:   "up [kafka] [flink] [spark]",
		Short: "Start engines, Kafka and Flink if none is named, and say what to write into millrace.yaml",
		Long: `up starts what does not run yet and returns when all of it is ready; it goes on in the background. A folder that was used
before goes on with its data and its ports.`,
		Example: `  millrace cluster up
  millrace cluster up kafka --brokers 3
  millrace cluster up kafka flink spark --taskmanagers 2`,
		ValidArgsFunction: cobra.FixedCompletions(cluster.Engines, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Dir, o.Engines, o.Note = where(), args, a.note
			r, err := cluster.Up(cmd.Context(), o)
			if err != nil {
				return err
			}
			return a.printCluster(r)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Brokers, "brokers", 1, "of Kafka: 1 or 3")
	f.BoolVar(&o.Secure, "secure", false, "of Kafka: clients come by SASL over TLS")
	f.IntVar(&o.TaskManagers, "taskmanagers", 1, "of Flink; 0 runs Flink inside its job server")
	f.IntVar(&o.Workers, "workers", 1, "of Spark; 0 runs Spark inside its job server")
	f.BoolVar(&o.FreePorts, "free-ports", false, "take ports that are free in place of the usual ones")
	return cmd
}

func newClusterDown(a *app, where func() string) *cobra.Command {
	wipe := false
	cmd := &cobra.Command{
		Use:   "down [kafka] [flink] [spark]",
		Short: "Stop engines, all if none is named; their data stays",
		Example: `  millrace cluster down
  millrace cluster down --wipe`,
		ValidArgsFunction: cobra.FixedCompletions(cluster.Engines, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			stopped, err := cluster.Down(cmd.Context(), where(), args, wipe, a.note)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"stopped": stopped, "wiped": wipe})
			}
			fmt.Fprintf(a.stdout, "stopped: %d\n", stopped)
			return nil
		},
	}
	cmd.Flags().BoolVar(&wipe, "wipe", false, "remove their folders too, with all data")
	return cmd
}

func newClusterStatus(a *app, where func() string) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say what runs, and what has ended by itself (exit code 1)",
		Example: `  millrace cluster status
  millrace cluster status --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := cluster.Status(where())
			if err != nil {
				return err
			}
			if err := a.printCluster(r); err != nil {
				return err
			}
			for _, p := range r.Processes {
				if !p.Running {
					return said{&schemas.Problem{Kind: schemas.Failed, Message: p.Name + " has ended", Hint: "its log is " + p.Log}}
				}
			}
			return nil
		},
	}
}

func (a *app) printCluster(r *cluster.Report) error {
	if a.json {
		return a.printJSON(r)
	}
	if len(r.Processes) == 0 {
		fmt.Fprintf(a.stdout, "nothing runs in %s\n", r.Dir)
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, p := range r.Processes {
		state := fmt.Sprintf("process %d", p.PID)
		if !p.Running {
			state = "ended"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Name, state, p.Log)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if lines := r.Settings(); lines != "" {
		fmt.Fprintf(a.stdout, "\nFor millrace.yaml:\n\n%s", lines)
	}
	return nil
}
