package main

import (
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/cmd/bench"
	"github.com/millrace/millrace/schemas"
)

func newBenchEngines(a *app) *cobra.Command {
	o := bench.EngineOptions{}
	cmd := &cobra.Command{
		Use:   "engines [NAME...]",
		Short: "Measure millrace on prism, Flink and Spark beside those engines' own SQL",
		Long: `engines fetches and starts a Kafka, a Flink and a Spark of its own and measures in one run, interleaved, the speed layer and the
batch layer on them, and the same work in Flink SQL, Spark Structured Streaming and Spark SQL over the same topic. Every answer
is compared with DuckDB's. Engines are warm when it counts. It needs Linux, a JDK of version 17 or newer and mvn.`,
		Example: `  millrace bench engines
  millrace bench engines --events 3000000 --repeat 5
  millrace bench engines speed_flink --profile /tmp`,
		ValidArgsFunction: cobra.FixedCompletions(bench.EngineNames(), cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, names []string) error {
			if o.Repeat < 1 || o.Warm < 0 || o.Events < 1 {
				return &schemas.Problem{Kind: schemas.Usage, Message: "--repeat and --events must be above 0, --warm not below"}
			}
			self, err := os.Executable()
			if err != nil {
				return &schemas.Problem{Kind: schemas.Environment, Message: "find the program's own file", Err: err, Hint: "start it by its full path"}
			}
			o.Names, o.Command, o.Note = names, []string{self, "bench", "child"}, a.note
			r, err := bench.Engines(cmd.Context(), o)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(r)
			}
			return a.printEngines(r)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Repeat, "repeat", 5, "runs of each row that count")
	f.IntVar(&o.Warm, "warm", 3, "runs of each row before them")
	f.IntVar(&o.Events, "events", 2_000_000, "ad events of one run")
	f.StringVar(&o.Dir, "scratch", "", "where the scratch folder is made; the system's temporary folder if not given")
	f.StringVar(&o.Profile, "profile", "", "write profiles of each row's last run into this folder: NAME.pprof of our worker, NAME.jfr of the engine")
	return cmd
}

func (a *app) printEngines(r *bench.EngineReport) error {
	fmt.Fprintf(a.stdout, "%s; medians of %d runs after %d to warm up, %s events each\n\n", r.Machine, r.Repeat, r.Warm, thousands(int64(r.Events)))
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "name\tevents/s\tCPU-s a million\tof it our worker\tresident\tbeside\tCPU\trate\t")
	for _, row := range r.Rows {
		worker, cheaper, faster := "", "", ""
		if row.Beside != "" {
			worker = fmt.Sprintf("%.2f", row.Worker)
		}
		if row.Cheaper > 0 {
			cheaper, faster = fmt.Sprintf("%.1f x less", row.Cheaper), fmt.Sprintf("%.1f x", row.Faster)
		}
		fmt.Fprintf(w, "%s\t%s\t%.2f\t%s\t%d MiB\t%s\t%s\t%s\t\n", row.Name, row.Human(), row.CPU, worker, row.MaxRSS>>20, row.Beside, cheaper, faster)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	for _, row := range r.Rows {
		fmt.Fprintf(a.stdout, "  %s: %s\n", row.Name, row.What)
	}
	return nil
}
