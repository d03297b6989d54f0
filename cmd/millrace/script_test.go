package main

import (
	"context"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/millrace/millrace/testdata"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"millrace": main})
}

// TestScripts runs the program as a person would: each file of testdata/script is a folder of files and the commands
// typed in it. `exits N` runs millrace and wants that exit code.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				if len(args) < 1 {
					ts.Fatalf("usage: exits CODE [ARGUMENT...]")
				}
				// stdout and stderr of the script are those of this command.
				err := ts.Exec("millrace", args[1:]...)
				code := 0
				if exit, ok := err.(interface{ ExitCode() int }); ok {
					code = exit.ExitCode()
				} else if err != nil {
					ts.Fatalf("%v", err)
				}
				if strconv.Itoa(code) != args[0] {
					ts.Fatalf("exit code %d, want %s", code, args[0])
				}
			},
		},
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

// Every verb has a help with an example, and help ends with 0.
func TestEveryVerbHasAnExample(t *testing.T) {
	root := newRoot(&app{})
	queue := root.Commands()
	for len(queue) > 0 {
		cmd := queue[0]
		queue = append(queue[1:], cmd.Commands()...)
		if cmd.Hidden || cmd.Name() == "help" || cmd.Name() == "completion" || cmd.HasParent() && cmd.Parent().Name() == "completion" {
			continue
		}
		if cmd.Example == "" || cmd.Short == "" {
			t.Errorf("%s: no example or no short help", cmd.CommandPath())
		}
	}
}

// A verb that is interrupted says so and has failed.
func TestInterrupted(t *testing.T) {
	example, err := testdata.Example("flights")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, example); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	lines, write := io.Pipe() // a source that never ends
	defer write.Close()
	go func() {
		_, _ = write.Write([]byte("{}\n"))
		cancel()
	}()
	var out, errs strings.Builder
	if code := run(ctx, []string{"-C", dir, "ingest", "flights"}, lines, &out, &errs); code != 1 || !strings.Contains(errs.String(), "lines are acknowledged") || strings.Contains(errs.String(), "canceled") {
		t.Errorf("exit code %d\n%s", code, errs.String())
	}
}
