package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/serving"
)

type whatIfOptions struct {
	view, asOf string
	keys       []string
	limit      int
}

func newWhatIf(a *app) *cobra.Command {
	o := &whatIfOptions{}
	cmd := &cobra.Command{
		Use:   "what-if FILE.sql",
		Short: "Run a changed view over all history and show how its answer and its cost differ, before it replaces the old one",
		Long: `what-if answers for the view as the project has it and for the one in FILE, both over the same records, and compares: rows
added, removed and changed, by how much, the biggest differences, and what the new one costs. FILE has the view's name, or
--view says whose place it would take. Without such a view it shows the new answer's size and cost. Nothing is written.

Rows are matched by the group keys, or by as few columns from the left as tell rows apart; --key names others. Floating
numbers that differ by a billionth are taken for the same.`,
		Example: `  millrace what-if ~/drafts/delays.sql
  millrace what-if draft.sql --view delays --key origin --limit 20
  millrace what-if draft.sql --view delays --as-of 2026-01-31 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runWhatIf(cmd.Context(), a, o, args[0]) },
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"sql"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.view, "view", "", "the view whose place it would take; default: by the file's name")
	f.StringSliceVar(&o.keys, "key", nil, "columns to match rows by")
	f.IntVar(&o.limit, "limit", 10, "how many rows of each kind to show")
	f.StringVar(&o.asOf, "as-of", "", "a time, offsets or manifests as JSON, a certificate, or @FILE of one")
	_ = cmd.RegisterFlagCompletionFunc("view", a.complete(viewNames, 0, false))
	return cmd
}

// whatIf is what `what-if --json` prints.
type whatIf struct {
	*serving.Outcome
	Estimate *batch.Estimate `json:"estimate"` // of the new view's partials; null: it is raw
	Readers  []reader        `json:"readers"`  // other views that would change with it
}

// reader is a view that reads the changed one.
type reader struct {
	View    string `json:"view"`
	Problem string `json:"problem,omitempty"` // why it would not compile any more
}

func runWhatIf(ctx context.Context, a *app, o *whatIfOptions, file string) error {
	if o.limit < 0 {
		return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("--limit %d is less than 0", o.limit), Hint: "write how many rows to show"}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return &schemas.Problem{Kind: schemas.Usage, Message: "read the changed view", Err: err, Hint: "give a file with one SELECT"}
	}
	asOf, err := readAsOf(o.asOf)
	if err != nil {
		return err
	}
	e, err := a.engine(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	change, readers, err := e.change(o, file, string(text))
	if err != nil {
		return err
	}
	change.AsOf = asOf
	out := whatIf{Readers: readers}
	if out.Outcome, err = e.server.WhatIf(ctx, e.catalog.definitions(), *change); err != nil {
		return err
	}
	if v := change.New; v.Class.FromPartials() {
		if out.Estimate, err = e.cycle(a, v.Topic).Estimate(ctx, v); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(out)
	}
	a.printWhatIf(&out)
	return nil
}

// change compiles the view in the file, and anew those that read it.
func (e *engine) change(o *whatIfOptions, file, text string) (*serving.Change, []reader, error) {
	name := o.view
	if name == "" {
		name = strings.TrimSuffix(filepath.Base(file), ".sql")
	}
	now := e.catalog.definitions().Views
	if o.view != "" && now[name] == nil {
		return nil, nil, noSuch("view", name, viewNames(e.session.project), "without --view the file's name is the new view's")
	}
	then := e.catalog.Catalog
	then.ViewTexts = maps.Clone(then.ViewTexts)
	then.ViewTexts[name] = views.ViewText{File: file, SQL: text}
	changed, err := e.compiler.Compile(name, file, text, &then)
	if err == nil {
		err = e.catalog.joinsThen(e.compiler, changed)
	}
	if err != nil {
		return nil, nil, err
	}
	readers := []reader{}
	for _, v := range e.catalog.views {
		if v.Name == name || now[name] == nil {
			continue
		}
		switch after, err := e.compiler.Compile(v.Name, then.ViewTexts[v.Name].File, then.ViewTexts[v.Name].SQL, &then); {
		case err != nil:
			readers = append(readers, reader{v.Name, err.Error()})
		case after.Definition != v.Definition:
			readers = append(readers, reader{View: v.Name})
		}
	}
	return &serving.Change{Old: now[name], New: changed, Keys: o.keys, Limit: o.limit}, readers, nil
}

func (a *app) printWhatIf(w *whatIf) {
	line := func(what, format string, args ...any) {
		fmt.Fprintf(a.stdout, "  %-8s %s\n", what, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(a.stdout, "%s: %s\n", w.View, w.headline())
	if w.Old != nil && w.Old.Problem == "" {
		line("rows", "%s, was %s: %s added, %s removed, %s changed, %s the same", thousands(w.New.Rows), thousands(w.Old.Rows), thousands(w.Added), thousands(w.Removed), thousands(w.Changed), thousands(w.Same))
		line("matched", "%s", w.matched())
	} else {
		line("rows", "%s", thousands(w.New.Rows))
	}
	if len(w.NewColumns)+len(w.GoneColumns) > 0 {
		line("columns", "%s", strings.TrimSpace(signed("+", w.NewColumns)+" "+signed("-", w.GoneColumns)))
	}
	for _, d := range w.Differences {
		line("differs", "%s", differs(d))
	}
	line("now", "%s", cost(w.New))
	if w.Old != nil && w.Old.Problem == "" {
		line("before", "%s", cost(w.Old))
	}
	if e := w.Estimate; e != nil && e.Records > 0 {
		line("partials", "about %s in %s, made in about %.1f s; from a sample of %s of %s records", rowCount(e.Rows), size(e.Bytes), e.Seconds, thousands(e.Sample), thousands(e.Records))
	}
	for _, r := range w.Readers {
		if r.Problem != "" {
			line("breaks", "view %s: %s", r.View, r.Problem)
		} else {
			line("changes", "view %s, which reads it", r.View)
		}
	}
	a.printChangedRows(w)
}

// printChangedRows shows the biggest differences cell by cell, and rows that one answer has.
func (a *app) printChangedRows(w *whatIf) {
	for _, x := range w.Examples {
		before, after := cells(x.Old), cells(x.New)
		var keys, changes []string
		for _, k := range w.MatchedBy {
			keys = append(keys, k+" "+after[k])
		}
		for _, d := range w.Differences {
			if before[d.Column] != after[d.Column] {
				changes = append(changes, fmt.Sprintf("%s %s -> %s", d.Column, before[d.Column], after[d.Column]))
			}
		}
		fmt.Fprintf(a.stdout, "~ %s\n", strings.TrimPrefix(strings.Join(keys, ", ")+": "+strings.Join(changes, ", "), ": "))
	}
	for _, row := range w.AddedRows {
		fmt.Fprintf(a.stdout, "+ %s\n", row)
	}
	for _, row := range w.RemovedRows {
		fmt.Fprintf(a.stdout, "- %s\n", row)
	}
}

// headline says what the change is in a few words.
func (w *whatIf) headline() string {
	switch {
	case w.Old == nil:
		return fmt.Sprintf("a new view, %s%s", w.New.Class, because(w.New))
	case w.Old.Problem != "":
		return fmt.Sprintf("%s%s; it %s", w.New.Class, because(w.New), "has no answer as it is: "+w.Old.Problem)
	case w.Old.Definition == w.New.Definition:
		return fmt.Sprintf("the same definition, %s", w.New.Class)
	case w.Old.Class == w.New.Class:
		return string(w.New.Class) + because(w.New) + " as before"
	}
	return fmt.Sprintf("%s%s, was %s", w.New.Class, because(w.New), w.Old.Class)
}

func because(s *serving.Side) string {
	if len(s.Reasons) == 0 {
		return ""
	}
	return " (" + strings.Join(s.Reasons, "; ") + ")"
}

func (w *whatIf) matched() string {
	switch {
	case w.MatchedBy == nil:
		return "as whole rows: no columns tell them apart; --key names some"
	case len(w.MatchedBy) == 0:
		return "as the one row of each"
	}
	return "by " + strings.Join(w.MatchedBy, ", ")
}

func signed(sign string, names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = sign + n
	}
	return strings.Join(out, " ")
}

// differs says how a column differs.
func differs(d serving.ColumnChange) string {
	text := fmt.Sprintf("%s in %s", d.Column, rowCount(d.Rows))
	if d.Largest != nil {
		text += fmt.Sprintf(", by %s at most", plus(*d.Largest))
	}
	if d.OldSum != nil && d.NewSum != nil {
		text += fmt.Sprintf("; its sum is %s, was %s", plain(*d.NewSum), plain(*d.OldSum))
	}
	return text
}

func plain(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func plus(f float64) string {
	if f > 0 {
		return "+" + plain(f)
	}
	return plain(f)
}

// cost says what an answer took.
func cost(s *serving.Side) string {
	text := fmt.Sprintf("%.2f s, from ", s.Seconds)
	if s.Partials+s.Slices > 0 {
		text += fmt.Sprintf("%s, %s and ", count(s.Partials, "partial"), count(s.Slices, "slice"))
	}
	noun := " offsets"
	if s.Offsets == 1 {
		noun = " offset"
	}
	return text + thousands(s.Offsets) + noun + " read one by one"
}

// cells are an object's values as texts.
func cells(row json.RawMessage) map[string]string {
	var values map[string]json.RawMessage
	out := map[string]string{}
	if json.Unmarshal(row, &values) == nil {
		for k, v := range values {
			out[k] = string(v)
		}
	}
	return out
}
