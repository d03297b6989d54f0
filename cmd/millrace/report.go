package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/millrace/millrace/schemas"
)

// problems is every problem of a project as one error.
type problems []*schemas.Problem

func (p problems) Error() string {
	var lines []string
	for _, problem := range p {
		lines = append(lines, problem.Error())
	}
	return strings.Join(lines, "\n")
}

func (p problems) Unwrap() []error {
	out := make([]error, len(p))
	for i, problem := range p {
		out[i] = problem
	}
	return out
}

// said is an error whose verb has printed it already, as part of its answer.
type said struct{ error }

func (s said) Unwrap() error { return s.error }

// fail prints an error and gives the exit code that belongs to its kind. People read it on stderr; with --json stdout
// gets it as {"error":{"message","hint","file","line","column"}}, and "problems" if it is more than one.
func (a *app) fail(err error) int {
	code := exitCode(err)
	var printed said
	if errors.As(err, &printed) {
		return code
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(a.stderr, "millrace: %s\n", line)
	}
	if a.json {
		_ = a.printJSON(map[string]any{"error": errorObject(err, code)}) // the exit code says it too
	}
	return code
}

// exitCode is 1 for failed work, 2 for usage and configuration, 3 for the environment.
func exitCode(err error) int {
	switch schemas.KindOf(err) {
	case schemas.Usage:
		return 2
	case schemas.Environment:
		return 3
	}
	return 1
}

// errorJSON is an error as --json prints it.
type errorJSON struct {
	schemas.Problem
	Code     int                `json:"code"` // the exit code
	Problems []*schemas.Problem `json:"problems,omitempty"`
}

func errorObject(err error, code int) errorJSON {
	out := errorJSON{Problem: schemas.Problem{Message: err.Error()}, Code: code}
	var list problems
	var one *schemas.Problem
	switch {
	case errors.As(err, &list):
		out.Problem = *list[0]
		if len(list) > 1 {
			out.Problems = list
		}
	case errors.As(err, &one):
		out.Problem = *one
		if one.Err != nil {
			out.Message = one.Message + ": " + one.Err.Error()
		}
	}
	return out
}

// printJSON writes the one object of --json.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// note tells a person something on stderr that is not part of the answer.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.stderr, format+"\n", args...)
	}
}
