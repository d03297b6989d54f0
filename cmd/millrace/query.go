package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/serving"
)

type queryOptions struct {
	format, output, asOf, certificate, null string
	explain                                 bool
}

var queryFormats = []string{"table", "csv", "ndjson", "json", "parquet", "markdown"}

func newQuery(a *app) *cobra.Command {
	o := &queryOptions{}
	cmd := &cobra.Command{
		Use:   "query SQL",
		Short: "Answer one SELECT over everything acknowledged before it was asked",
		Long: `query answers over views, topics, reference tables and rejects.TOPIC, batch layer, speed layer and log merged into one.
It reads nothing else and changes nothing.`,
		Example: `  millrace query "SELECT * FROM delays ORDER BY flights DESC LIMIT 10"
  millrace query "SELECT count(*) FROM flights" --as-of '{"flights":{"0":1200}}'
  millrace query "SELECT * FROM daily" -f parquet -o daily.parquet --certificate daily.json
  millrace query "SELECT * FROM daily" --as-of @daily.json       # the same answer again
  millrace query "SELECT * FROM delays WHERE origin = 'LAS'" --explain`,
		Args:              cobra.ExactArgs(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return runQuery(cmd.Context(), a, o, args[0]) },
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.StringVarP(&o.format, "format", "f", "", strings.Join(queryFormats, ", ")+"; by the output file's name, or a table")
	f.StringVarP(&o.output, "output", "o", "", "write the answer to this file, whole or not at all")
	f.StringVar(&o.asOf, "as-of", "", "a time, offsets or manifests as JSON, a certificate, or @FILE of one")
	f.StringVar(&o.certificate, "certificate", "", "write the answer's certificate to this file")
	f.BoolVar(&o.explain, "explain", false, "say where the answer would come from and how, instead of giving it")
	f.StringVar(&o.null, "null", "", "what stands for NULL in CSV")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(queryFormats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func runQuery(ctx context.Context, a *app, o *queryOptions, sql string) (err error) {
	if o.format == "" {
		o.format = "table"
		if ext := strings.TrimPrefix(filepath.Ext(o.output), "."); ext != "" {
			o.format = ext
		}
		if o.format == "md" {
			o.format = "markdown"
		}
		if !slices.Contains(queryFormats, o.format) {
			return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("the ending of %s names no format", o.output),
				Hint: "give -f with one of: " + strings.Join(queryFormats, ", ")}
		}
	}
	if err := oneOf("--format", o.format, queryFormats); err != nil {
		return err
	}
	asOf, err := readAsOf(o.asOf)
	if err != nil {
		return err
	}
	e, wrong, err := a.engineForQuestion(ctx, sql)
	if err != nil {
		return err
	}
	defer e.Close()
	defer func() {
		var p *schemas.Problem
		switch {
		case len(wrong) > 0 && errors.As(err, &p) && p.Kind == schemas.Usage:
			err = append(problems{p}, wrong...) // one of them may be the cause
		case len(wrong) > 0 && err == nil:
			a.note("note: %s in the project's files; `millrace validate` shows them", count(len(wrong), "problem"))
		}
	}()
	request := serving.Request{SQL: sql, AsOf: asOf}
	if o.explain {
		explanation, err := e.server.Explain(ctx, request)
		if err != nil {
			return err
		}
		return a.printExplanation(explanation)
	}
	answer, err := e.server.Query(ctx, request)
	if err != nil {
		return err
	}
	defer answer.Close()
	write := func(w io.Writer) error { return writeAnswer(ctx, w, answer, o.format, o.null) }
	if a.json {
		write = func(w io.Writer) error { return answer.JSON(ctx, w) }
	}
	if o.output == "" {
		err = write(a.stdout)
	} else {
		err = writeWhole(o.output, write)
	}
	if err == nil && o.certificate != "" {
		err = writeWhole(o.certificate, func(w io.Writer) error {
			return json.NewEncoder(w).Encode(answer.Certificate)
		})
	}
	return err
}

// readAsOf is the moment that a flag names.
func readAsOf(flag string) (*serving.AsOf, error) {
	moment := []byte(flag)
	if file, ok := strings.CutPrefix(flag, "@"); ok {
		var err error
		if moment, err = os.ReadFile(file); err != nil {
			return nil, &schemas.Problem{Kind: schemas.Usage, Message: "--as-of", Err: err, Hint: "give the file that --certificate wrote"}
		}
	}
	return serving.ParseAsOf(moment)
}

func writeAnswer(ctx context.Context, w io.Writer, answer *serving.Answer, format, null string) error {
	switch format {
	case "table", "markdown":
		return writeTable(ctx, w, answer, format == "markdown")
	case "json":
		return answer.JSON(ctx, w)
	}
	path, err := answer.File(ctx, serving.Format(format), null)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func writeTable(ctx context.Context, w io.Writer, answer *serving.Answer, markdown bool) error {
	row := func(out io.Writer, cells []string) {
		if markdown {
			for i, c := range cells {
				cells[i] = strings.NewReplacer("|", `\|`, "\n", " ").Replace(c)
			}
			fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | "))
			return
		}
		for i, c := range cells { // one row is one line
			cells[i] = strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(c)
		}
		fmt.Fprintf(out, "%s\t\n", strings.Join(cells, "\t"))
	}
	out := w
	var table *tabwriter.Writer
	if !markdown {
		table = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		out = table
	}
	cells, rule := make([]string, len(answer.Columns)), make([]string, len(answer.Columns))
	for i, c := range answer.Columns {
		cells[i], rule[i] = c.Name, strings.Repeat("-", max(3, len(c.Name)))
	}
	row(out, cells)
	row(out, rule)
	err := answer.Text(ctx, func(values []*string) error {
		for i, v := range values {
			cells[i] = "NULL"
			if v != nil {
				cells[i] = *v
			}
		}
		row(out, cells)
		return nil
	})
	if table != nil {
		err = errors.Join(err, table.Flush())
	}
	return err
}

// writeWhole writes a file under a temporary name and renames it when it is whole.
func writeWhole(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".millrace-*")
	if err != nil {
		return &schemas.Problem{Kind: schemas.Environment, Message: "write " + path, Err: err, Hint: "give a file in a folder that can be written"}
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	err = write(f)
	if err == nil {
		err = errors.Join(f.Chmod(0o644), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
