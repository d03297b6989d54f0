package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/ingest"
	"github.com/millrace/millrace/ingest/source"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

type ingestOptions struct {
	format  string
	rate    int64
	strict  bool
	id      string
	timeout time.Duration
	listen  string
}

func newIngest(a *app) *cobra.Command {
	o := &ingestOptions{}
	cmd := &cobra.Command{
		Use:   "ingest {TOPIC [FILE...|-] | --listen HOST:PORT}",
		Short: "Put records into a topic: NDJSON, CSV or Parquet, also .gz and .zst",
		Long: `ingest sends every line of the files, or of standard input, and ends when all are durable.
Lines that do not fit the topic's fields are sent too: they become rejects, are counted at the end, can be seen, and are
decoded anew when the topic's file is corrected. Only a line over the topic's max_record is not sent; then the exit code is 1.

With --listen it is the ingest gateway of a Kafka cluster: records of every topic over HTTP, until a signal, and no
questions; any number may run side by side. SIGTERM and Ctrl-C let requests in flight end, and the exit code is 0.`,
		Example: `  millrace ingest flights flights.ndjson.zst
  millrace ingest flights --strict monday.csv tuesday.csv
  tail -F app.log | millrace ingest events
  millrace ingest flights year.parquet --id year-2001    # run again, it goes on where it stopped
  millrace ingest --listen 0.0.0.0:7171`,
		Args: func(cmd *cobra.Command, args []string) error {
			if o.listen == "" {
				return cobra.MinimumNArgs(1)(cmd, args)
			}
			return cobra.NoArgs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.listen != "" {
				return runGateway(cmd, a, o)
			}
			return runIngest(cmd.Context(), a, o, args[0], args[1:])
		},
		ValidArgsFunction: a.complete((*project.Project).TopicNames, 1, true),
	}
	f := cmd.Flags()
	f.StringVar(&o.format, "format", "", "ndjson, csv, tsv or parquet; by each file's name if not given")
	f.Int64Var(&o.rate, "rate", 0, "records a second; 0 is as fast as the broker takes them")
	f.BoolVar(&o.strict, "strict", false, "check the whole input first and send nothing if one line is bad")
	f.StringVar(&o.id, "id", "", "a name for this input: the same command run again goes on where it stopped")
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long to wait for a broker that is away")
	f.StringVar(&o.listen, "listen", "", "host:port to take records at over HTTP, until a signal")
	_ = cmd.RegisterFlagCompletionFunc("listen", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(ingestFormats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

var ingestFormats = []string{"ndjson", "csv", "tsv", "parquet"}

// ingested is what `ingest --json` prints.
type ingested struct {
	ingest.Result
	Error *errorJSON `json:"error,omitempty"`
}

func runIngest(ctx context.Context, a *app, o *ingestOptions, name string, files []string) error {
	if err := oneOf("--format", o.format, append([]string{""}, ingestFormats...)); err != nil {
		return err
	}
	if o.rate < 0 || o.timeout <= 0 {
		return &schemas.Problem{Kind: schemas.Usage, Message: "--rate must not be negative, --timeout must be above 0", Hint: "write --rate 1000 and --timeout 30s, or leave them out"}
	}
	p, topic, err := a.topic(name)
	if err != nil {
		return err
	}
	s, err := a.connect(ctx, p)
	if err != nil {
		return err
	}
	defer s.Close()
	bar := a.bar()
	result, err := ingest.Run(ctx, ingest.Options{
		Topic: topic, Kafka: s.kafka, Files: files, Format: source.Format(o.format), Stdin: a.stdin,
		Rate: o.rate, Strict: o.strict, ID: o.id, Timeout: o.timeout,
		Progress: func(now ingest.Progress) { bar.draw(now.Records, now.Bytes, now.Total, now.Rate, now.Left) },
	})
	bar.clear()
	var stopped *schemas.Problem
	if ctx.Err() != nil && errors.As(err, &stopped) { // a signal: what is acknowledged says more than the cause
		told := *stopped
		told.Err = nil
		err = &told
	}
	if err == nil && result.Failed() {
		err = &schemas.Problem{Kind: schemas.Failed, Message: fmt.Sprintf("%s not sent; all others are durable", count(len(result.Refused), "line")),
			Hint: "raise max_record in topics/" + topic.Name + ".yaml, or cut the lines"}
	}
	return a.printIngested(result, err)
}

func (a *app) printIngested(r ingest.Result, err error) error {
	if a.json {
		out := ingested{Result: r}
		if err != nil {
			object := errorObject(err, exitCode(err))
			out.Error = &object
		}
		if perr := a.printJSON(out); perr != nil {
			return perr
		}
		if err != nil {
			fmt.Fprintln(a.stderr, "millrace:", err)
			return said{err}
		}
		return nil
	}
	for _, refused := range r.Refused {
		fmt.Fprintf(a.stderr, "line %d: %s\n", refused.Line, refused.Reason)
	}
	if err != nil {
		return err
	}
	sent := r.Records + r.Rejects
	noun := "records"
	if sent == 1 {
		noun = "record"
	}
	fmt.Fprintf(a.stdout, "%s %s into %s in %.1f s (%s/s)\n", thousands(sent), noun, r.Topic, r.Seconds, thousands(int64(float64(sent)/max(r.Seconds, 1e-3))))
	if r.Rejects > 0 {
		fmt.Fprintf(a.stdout, "%s of them are rejects: `millrace rejects list %s` shows them\n", thousands(r.Rejects), r.Topic)
	}
	return nil
}

// topics opens the project for work on its topics. What is wrong in a view or a job does not stand in the way of records.
func (a *app) topics() (*project.Project, error) {
	p, found := project.Open(a.dir)
	var matter problems
	for _, problem := range found {
		if p == nil || problem.File == project.File || strings.HasPrefix(problem.File, "topics/") {
			matter = append(matter, problem)
		}
	}
	if len(matter) > 0 {
		return nil, matter
	}
	return p, nil
}

// topic opens the project for work on one topic.
func (a *app) topic(name string) (*project.Project, *schemas.Topic, error) {
	p, err := a.topics()
	if err != nil {
		return nil, nil, err
	}
	topic, ok := p.Topics[name]
	if !ok {
		return nil, nil, noSuch("topic", name, p.TopicNames(), "topics/"+name+".yaml would declare it")
	}
	return p, topic, nil
}

// noSuch says that the project has nothing of that name, with the name that may have been meant.
func noSuch(kind, name string, known []string, otherwise string) error {
	hint := otherwise
	switch near := schemas.Nearest(name, known); {
	case near != "":
		hint = fmt.Sprintf("did you mean %s?", near)
	case len(known) > 0 && len(known) <= 12:
		hint += "; there are: " + strings.Join(known, ", ")
	}
	return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("there is no %s %s", kind, name), Hint: hint}
}

// oneOf refuses a flag's value that is none of the known ones.
func oneOf(flag, value string, known []string) error {
	for _, k := range known {
		if value == k {
			return nil
		}
	}
	return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("%s cannot be %q", flag, value),
		Hint: "it is one of: " + strings.Trim(strings.Join(known, ", "), ", ")}
}
