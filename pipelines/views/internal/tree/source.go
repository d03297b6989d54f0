package tree

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/millrace/millrace/schemas"
)

// Source is SQL text a person wrote and where it came from. A place in it is a byte offset. Texts that are put into it,
// of macros and other views, have the offsets after its end.
type Source struct {
	File, Text string   // File is empty for SQL that lies in none
	Macros     []string // that it may call, for the nearest name
	others     []other
}

// other is a text put into a source, whose byte 0 has the offset at there.
type other struct {
	at int
	Source
}

// Include gives a text the offsets behind all others', once, and returns the offset of its byte 0.
func (s *Source) Include(file, text string) int {
	at := len(s.Text) + 1
	for _, o := range s.others {
		if o.File == file && o.Text == text {
			return o.at
		}
		at = o.at + len(o.Text) + 1
	}
	s.others = append(s.others, other{at, Source{File: file, Text: text}})
	return at
}

// Mixed says whether other texts were put into it.
func (s Source) Mixed() bool { return len(s.others) > 0 }

// Wrong is a Problem at a byte offset of the text; at -1 at no place in it.
func (s Source) Wrong(at int, message, hint string) *schemas.Problem {
	for i := len(s.others) - 1; i >= 0; i-- {
		if o := s.others[i]; at >= o.at {
			return o.Wrong(at-o.at, message, hint)
		}
	}
	p := &schemas.Problem{Kind: schemas.Usage, File: s.File, Message: message, Hint: hint}
	if at >= 0 && at <= len(s.Text) {
		before := s.Text[:at]
		p.Line = strings.Count(before, "\n") + 1
		p.Column = utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	}
	return p
}

// Find is the byte offset of the first match, -1 if there is none.
func (s Source) Find(word *regexp.Regexp) int {
	if at := word.FindStringIndex(s.Text); at != nil {
		return at[0]
	}
	return -1
}

// ByteOffset is the byte at which a character begins: DuckDB's parser, unlike the rest of it, counts these.
func ByteOffset(text string, characters int) int {
	for at := range text {
		if characters == 0 {
			return at
		}
		characters--
	}
	return len(text)
}

// Shift moves the places of a tree by so many bytes.
func Shift(v any, by int) {
	Walk(v, func(n Node) bool {
		if at := n.Location(); at >= 0 {
			n.SetLocation(at + by)
		}
		return true
	})
}

// MoveTo puts a tree at one place, -1 for none.
func MoveTo(v any, at int) {
	Walk(v, func(n Node) bool {
		if n.Location() >= 0 {
			n.SetLocation(at)
		}
		return true
	})
}

// nowhere is the place of what has none, as DuckDB writes it.
const nowhere = json.Number("18446744073709551615")

// Location is the byte offset of a node in the text that was parsed, -1 if it has none.
func (n Node) Location() int {
	num, ok := n["query_location"].(json.Number)
	if !ok {
		return -1
	}
	i, err := num.Int64()
	if err != nil {
		return -1
	}
	return int(i)
}

// SetLocation puts a node at a byte offset, -1 for none.
func (n Node) SetLocation(at int) {
	if n["query_location"] = nowhere; at >= 0 {
		n["query_location"] = json.Number(strconv.Itoa(at))
	}
}

// FirstLocation is the smallest location in a tree, -1 if it has none.
func FirstLocation(v any) int {
	at := -1
	Walk(v, func(n Node) bool {
		if l := n.Location(); l >= 0 && (at < 0 || l < at) {
			at = l
		}
		return true
	})
	return at
}

// SameLocation is the place in tree b of what stands at a place in tree a, of the same shape; -1 if it has none.
func SameLocation(a, b any, at int) int {
	found := -1
	var look func(a, b any, near int)
	look = func(a, b any, near int) {
		switch a := a.(type) {
		case Node:
			b, ok := b.(Node)
			if !ok {
				return
			}
			if l := b.Location(); l >= 0 {
				near = l
			}
			if a.Location() == at {
				found = near
			}
			for _, k := range SortedKeys(a) {
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
