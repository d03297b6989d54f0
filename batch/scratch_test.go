package batch

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/schemas"
)

const scratchEnv = "MILLRACE_TEST_SCRATCH"

// TestMain is also the process that TestScratchOfAKilledProcess kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(scratchEnv); dir != "" {
		s, err := newScratch(dir)
		if err == nil {
			err = os.WriteFile(s.path(), []byte("half a file"), 0o600)
		}
		if err != nil {
			os.Exit(1)
		}
		os.Stdout.WriteString(s.dir + "\n")
		select {}
	}
	os.Exit(m.Run())
}

// Scratch of a killed process is swept out by the next, scratch of a living one is not touched.
func TestScratchOfAKilledProcess(t *testing.T) {
	parent := t.TempDir()
	program, err := os.Executable()
	must(t, err)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), scratchEnv+"="+parent)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	theirs, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	theirs = strings.TrimSpace(theirs)
	ours, err := newScratch(parent)
	must(t, err)
	if _, err := os.Stat(filepath.Join(theirs, "1.parquet")); err != nil {
		t.Errorf("a living process lost its scratch: %v", err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	again, err := newScratch(parent)
	must(t, err)
	if _, err := os.Stat(theirs); !os.IsNotExist(err) {
		t.Errorf("the scratch of the dead is still there: %v", err)
	}
	if _, err := os.Stat(ours.dir); err != nil {
		t.Errorf("the sweep took a living scratch: %v", err)
	}
	ours.close()
	again.close()
	empty(t, parent)
}

// Where scratch or the store cannot be written, Build says so as a Problem with a next step and leaves nothing behind.
// A file where a folder should be stands for a read-only place: root may write to those.
func TestPlacesThatCannotBeWritten(t *testing.T) {
	b := newBed(t, mixedTopic, mixedViews)
	end := b.send(t, mixed(1000))
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	scratch := b.Scratch
	build := func(what string) {
		t.Helper()
		_, err := b.Build(t.Context(), "root/", schemas.Range{To: end})
		if schemas.KindOf(err) != schemas.Environment || !strings.Contains(err.Error(), "(") {
			t.Errorf("%s: %v", what, err)
		}
		empty(t, scratch)
	}
	b.Scratch = filepath.Join(file, "scratch")
	build("scratch under a file")
	b.Scratch = scratch
	b.open(t, filepath.Join(file, "store"))
	build("store under a file")
	b.open(t, t.TempDir())
	must(t, os.WriteFile(filepath.Join(b.dir, "root"), nil, 0o600))
	build("a file where the dataset's folder should be")
	if files := b.files(t); len(files) != 1 {
		t.Errorf("%d files in the store", len(files))
	}
}

// A full disk is a Problem that says to make room, and scratch is empty after it. It needs a small disk of its own, which
// only root can mount.
func TestAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("skipped: a tmpfs cannot be mounted here (%v: %s)", err, strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	b := newBed(t, mixedTopic, mixedViews)
	end := b.send(t, mixed(60_000))
	b.Scratch = dir
	_, err := b.Build(t.Context(), "root/", schemas.Range{To: end})
	if schemas.KindOf(err) != schemas.Environment || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("Build on a full disk = %v", err)
	}
	empty(t, dir)
	if files := b.files(t); len(files) > 0 {
		t.Errorf("%d files in the store", len(files))
	}
}
