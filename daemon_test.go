package millrace_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// daemon is a running millrace; its words go to a file.
type daemon struct {
	testing.TB
	*exec.Cmd
	said string // the file, which may have words of earlier ones
	done chan error
}

// launch starts a millrace that ends with the test at the latest. Its words are appended to a file; env comes beside the
// environment's own.
func launch(t testing.TB, said string, env []string, binary string, args ...string) *daemon {
	t.Helper()
	words, err := os.OpenFile(said, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer words.Close()
	d := &daemon{TB: t, Cmd: exec.Command(binary, args...), said: said, done: make(chan error, 1)}
	d.Cmd.Env = append(os.Environ(), env...)
	d.Stdout, d.Stderr = words, words
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { d.done <- d.Wait(); close(d.done) }()
	t.Cleanup(func() {
		_ = d.Process.Kill() // most have ended
		<-d.done
		if t.Failed() {
			t.Logf("millrace %s:\n%s", strings.Join(args, " "), d.words())
		}
	})
	return d
}

func (d *daemon) words() string {
	text, err := os.ReadFile(d.said)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// alive fails the test if the process has ended.
func (d *daemon) alive() {
	d.Helper()
	if len(d.done) > 0 {
		d.Fatalf("%s ended: %v\n%s", d, <-d.done, d.words())
	}
}

// kill ends a process as a crash does.
func (d *daemon) kill() {
	d.Helper()
	if err := d.Process.Kill(); err != nil {
		d.Fatal(err)
	}
	if err := <-d.done; fmt.Sprint(err) != "signal: killed" {
		d.Fatalf("%s was to be killed and ended with %v\n%s", d, err, d.words())
	}
}

// end stops a process as an operator does.
func (d *daemon) end() {
	d.Helper()
	if err := d.Process.Signal(syscall.SIGTERM); err != nil {
		d.Fatal(err)
	}
	if err := <-d.done; err != nil {
		d.Errorf("%s on SIGTERM: %v\n%s", d, err, d.words())
	}
}
