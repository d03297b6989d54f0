// Package carry brings an error from a DoFn to whoever submitted the pipeline. A runner hands on the text of a DoFn's error
// and nothing else, wrapped in its own: stack traces, names of stages, exceptions of another language. So what a person must
// know travels in the text, as JSON between two marks.
package carry

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
)

const (
	open   = "<millrace-problem>"
	closed = "</millrace-problem>"
)

// carried is an error's JSON.
type carried struct {
	schemas.Problem
	Kind  schemas.Kind `json:"kind"`
	Cause string       `json:"cause,omitempty"`
	Lost  bool         `json:"lost,omitempty"` // another cycle committed first
}

// Pack puts an error into a text that Unpack finds again. An error that is packed already stays as it is.
func Pack(err error) error {
	if err == nil || strings.Contains(err.Error(), open) {
		return err
	}
	c := carried{Problem: schemas.Problem{Message: err.Error()}, Lost: errors.Is(err, store.ErrExist)}
	var p *schemas.Problem
	if errors.As(err, &p) {
		c.Problem, c.Kind = *p, p.Kind
		if p.Err != nil {
			c.Cause = p.Err.Error()
		}
	}
	text, jerr := json.Marshal(c)
	if jerr != nil {
		return errors.Join(err, jerr)
	}
	return fmt.Errorf("%s%s%s", open, text, closed)
}

// Unpack is the error that was packed somewhere in the text, nil if none was.
func Unpack(text string) error {
	_, rest, ok := strings.Cut(text, open)
	inner, _, whole := strings.Cut(rest, closed)
	var c carried
	if !ok || !whole || json.Unmarshal([]byte(inner), &c) != nil {
		return nil
	}
	p := c.Problem
	p.Kind = c.Kind
	switch {
	case c.Lost:
		p.Err = store.ErrExist
	case c.Cause != "":
		p.Err = errors.New(c.Cause)
	}
	return &p
}
