package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/cmd/bench"
	"github.com/millrace/millrace/schemas"
)

type benchOptions struct {
	bench.Options
	list bool
}

func newBench(a *app) *cobra.Command {
	o := &benchOptions{}
	cmd := &cobra.Command{
		Use:   "bench [NAME...]",
		Short: "Measure millrace on this machine, each row beside its ceiling",
		Long: `bench measures in one run, interleaved, what millrace does and the least that the same work can cost: its ceiling, DuckDB
alone in most rows. Both sides do the same work on the same generated data and are held to the same result; what is compared
is events per CPU-second, one thread each. Everything lies in a scratch folder that is removed at the end.`,
		Example: `  millrace bench
  millrace bench kernel batch --repeat 5
  millrace bench merged_query --flights-file flights.parquet --json
  millrace bench soak --minutes 10
  millrace bench engines`,
		RunE:              func(cmd *cobra.Command, args []string) error { return runBench(cmd.Context(), a, o, args) },
		ValidArgsFunction: cobra.FixedCompletions(bench.Names(), cobra.ShellCompDirectiveNoFileComp),
	}
	f := cmd.Flags()
	f.IntVar(&o.Repeat, "repeat", 3, "runs of each side")
	f.IntVar(&o.Events, "events", 1_000_000, "ad events of one run")
	f.IntVar(&o.Flights, "flights", 3_000_000, "flights in the batch view of merged_query")
	f.StringVar(&o.File, "flights-file", "", "a Parquet file of flights to use in their place")
	f.IntVar(&o.Groups, "groups", 1_000_000, "groups of the view that has many")
	f.IntVar(&o.Tail, "tail", 100_000, "raw records above them")
	f.StringVar(&o.Dir, "scratch", "", "where the scratch folder is made; the system's temporary folder if not given")
	f.StringVar(&o.Profile, "profile", "", "write a CPU profile of each measured run into this folder")
	f.BoolVar(&o.list, "list", false, "name the benchmarks and stop")
	cmd.AddCommand(newSoak(a), newBenchEngines(a), newBenchChild(a))
	return cmd
}

// newBenchChild is one measured run, or the broker it reads from, as a process of its own.
func newBenchChild(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "child", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return bench.Child(cmd.Context(), a.stdin, a.stdout) },
	}
}

func runBench(ctx context.Context, a *app, o *benchOptions, names []string) error {
	if o.list {
		fmt.Fprintln(a.stdout, strings.Join(bench.Names(), "\n"))
		return nil
	}
	if o.Repeat < 1 || o.Events < 1 || o.Flights < 1 || o.Groups < 1 || o.Tail < 1 {
		return &schemas.Problem{Kind: schemas.Usage, Message: "--repeat, --events, --flights, --groups and --tail must be above 0"}
	}
	self, err := os.Executable()
	if err != nil {
		return &schemas.Problem{Kind: schemas.Environment, Message: "find the program's own file", Err: err, Hint: "start it by its full path"}
	}
	o.Names, o.Command, o.Note = names, []string{self, "bench", "child"}, a.note
	r, err := bench.Run(ctx, o.Options)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(r)
	}
	return a.printBench(r)
}

func (a *app) printBench(r *bench.Report) error {
	fmt.Fprintf(a.stdout, "%s; medians of %d runs a side\n\n", r.Machine, r.Repeat)
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "name\trate\tceiling\tunit\tratio\tmust reach\tCPU-seconds\tresident\t")
	for _, row := range r.Rows {
		rate, ceiling := row.Human()
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.2f\t%s\t%.2f\t%d MiB\t\n", row.Name, rate, ceiling, row.Unit, row.Ratio, row.Must(), row.CPUSeconds, row.MaxRSS>>20)
		for _, p := range row.Parts {
			fmt.Fprintf(w, "  %s\t\t\t\t%.2f\t\t%.3f\t\t\n", p.Name, p.Ratio, p.CPUSeconds)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, "\nThe ceilings:")
	for _, row := range r.Rows {
		fmt.Fprintf(a.stdout, "  %s: %s\n", row.Name, row.Beside)
	}
	return nil
}

func newSoak(a *app) *cobra.Command {
	o := bench.SoakOptions{}
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "Feed `up` at a steady rate and see whether its memory stays flat",
		Long: `soak starts up in a process of its own on a scratch project, sends flights to it at a steady rate and prints its resident
memory every ten seconds. With --gib, ingest takes so much from its standard input before that, and one cycle reads it. It ends with
exit code 1 if the memory of up grew, if that of any passed 512 MiB, or if a record is not in the answer.`,
		Example: `  millrace bench soak
  millrace bench soak --gib 10 --minutes 60
  millrace bench soak --minutes 2 --rate 20000 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			o.Program, o.Note, o.Stderr = self, a.note, a.stderr
			r, err := bench.Soak(cmd.Context(), o)
			if err != nil {
				return err
			}
			if a.json {
				err = a.printJSON(r)
			} else {
				soakTable(a.stdout, r)
				fmt.Fprintf(a.stdout, "up: %s records in %.0f s; resident at the end %d MiB, at most %d MiB, %+.1f MiB a minute over the last half, %.0f CPU-seconds: %s\n",
					thousands(r.Records), r.Seconds, r.LastRSS>>20, r.MaxRSS>>20, r.SlopePerMinute/(1<<20), r.CPUSeconds, map[bool]string{true: "flat", false: "not flat"}[r.Flat])
			}
			if over := r.Over(); err == nil && len(over) > 0 {
				err = said{errors.New("over 512 MiB: " + strings.Join(over, ", "))}
			}
			if err == nil && !r.Flat {
				err = said{errors.New("memory is not flat")}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.DurationVar(&o.For, "for", 0, "how long; overrides --minutes")
	f.IntVar(&o.Minutes, "minutes", 10, "how long")
	f.Float64Var(&o.GiB, "gib", 0, "so much goes through ingest and one cycle first")
	f.IntVar(&o.Rate, "rate", 50_000, "records a second")
	f.DurationVar(&o.BatchEvery, "batch-every", time.Minute, "how often a batch cycle runs")
	f.StringVar(&o.Dir, "scratch", "", "where the scratch folder is made; the system's temporary folder if not given")
	return cmd
}

// soakTable prints what ran before up, one line each.
func soakTable(out io.Writer, r *bench.SoakReport) {
	if len(r.Phases) == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\trecords\tMiB in\ts\tCPU s\tat most, MiB\t")
	for _, p := range append(r.Phases, &bench.SoakPhase{Name: "up", Records: r.Records, Seconds: r.Seconds, CPUSeconds: r.CPUSeconds, MaxRSS: r.MaxRSS}) {
		fmt.Fprintf(w, "%s\t%s\t%d\t%.0f\t%.0f\t%d\t\n", p.Name, thousands(p.Records), p.Bytes>>20, p.Seconds, p.CPUSeconds, p.MaxRSS>>20)
	}
	w.Flush()
}
