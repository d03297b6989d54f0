package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Watch has the JVM of a process record what it does, with Java's Flight Recorder, until stop writes the file. `jfr summary`
// and `jfr print` read it.
func Watch(ctx context.Context, pid int, file string) (stop func() error, err error) {
	file, err = filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	jcmd, err := java(ctx, "jcmd")
	if err != nil {
		return nil, err
	}
	tell := func(words ...string) error {
		out, err := exec.CommandContext(ctx, jcmd, append([]string{fmt.Sprint(pid)}, words...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("jcmd %s: %w: %s", strings.Join(words, " "), err, out)
		}
		return nil
	}
	if err := tell("JFR.start", "name=millrace", "settings=profile"); err != nil {
		return nil, err
	}
	return func() error { return tell("JFR.stop", "name=millrace", "filename="+file) }, nil
}
