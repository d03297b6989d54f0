package batch

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
)

// A runner hands on the text of a DoFn's error and nothing else. So what a person must know travels in the text, as JSON
// between two marks.
const (
	carryOpen  = "<millrace-problem>"
	carryClose = "</millrace-problem>"
)

// carried is an error's JSON.
type carried struct {
	schemas.Problem
	Kind  schemas.Kind `json:"kind"`
	Cause string       `json:"cause,omitempty"`
	Lost  bool         `json:"lost,omitempty"` // another cycle committed first
}

// carry puts an error into a text that uncarry finds again.
func carry(err error) error {
	if err == nil {
		return nil
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
	return fmt.Errorf("%s%s%s", carryOpen, text, carryClose)
}

// uncarry is the error that was carried, or err itself if none was.
func uncarry(err error) error {
	if err == nil {
		return nil
	}
	_, rest, ok := strings.Cut(err.Error(), carryOpen)
	text, _, closed := strings.Cut(rest, carryClose)
	var c carried
	if !ok || !closed || json.Unmarshal([]byte(text), &c) != nil {
		return err
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
