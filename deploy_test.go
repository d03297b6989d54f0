package millrace_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The project that deploy/kubernetes carries is a good one, and its kustomization takes every file of it along.
func TestDeployedProject(t *testing.T) {
	millrace, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("deploy", "kubernetes")
	if out, err := exec.Command(millrace, "-C", filepath.Join(dir, "project"), "validate").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(filepath.Join(dir, "project"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		if name, _ := filepath.Rel(dir, path); !strings.Contains(string(text), filepath.ToSlash(name)) {
			t.Errorf("kustomization.yaml leaves out %s", name)
		}
		return nil
	})
	if err != nil || files < 4 {
		t.Errorf("%d files, %v", files, err)
	}
}
