package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/schemas"
)

func newFsck(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "fsck",
		Short: "Prove store and log whole: ranges contiguous, files present, sizes and checksums right",
		Example: `  millrace fsck
  millrace fsck --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runFsck(cmd.Context(), a) },
	}
}

func runFsck(ctx context.Context, a *app) error {
	e, err := a.engine(ctx)
	if err != nil {
		return err
	}
	defer e.Close()
	out := struct {
		Topics []*batch.Findings `json:"topics"`
	}{Topics: []*batch.Findings{}}
	damage := 0
	for _, name := range e.session.project.TopicNames() {
		f, err := e.cycle(name).Fsck(ctx)
		if err != nil {
			return err
		}
		out.Topics = append(out.Topics, f)
		damage += len(f.Damage)
		if a.json {
			continue
		}
		for _, d := range f.Damage {
			fmt.Fprintln(a.stdout, d)
		}
		if len(f.Damage) == 0 {
			fmt.Fprintf(a.stdout, "%s: manifest %d, %s whole", name, f.Manifest, count(f.Files, "file"))
			if len(f.Orphans) > 0 {
				fmt.Fprintf(a.stdout, "; %s that no manifest names, left by a killed cycle", count(len(f.Orphans), "file"))
			}
			fmt.Fprintln(a.stdout)
		}
	}
	if a.json {
		if err := a.printJSON(out); err != nil {
			return err
		}
	}
	if damage == 0 {
		return nil
	}
	err = &schemas.Problem{Message: fmt.Sprintf("fsck found damage in %s", count(damage, "place")), Hint: "what Kafka still has can be made again: move the topic's folder out of the store and run `millrace batch`"}
	if a.json {
		return said{err}
	}
	return err
}
