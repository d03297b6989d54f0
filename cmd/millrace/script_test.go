package main

import (
	"context"
	"os"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
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
		if cmd.Name() == "help" || cmd.Name() == "completion" || cmd.HasParent() && cmd.Parent().Name() == "completion" {
			continue
		}
		if cmd.Example == "" || cmd.Short == "" {
			t.Errorf("%s: no example or no short help", cmd.CommandPath())
		}
	}
}

func TestInterruptedSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out, errs writer
	a := &app{stdout: &out, stderr: &errs}
	if code := a.fail(context.Cause(ctx)); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

type writer struct{ text []byte }

func (w *writer) Write(p []byte) (int, error) {
	w.text = append(w.text, p...)
	return len(p), nil
}
