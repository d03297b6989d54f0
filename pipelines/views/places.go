package views

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/millrace/millrace/schemas"
)

// source is SQL text a person wrote and where it came from. A place in it is a byte offset. Texts that are put into it,
// of macros and other views, have the offsets after its end.
type source struct {
	file, text string
	others     []other
	macros     []string // that it may call, for the nearest name
}

// other is a text put into a source, whose byte 0 has the offset at there.
type other struct {
	at int
	source
}

// include gives a text the offsets behind all others', once, and returns the offset of its byte 0.
func (s *source) include(file, text string) int {
	at := len(s.text) + 1
	for _, o := range s.others {
		if o.file == file && o.text == text {
			return o.at
		}
		at = o.at + len(o.text) + 1
	}
	s.others = append(s.others, other{at, source{file: file, text: text}})
	return at
}

// wrong is a Problem at a byte offset of the text; at -1 at no place in it.
func (s source) wrong(at int, message, hint string) *schemas.Problem {
	for i := len(s.others) - 1; i >= 0; i-- {
		if o := s.others[i]; at >= o.at {
			return o.wrong(at-o.at, message, hint)
		}
	}
	p := &schemas.Problem{Kind: schemas.Usage, File: s.file, Message: message, Hint: hint}
	if at >= 0 && at <= len(s.text) {
		before := s.text[:at]
		p.Line = strings.Count(before, "\n") + 1
		p.Column = utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	}
	return p
}

// byteOffset is the byte at which a character begins: DuckDB's parser, unlike the rest of it, counts these.
func byteOffset(text string, characters int) int {
	for at := range text {
		if characters == 0 {
			return at
		}
		characters--
	}
	return len(text)
}

// shift moves the places of a tree by so many bytes.
func shift(v any, by int) {
	walk(v, func(n node) bool {
		if at := location(n); at >= 0 {
			place(n, at+by)
		}
		return true
	})
}

// moveTo puts a tree at one place, -1 for none.
func moveTo(v any, at int) {
	walk(v, func(n node) bool {
		if location(n) >= 0 {
			place(n, at)
		}
		return true
	})
}

// nowhere is the place of what has none, as DuckDB writes it.
const nowhere = json.Number("18446744073709551615")

func place(n node, at int) {
	if n["query_location"] = nowhere; at >= 0 {
		n["query_location"] = json.Number(strconv.Itoa(at))
	}
}

// describeTree gives the columns of a query over the tables that exist now. Errors are Problems at the places that the
// tree names; known are the columns to compare a wrong name with.
func (c *Compiler) describeTree(src source, query node, known []string) ([]Column, error) {
	text, err := c.print(clone(query))
	if err != nil {
		return nil, err
	}
	cols, err := c.describe(text)
	if err == nil {
		return cols, nil
	}
	e := engineError(err)
	if len(src.others) > 0 && e.candidates != "" { // the columns may be those of a view or a macro, not of a table
		known = strings.Split(e.candidates, ",")
	}
	at := -1
	if e.position >= 0 {
		if printed, perr := c.selectNode(text); perr == nil {
			at = samePlace(printed, query, e.position-len("DESCRIBE "))
		}
	}
	if at < 0 { // the place is of something that is no node, such as a type
		if _, err := c.describe(src.text); err != nil && engineError(err).message == e.message {
			at = max(engineError(err).position-len("DESCRIBE "), -1)
		}
	}
	return nil, src.bindError(e, at, known)
}

// samePlace is the place in tree b of what stands at a place in tree a, of the same shape; -1 if it has none.
func samePlace(a, b any, at int) int {
	found := -1
	var look func(a, b any, near int)
	look = func(a, b any, near int) {
		switch a := a.(type) {
		case node:
			b, ok := b.(node)
			if !ok {
				return
			}
			if l := location(b); l >= 0 {
				near = l
			}
			if location(a) == at {
				found = near
			}
			for _, k := range sortedKeys(a) {
				look(a[k], b[k], near)
			}
		case []any:
			if b, ok := b.([]any); ok && len(a) == len(b) {
				for i := range a {
					look(a[i], b[i], near)
				}
			}
		}
	}
	look(a, b, -1)
	return found
}
