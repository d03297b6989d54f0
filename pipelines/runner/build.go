package runner

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"

	"github.com/millrace/millrace/schemas"
)

// Build names the build of this binary: its version and the commit it was made from, or the hash of its file where no clean
// commit is known.
var Build = sync.OnceValue(func() string {
	version, revision, clean := "unknown", "", true
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				revision = s.Value
			case "vcs.modified":
				clean = s.Value == "false"
			}
		}
	}
	if revision == "" || !clean {
		return version + " " + hash()
	}
	return version + " " + revision
})

// hash is of the binary's file.
func hash() string {
	path, err := os.Executable()
	if err != nil {
		return "unknown"
	}
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "unknown"
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// Build is the build that a pipeline for the engine carries: none in this process.
func (e *Engine) Build() string {
	if !e.Remote() {
		return ""
	}
	return Build()
}

// CheckBuild says that a pipeline was made by another build than the worker's: the same words may mean something else to
// it. A DoFn calls it in Setup with the Engine.Build that it carries.
func CheckBuild(made string) error {
	if made == "" || made == Build() {
		return nil
	}
	return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("the worker is millrace %s, and the pipeline was submitted by millrace %s", Build(), made),
		Hint: "start the worker from the binary that submits"}
}
