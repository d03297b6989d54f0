package runner

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"
)

// The runners by name.
const (
	Prism = "prism"
	Flink = "flink"
	Spark = "spark"
)

// Process is the Engine.Worker of workers that the engine starts itself.
const Process = "process"

// Engine is where pipelines run. The zero value is prism in this process.
type Engine struct {
	Runner      string         // empty: prism
	Endpoint    string         // host:port of the Beam job server
	Rest        string         // host:port of Flink's REST interface; empty: there is none
	Worker      string         // host:port of a worker pool; process, or process:PATH of the binary there; empty: this process
	Parallelism int            // 0: 1
	Settings    map[string]any // pipeline options of the runner by their snake_case names; they win
}

// Remote says that the engine is another process.
func (e *Engine) Remote() bool { return e.Runner != "" && e.Runner != Prism }

// Subtasks is how many pieces of a stage run side by side.
func (e *Engine) Subtasks() int { return max(1, e.Parallelism) }

// Options say what is run, and where.
type Options struct {
	Name      string // of the pipeline: speed-flights
	Project   string // tells this project's pipelines from another's at the same engine
	Engine    Engine
	Streaming bool         // it follows a log for ever
	Savepoint string       // where Flink has left the pipeline's state; empty: it begins anew
	Logger    *slog.Logger // hears of restarts and of pipelines that are cancelled to make room; nil: nobody does
}

// JobName is the name of a project's pipeline at an engine.
func JobName(name, project string) string { return name + suffix(project) }

// suffix is as short as can be and still another for another project.
func suffix(project string) string {
	sum := sha256.Sum256([]byte(project))
	return "-" + hex.EncodeToString(sum[:4])
}

func (o *Options) logger() *slog.Logger { return cmp.Or(o.Logger, slog.New(slog.DiscardHandler)) }

// job is what the engine calls the pipeline.
func (o *Options) job() string {
	if !o.Engine.Remote() {
		return o.Name
	}
	return JobName(o.Name, o.Project)
}

// settings are the pipeline options by their snake_case names.
func (o *Options) settings() map[string]any {
	e := &o.Engine
	s := map[string]any{}
	if e.Runner == Flink {
		s["parallelism"] = e.Subtasks()
		s["streaming"] = o.Streaming // else bundles end only with checkpoints
		s["number_of_execution_retries"] = 2
		s["execution_retry_delay"] = 1000
		if o.Streaming {
			s["max_bundle_time_mills"] = 50
			// A checkpoint only saves reading again what was published already, and the runner's grow (see stateMax).
			s["checkpointing_interval"] = 10_000
			// Else what a bundle gives that a checkpoint has ended waits for the stage's next bundle, and the stage that
			// begins the source has none: one start in ten read nothing for ever.
			s["finish_bundle_before_checkpointing"] = true
			// Flink names the operators of a savepoint by how they are chained, which hangs on the parallelism: unchained, another
			// parallelism finds its state. Little crosses them.
			s["operator_chaining"] = false
			s["number_of_execution_retries"] = -1 // as the cluster is told to
		}
		if o.Streaming && e.Rest == "" && e.Worker == "" {
			// Only REST can cancel a job of Flink. Without it this one fails for good as soon as its worker, this process, is
			// gone; what is to run again is submitted again.
			s["number_of_execution_retries"] = 0
		}
		if o.Savepoint != "" {
			s["savepoint_path"] = o.Savepoint
		}
	}
	for name, value := range e.Settings {
		s[name] = value
	}
	return s
}

// option is a pipeline option's full name.
func option(name string) string {
	if strings.HasPrefix(name, "beam:option:") {
		return name
	}
	return "beam:option:" + name + ":v1"
}
