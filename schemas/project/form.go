package project

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/millrace/millrace/schemas"
)

// form reads the YAML files of a project strictly. It gathers every problem of a file with its line and column instead
// of stopping at the first.
type form struct {
	file     string
	problems []*schemas.Problem
}

// section is one mapping of a form: its values by key.
type section struct {
	form   *form
	at     *token.Token // where the mapping stands; nil for an empty file
	name   string       // the path of the mapping, empty for the file's own
	values map[string]ast.Node
}

// parse reads text as one mapping with the given keys.
func (f *form) parse(text []byte, keys ...string) section {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		f.syntax(err)
		return section{form: f}
	}
	var body ast.Node
	for _, doc := range file.Docs {
		switch {
		case isEmpty(doc.Body):
		case body == nil:
			body = doc.Body
		default:
			f.report(doc.Body.GetToken(), "", "a second document in one file")
		}
	}
	if body == nil {
		return section{form: f}
	}
	return f.section(body, "", keys)
}

func isEmpty(n ast.Node) bool {
	switch n.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
		return true
	}
	return false
}

const yamlHint = "a file is lines of `key: value`, indented with spaces"

// syntax reports what the YAML parser says, with its place where it gives one.
func (f *form) syntax(err error) {
	var e yaml.Error
	if errors.As(err, &e) {
		f.report(e.GetToken(), yamlHint, "not YAML: %s", e.GetMessage())
		return
	}
	f.report(nil, yamlHint, "not YAML: %v", err)
}

// entriesOf are the keys and values of a mapping.
func entriesOf(n ast.Node) (entries []*ast.MappingValueNode, ok bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// section reads a node as a mapping and reports the keys it does not know.
func (f *form) section(n ast.Node, name string, keys []string) section {
	s := section{form: f, at: n.GetToken(), name: name, values: map[string]ast.Node{}}
	entries, ok := entriesOf(n)
	if !ok {
		f.report(n.GetToken(), "", "%swant keys and values, such as %s: ...", prefix(name), keys[0])
		return s
	}
	for _, entry := range entries {
		key, at := entry.Key.GetToken().Value, entry.Key.GetToken()
		switch {
		case !slices.Contains(keys, key):
			f.report(at, nearest(key, keys), "unknown key %q", dotted(name, key))
		case isEmpty(entry.Value):
			f.report(at, "remove the key to take its default", "%s has no value", dotted(name, key))
		default:
			s.values[key] = entry.Value
		}
	}
	return s
}

func prefix(name string) string {
	if name == "" {
		return ""
	}
	return name + ": "
}

func dotted(name, key string) string {
	if name == "" {
		return key
	}
	return name + "." + key
}

// report adds a problem at a place.
func (f *form) report(at *token.Token, hint, format string, args ...any) {
	p := &schemas.Problem{Kind: schemas.Usage, File: f.file, Message: fmt.Sprintf(format, args...), Hint: hint}
	if at != nil && at.Position != nil {
		p.Line, p.Column = at.Position.Line, at.Position.Column
	}
	f.problems = append(f.problems, p)
}

// report adds a problem at the value of a key, or at the section if it does not hold the key.
func (s section) report(key, hint, format string, args ...any) {
	at := s.at
	if n := s.values[key]; n != nil {
		at = n.GetToken()
	}
	s.form.report(at, hint, "%s: %s", dotted(s.name, key), fmt.Sprintf(format, args...))
}

// section is the mapping under a key, and whether there is one.
func (s section) section(key string, keys ...string) (section, bool) {
	n := s.values[key]
	if n == nil {
		return section{form: s.form, at: s.at, name: dotted(s.name, key)}, false
	}
	return s.form.section(n, dotted(s.name, key), keys), true
}

// text stores the text under a key; without the key the default stays.
func (s section) text(key string, into *string) {
	n := s.values[key]
	if n == nil {
		return
	}
	text, ok := textOf(n)
	if !ok {
		s.report(key, "", "want text, not %s", kindOf(n))
		return
	}
	*into = text
}

// texts stores a list of texts, or a single one.
func (s section) texts(key string, into *[]string) {
	n := s.values[key]
	if n == nil {
		return
	}
	if text, ok := textOf(n); ok {
		*into = []string{text}
		return
	}
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		s.report(key, "", "want text or a list, not %s", kindOf(n))
		return
	}
	*into = nil
	for _, v := range list.Values {
		text, ok := textOf(v)
		if !ok {
			s.form.report(v.GetToken(), "", "%s: want a list of texts, not %s in it", dotted(s.name, key), kindOf(v))
			continue
		}
		*into = append(*into, text)
	}
}

// whole stores a whole number that is not negative.
func (s section) whole(key string, into *int) {
	n := s.values[key]
	if n == nil {
		return
	}
	if i, ok := n.(*ast.IntegerNode); ok {
		if v, ok := i.Value.(uint64); ok && v <= math.MaxInt32 {
			*into = int(v)
			return
		}
	}
	s.report(key, "", "want a whole number from 0 on, not %s", kindOf(n))
}

func (s section) boolean(key string, into *bool) {
	switch n := s.values[key].(type) {
	case nil:
	case *ast.BoolNode:
		*into = n.Value
	default:
		s.report(key, "", "want true or false, not %s", kindOf(n))
	}
}

// duration stores a positive duration.
func (s section) duration(key string, into *time.Duration) {
	n := s.values[key]
	if n == nil {
		return
	}
	text, ok := textOf(n)
	d, err := ParseDuration(text)
	if !ok || err != nil || d <= 0 {
		s.report(key, "write a number and a unit: 30s, 5m, 1h, 7d", "want a duration above 0, not %s", kindOf(n))
		return
	}
	*into = d
}

func textOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

// textPlace is the line and column of a text's first character.
func textPlace(n ast.Node) [2]int {
	switch n := n.(type) {
	case *ast.StringNode:
		at := [2]int{n.Token.Position.Line, n.Token.Position.Column}
		if n.Token.Type == token.DoubleQuoteType || n.Token.Type == token.SingleQuoteType {
			at[1]++
		}
		return at
	case *ast.LiteralNode:
		// A block begins in the line below its | or >; every line of it is indented as the first is.
		text := strings.TrimLeft(n.Value.Token.Origin, "\n")
		indent := len(text) - len(strings.TrimLeft(text, " "))
		return [2]int{n.Start.Position.Line + 1, indent + 1}
	}
	return [2]int{}
}

// kindOf names a node for a person: the value itself where it is short.
func kindOf(n ast.Node) string {
	switch n := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys and values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "nothing"
	case *ast.AliasNode, *ast.AnchorNode, *ast.TagNode:
		return "an alias, an anchor or a tag"
	case *ast.LiteralNode:
		return "a block of text"
	default:
		return strconv.Quote(n.GetToken().Value)
	}
}

var days = regexp.MustCompile(`^(\d{1,5})([dw])$`)

// ParseDuration reads what time.ParseDuration reads, and whole days (7d) and weeks (2w).
func ParseDuration(text string) (time.Duration, error) {
	m := days.FindStringSubmatch(text)
	if m == nil {
		return time.ParseDuration(text)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0, err
	}
	unit := 24 * time.Hour
	if m[2] == "w" {
		unit *= 7
	}
	return time.Duration(n) * unit, nil
}

// nearest is the hint that names the known word closest to what was written, or all of them if none is close.
func nearest(word string, known []string) string {
	if best := schemas.Nearest(word, known); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "known here: " + strings.Join(known, ", ")
}
