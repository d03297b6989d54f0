package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/testdata"
)

//go:embed all:starter
var starter embed.FS

type initOptions struct {
	example string
}

func newInit(a *app) *cobra.Command {
	o := &initOptions{}
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write a project that runs as it is",
		Long: `init writes a project into DIR, or into the folder it is started in. Files that are there already stay as they are;
a folder that holds a millrace.yaml is refused.`,
		Example: `  millrace init shop
  millrace init flights --example flights`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := a.dir
			if len(args) == 1 {
				dir = args[0]
				if !filepath.IsAbs(dir) {
					dir = filepath.Join(a.dir, dir)
				}
			}
			return runInit(a, o, dir)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	cmd.Flags().StringVar(&o.example, "example", "", "write this example, with data to put in: "+strings.Join(testdata.Names(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("example", cobra.FixedCompletions(testdata.Names(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func runInit(a *app, o *initOptions, dir string) error {
	source, err := fs.Sub(starter, "starter")
	if o.example != "" {
		source, err = testdata.Example(o.example)
		if errors.Is(err, fs.ErrNotExist) {
			return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("there is no example %q", o.example),
				Hint: "the examples are: " + strings.Join(testdata.Names(), ", ")}
		}
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, project.File)); err == nil {
		return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("%s holds a project already", dir),
			Hint: "name another folder: `millrace init DIR`"}
	}
	written, err := copyProject(source, dir)
	if err == nil && o.example == "flights" {
		written = append(written, "flights.ndjson.zst")
		err = os.WriteFile(filepath.Join(dir, "flights.ndjson.zst"), testdata.FlightsZst, 0o644)
	}
	if err != nil {
		return &schemas.Problem{Kind: schemas.Environment, Message: "write the project", Err: err,
			Hint: "choose a folder that can be written"}
	}
	if a.json {
		return a.printJSON(map[string]any{"dir": dir, "files": written})
	}
	for _, name := range written {
		fmt.Fprintln(a.stdout, filepath.Join(dir, filepath.FromSlash(name)))
	}
	if o.example == "flights" {
		a.note("\nNext:\n  cd %s\n  millrace validate\n  millrace ingest flights flights.ndjson.zst\n  millrace query \"SELECT * FROM busiest_routes\"", dir)
	} else {
		a.note("\nNext:\n  cd %s\n  millrace validate\n  echo '{\"ts\":\"2026-01-01T12:00:00Z\",\"kind\":\"hello\"}' | millrace ingest events\n  millrace query \"SELECT * FROM events_per_minute\"", dir)
	}
	return nil
}

// copyProject writes the files of a project that are not there yet. The configuration comes last: until it is there,
// the folder is not a project, and init can be run again.
func copyProject(source fs.FS, dir string) (written []string, err error) {
	put := func(name string) error {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		text, err := fs.ReadFile(source, name)
		if err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		if err != nil {
			return err
		}
		written = append(written, name)
		_, err = f.Write(text)
		return errors.Join(err, f.Close())
	}
	err = fs.WalkDir(source, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == project.File {
			return err
		}
		return put(name)
	})
	if err != nil {
		return written, err
	}
	return written, put(project.File)
}
