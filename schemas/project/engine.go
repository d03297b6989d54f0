package project

import (
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// The Beam runners that a project may name.
const (
	Prism = "prism"
	Flink = "flink"
	Spark = "spark"
)

// Runners are their names.
var Runners = []string{Prism, Flink, Spark}

// Engine is what an engine outside of this process needs beside its job server's endpoint.
type Engine struct {
	Rest        string         // host:port of Flink's REST interface
	Worker      string         // host:port of `millrace worker`; process, or process:PATH; empty: the submitting process
	Parallelism int            // pieces of a pipeline side by side
	Options     map[string]any // of the runner, by their snake_case names
}

// CheckWorker says whether a text is where workers are.
func CheckWorker(text string) bool {
	return text == "" || text == "process" || strings.HasPrefix(text, "process:/") || isAddress(text)
}

// engine reads runner, endpoint and the section engine.
func (s section) engine(c *Config) {
	s.text("runner", &c.Runner)
	s.text("endpoint", &c.Endpoint)
	switch c.Runner {
	case Prism:
		if c.Endpoint != "" {
			s.report("endpoint", "remove it: prism runs in process", "runner prism has no job server")
		}
	case Flink, Spark:
		if s.values["endpoint"] == nil {
			s.report("runner", "write endpoint: host:port of its Beam job server", "runner %s needs an endpoint", c.Runner)
		} else {
			s.address("endpoint", c.Endpoint)
		}
	default:
		s.report("runner", nearest(c.Runner, Runners), "unknown runner %q", c.Runner)
	}
	e, ok := s.section("engine", "rest", "worker", "parallelism", "options")
	if !ok {
		return
	}
	if e.values["rest"] != nil {
		e.text("rest", &c.Engine.Rest)
		e.address("rest", c.Engine.Rest)
	}
	e.text("worker", &c.Engine.Worker)
	if !CheckWorker(c.Engine.Worker) {
		e.report("worker", "write host:port of `millrace worker`, or process, or process:/path/of/millrace", "want a place of workers, not %q", c.Engine.Worker)
	}
	e.whole("parallelism", &c.Engine.Parallelism)
	if e.values["parallelism"] != nil && c.Engine.Parallelism == 0 {
		e.report("parallelism", "", "want a whole number from 1 on")
	}
	e.settings("options", &c.Engine.Options)
}

var optionName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// settings stores the runner's options: names of our choosing, values that are text, a number, true, false or a list.
func (s section) settings(key string, into *map[string]any) {
	n := s.values[key]
	if n == nil {
		return
	}
	entries, ok := entriesOf(n)
	if !ok {
		s.report(key, "write {checkpointing_interval: 1000}", "want options and their values, not %s", kindOf(n))
		return
	}
	*into = map[string]any{}
	for _, entry := range entries {
		name := entry.Key.GetToken().Value
		value, ok := setting(entry.Value)
		switch {
		case !optionName.MatchString(name):
			s.form.report(entry.Key.GetToken(), "write the runner's option in snake_case: checkpointing_interval", "%s: %q is no option's name", dotted(s.name, key), name)
		case !ok:
			s.form.report(entry.Value.GetToken(), "", "%s: want text, a number, true, false or a list of these, not %s", dotted(s.name, key), kindOf(entry.Value))
		default:
			(*into)[name] = value
		}
	}
}

// setting is the value of an option.
func setting(n ast.Node) (any, bool) {
	switch n := n.(type) {
	case *ast.BoolNode:
		return n.Value, true
	case *ast.IntegerNode:
		switch v := n.Value.(type) {
		case uint64:
			return float64(v), true
		case int64:
			return float64(v), true
		}
	case *ast.FloatNode:
		return n.Value, true
	case *ast.SequenceNode:
		list := []any{}
		for _, v := range n.Values {
			one, ok := setting(v)
			if _, nested := one.([]any); !ok || nested {
				return nil, false
			}
			list = append(list, one)
		}
		return list, true
	}
	return textOf(n)
}
