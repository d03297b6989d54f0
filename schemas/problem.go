package schemas

import (
	"errors"
	"fmt"
	"strings"
)

// Kind tells a caller how to end: it maps to the exit codes 1, 2 and 3 and to HTTP's 5xx, 4xx and 503.
type Kind int

// The kinds, in the order of their exit codes.
const (
	Failed      Kind = iota // the work could not be done
	Usage                   // what the user wrote or asked for is wrong
	Environment             // a broker, a store or an engine is out of reach
)

// Problem is an error a person must act on: what is wrong, where, and the next step. File, Line and Column are empty
// or 0 where they do not apply; Line and Column count from 1.
type Problem struct {
	Kind    Kind   `json:"-"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // the next step, a sentence
	Err     error  `json:"-"`              // the cause, may be nil
}

func (p *Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
			if p.Column > 0 {
				fmt.Fprintf(&b, ":%d", p.Column)
			}
		}
		b.WriteString(": ")
	} else if p.Line > 0 { // of a text that is in no file, such as a query
		fmt.Fprintf(&b, "line %d, column %d: ", p.Line, p.Column)
	}
	b.WriteString(p.Message)
	if p.Err != nil {
		fmt.Fprintf(&b, ": %v", p.Err)
	}
	if p.Hint != "" {
		fmt.Fprintf(&b, " (%s)", p.Hint)
	}
	return b.String()
}

func (p *Problem) Unwrap() error { return p.Err }

// KindOf is the kind of the first Problem in err's chain, Failed if there is none.
func KindOf(err error) Kind {
	var p *Problem
	if errors.As(err, &p) {
		return p.Kind
	}
	return Failed
}
