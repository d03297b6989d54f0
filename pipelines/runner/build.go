package runner

import (
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/millrace/millrace/schemas"
)

// Build names the build of this binary: its version and the commit it was made from.
var Build = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	name := info.Main.Version
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			name += " " + s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			name += " modified"
		}
	}
	return name
})

// CheckBuild says that a pipeline was made by another build than the worker's: the same words may mean something else to
// it. A DoFn calls it in Setup with the build that it carries.
func CheckBuild(made string) error {
	if made == Build() {
		return nil
	}
	return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("the worker is millrace %s, and the pipeline was submitted by millrace %s", Build(), made),
		Hint: "start the worker from the binary that submits"}
}
