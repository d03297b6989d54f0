package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/pipelines/scratch"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/schemas"
)

func newFsck(a *app) *cobra.Command {
	repair := false
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Prove store and log whole: ranges contiguous, files present, counts, offsets and checksums right",
		Long: `fsck reads every file that the newest manifest of each topic names and compares it with what the manifest says, and every
kept version of a reference table.

With --repair it makes damaged and missing files again, partials from their data file and everything from the log where
Kafka still has the range, and removes files older than an hour that no manifest names and no cycle can name any more.
It may run beside a cycle. What cannot be made again is said, and the exit code is 1.`,
		Example: `  millrace fsck
  millrace fsck --json
  millrace fsck --repair`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runFsck(cmd.Context(), a, repair) },
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "make again what is damaged, remove what a killed cycle left")
	return cmd
}

// keptReferences are the versions of reference tables that the store keeps.
type keptReferences struct {
	Whole  int      `json:"whole"`
	Damage []string `json:"damage"`
}

func runFsck(ctx context.Context, a *app, repair bool) error {
	e, err := a.engine(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	copies, err := os.MkdirTemp(e.scratch, "fsck-")
	if err != nil {
		return scratch.Refused(err)
	}
	defer os.RemoveAll(copies)
	e.store = store.Anew(e.store, copies)
	out := struct {
		Topics     []*batch.Findings `json:"topics"`
		References keptReferences    `json:"references"`
	}{Topics: []*batch.Findings{}, References: keptReferences{Damage: []string{}}}
	left := 0
	for _, name := range e.session.project.TopicNames() {
		in := e.cycle(a, name)
		var f *batch.Findings
		if repair {
			f, err = in.Repair(ctx, time.Now())
		} else {
			f, err = in.Fsck(ctx)
		}
		if err != nil {
			return err
		}
		out.Topics = append(out.Topics, f)
		damage := f.Damage
		if repair {
			damage = f.Lost
		}
		left += len(damage)
		if !a.json {
			a.printFindings(f, damage)
		}
	}
	whole, wrong, err := versions.Check(ctx, e.store)
	if err != nil {
		return err
	}
	out.References.Whole, out.References.Damage = whole, append(out.References.Damage, wrong...)
	if a.json {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		for _, line := range wrong {
			fmt.Fprintln(a.stdout, line)
		}
	}
	if left+len(wrong) == 0 {
		return nil
	}
	problem := fsckProblem(left, len(wrong), repair)
	if a.json {
		return said{problem}
	}
	return problem
}

// fsckProblem says what to do about places that are damaged, or could not be repaired, and about what is kept for certificates.
func fsckProblem(places, kept int, repair bool) *schemas.Problem {
	switch {
	case places == 0:
		return &schemas.Problem{Message: "fsck found damage in " + count(kept, "kept definition or table"),
			Hint: "certificates that name them cannot be answered again: restore the files from a copy of the store, or remove them, and the next question keeps those in use anew"}
	case repair:
		return &schemas.Problem{Message: count(places, "place") + " could not be repaired",
			Hint: "restore them from a copy of the store; or move the topic's folder out of it and run `millrace batch`, which makes anew what Kafka still has"}
	}
	return &schemas.Problem{Message: "fsck found damage in " + count(places, "place"), Hint: "run `millrace fsck --repair`: what Kafka still has is made again"}
}

// printFindings prints one topic's, damage being what is left of it.
func (a *app) printFindings(f *batch.Findings, damage []string) {
	for _, lines := range [][]string{damage, f.Repaired} {
		for _, line := range lines {
			fmt.Fprintln(a.stdout, line)
		}
	}
	for _, name := range f.Removed {
		fmt.Fprintf(a.stdout, "%s: removed, no manifest names it\n", name)
	}
	if len(damage) > 0 {
		return
	}
	fmt.Fprintf(a.stdout, "%s: manifest %d, %s whole", f.Topic, f.Manifest, count(f.Files, "file"))
	if len(f.Orphans) > 0 {
		fmt.Fprintf(a.stdout, "; %s that no manifest names, left by a killed cycle or in the making", count(len(f.Orphans), "file"))
	}
	fmt.Fprintln(a.stdout)
}
