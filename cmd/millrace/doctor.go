package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/ingest/broker"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

func newDoctor(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Try broker, store, engine, clock and disk; say what is wrong and the next step",
		Example: `  millrace doctor
  millrace -C flights doctor --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd.Context(), a) },
	}
}

// finding is one check of `doctor`.
type finding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Says  string `json:"says"`
	Hint  string `json:"hint,omitempty"`

	err error
}

// sick is a finding that something is wrong.
func sick(check string, err error) finding {
	p := asProblem("", err)
	f := finding{Check: check, Says: p.Message, Hint: p.Hint, err: err}
	if p.Err != nil {
		f.Says += ": " + p.Err.Error()
	}
	return f
}

func well(check, format string, args ...any) finding {
	return finding{Check: check, OK: true, Says: fmt.Sprintf(format, args...)}
}

func runDoctor(ctx context.Context, a *app) error {
	p, found := project.Open(a.dir)
	if p == nil {
		return problems(found)
	}
	findings := []finding{well("project", "%s", p.Dir)}
	if len(found) > 0 {
		findings[0] = finding{Check: "project", Says: count(len(found), "problem") + ", the first: " + found[0].Message,
			Hint: "run `millrace validate`", err: problems(found)}
	}
	findings = append(findings, engineFinding())
	findings = append(findings, brokerFindings(ctx, p)...)
	findings = append(findings, runnerFindings(ctx, p)...)
	findings = append(findings, storeFinding(ctx, p), clockFinding(p), diskFinding("disk", p.Dir))

	if a.json {
		if err := a.printJSON(map[string]any{"checks": findings}); err != nil {
			return err
		}
	} else {
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		for _, f := range findings {
			word := "ok"
			if !f.OK {
				word = "WRONG"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", word, f.Check, f.Says)
			if f.Hint != "" {
				fmt.Fprintf(w, "\t\tnext: %s\n", f.Hint)
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	var first error
	for _, f := range findings {
		// What is out of reach outweighs what is written wrong.
		if f.err != nil && (first == nil || schemas.KindOf(f.err) == schemas.Environment && schemas.KindOf(first) != schemas.Environment) {
			first = f.err
		}
	}
	if first != nil {
		return said{first}
	}
	return nil
}

func engineFinding() finding {
	compiler, err := views.Open()
	if err != nil {
		return sick("engine", err)
	}
	if err := compiler.Close(); err != nil {
		return sick("engine", &schemas.Problem{Kind: schemas.Environment, Message: "the SQL engine did not end in order", Err: err})
	}
	return well("engine", "duckdb-go %s", readVersion().DuckDB)
}

// runnerFindings are about the engine that runs the pipelines, where it is another process.
func runnerFindings(ctx context.Context, p *project.Project) []finding {
	e, err := (&engineFlags{}).engine(&p.Config)
	if err == nil && e.Remote() {
		err = e.Check(ctx)
	}
	switch {
	case err != nil:
		return []finding{sick("runner", err)}
	case !e.Remote():
		return nil
	case e.Rest != "":
		return []finding{well("runner", "%s's job server at %s and its REST interface at %s answer", e.Runner, e.Endpoint, e.Rest)}
	}
	return []finding{well("runner", "%s's job server at %s answers", e.Runner, e.Endpoint)}
}

func brokerFindings(ctx context.Context, p *project.Project) []finding {
	if p.Config.Embedded() {
		if owner, ok := broker.Owner(p.Private("broker")); ok {
			return []finding{well("broker", "embedded, run by process %d at %s", owner.PID, owner.Addr)}
		}
		if err := writable(p.Private()); err != nil {
			return []finding{sick("broker", err)}
		}
		return []finding{well("broker", "embedded, not running: a verb that needs it opens it")}
	}
	return clusterFindings(ctx, p)
}

func storeFinding(ctx context.Context, p *project.Project) finding {
	if err := tryStore(ctx, p); err != nil {
		return sick("store", err)
	}
	return well("store", "%s can be written", p.Config.Store)
}

func tryStore(ctx context.Context, p *project.Project) error {
	if !store.IsBucket(p.Config.Store) {
		err := writable(p.Config.Store)
		if _, absent := os.Stat(p.Config.Store); err != nil || absent != nil { // no cycle has made it yet, and neither does this
			return err
		}
	}
	s, err := store.Open(p.Config.Store)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return s.Check(ctx)
}

// writable tries a folder, or the nearest one above it that exists, by writing a file.
func writable(dir string) error {
	for {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			return &schemas.Problem{Kind: schemas.Environment, Message: dir + " is not a folder", Hint: "move it away, or name another folder"}
		}
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrNotExist) || filepath.Dir(dir) == dir {
			return &schemas.Problem{Kind: schemas.Environment, Message: "the folder cannot be reached", Err: err, Hint: "check the path and its permissions"}
		}
		dir = filepath.Dir(dir)
	}
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err == nil {
		_, err = f.WriteString("doctor")
		err = errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		return &schemas.Problem{Kind: schemas.Environment, Message: dir + " cannot be written", Err: err, Hint: "give this user the right to write there, or free space"}
	}
	return nil
}

// clockFinding compares the clock with the newest file of the project: append times come from it.
func clockFinding(p *project.Project) finding {
	now := time.Now()
	newest := time.Time{}
	for _, path := range []string{filepath.Join(p.Dir, project.File), p.Private(), p.Private("broker"), p.Config.Store} {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	if newest.After(now.Add(time.Minute)) || now.Year() < 2024 {
		return sick("clock", &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("it is %s here, but the project was changed at %s", now.Format(time.RFC3339), newest.Format(time.RFC3339)),
			Hint: "set the machine's clock; append times come from it"})
	}
	return well("clock", "%s", now.UTC().Format(time.RFC3339))
}

func diskFinding(check, dir string) finding {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return sick(check, &schemas.Problem{Kind: schemas.Environment, Message: "the disk cannot be asked", Err: err})
	}
	free := int64(s.Bavail) * int64(s.Bsize) //nolint:unconvert // its type is another on other systems
	if free < 1<<30 {
		return sick(check, &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("%d MiB are free", free>>20), Hint: "free some space: the embedded broker stops taking records below 64 MiB"})
	}
	return well(check, "%d GiB are free", free>>30)
}
