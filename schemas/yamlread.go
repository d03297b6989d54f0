package schemas

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// yamlFile reads one YAML document strictly and gathers every problem with its place.
type yamlFile struct {
	file     string
	problems []*Problem
}

// yamlEntry is one key of a mapping with its value.
type yamlEntry struct {
	key   string
	at    ast.Node // the key
	value ast.Node
}

func (f *yamlFile) problem(at ast.Node, hint, format string, args ...any) {
	p := &Problem{Kind: Usage, File: f.file, Message: fmt.Sprintf(format, args...), Hint: hint}
	if at != nil {
		f.place(p, at.GetToken())
	}
	f.problems = append(f.problems, p)
}

func (f *yamlFile) place(p *Problem, t *token.Token) {
	if t != nil && t.Position != nil {
		p.Line, p.Column = t.Position.Line, t.Position.Column
	}
}

// document is the entries of the file's top-level mapping; nil if the file cannot be read as YAML.
func (f *yamlFile) document(text []byte) []yamlEntry {
	doc, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		p := &Problem{Kind: Usage, File: f.file, Message: "not YAML: " + firstLine(err.Error()),
			Hint: "a file is lines of `key: value`, indented with spaces"}
		var at interface {
			GetToken() *token.Token
			GetMessage() string
		}
		if errors.As(err, &at) {
			p.Message = "not YAML: " + at.GetMessage()
			f.place(p, at.GetToken())
		}
		f.problems = append(f.problems, p)
		return nil
	}
	if len(doc.Docs) > 1 {
		f.problem(doc.Docs[1].Body, "take the part below --- into a file of its own", "the file holds %d documents", len(doc.Docs))
	}
	if len(doc.Docs) == 0 || doc.Docs[0].Body == nil {
		return nil
	}
	return f.mapping(doc.Docs[0].Body, "the file")
}

// mapping is a mapping's entries in the file's order; a key that comes again is a problem and left out.
func (f *yamlFile) mapping(n ast.Node, what string) []yamlEntry {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		f.problem(n, "write it as lines of `key: value`", "%s must be a mapping, not %s", what, yamlKind(n))
		return nil
	}
	var out []yamlEntry
	first := map[string]int{}
	for _, v := range m.Values {
		switch v.Key.(type) {
		case *ast.MergeKeyNode, *ast.MappingKeyNode:
			f.problem(v.Key, "write the keys out", "%q keys are not supported", v.Key.GetToken().Value)
			continue
		}
		key := yamlText(v.Key)
		line := v.Key.GetToken().Position.Line
		if was, twice := first[key]; twice {
			f.problem(v.Key, "remove one of the two", "%s has the key %s twice, first in line %d", what, key, was)
			continue
		}
		first[key] = line
		out = append(out, yamlEntry{key, v.Key, v.Value})
	}
	return out
}

// unknown reports a key that is none of the known ones.
func (f *yamlFile) unknown(e yamlEntry, known []string, what string) {
	hint := "known keys: " + strings.Join(known, ", ")
	if near := Nearest(e.key, known); near != "" {
		hint = "did you mean " + near + "?"
	}
	f.problem(e.at, hint, "unknown key %s in %s", e.key, what)
}

// text is a scalar's text. Numbers and booleans count as the text they were written as; null does not.
func (f *yamlFile) text(e yamlEntry, want string) (string, bool) {
	switch e.value.(type) {
	case *ast.StringNode, *ast.LiteralNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return yamlText(e.value), true
	}
	f.problem(e.value, "", "%s must be %s, not %s", e.key, want, yamlKind(e.value))
	return "", false
}

// choice is a text that must be one of the known ones.
func (f *yamlFile) choice(e yamlEntry, known []string) (string, bool) {
	s, ok := f.text(e, "one of "+strings.Join(known, ", "))
	if ok && !slices.Contains(known, s) {
		hint := ""
		if near := Nearest(s, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		f.problem(e.value, hint, "%s must be one of %s, not %q", e.key, strings.Join(known, ", "), s)
		return "", false
	}
	return s, ok
}

func yamlText(n ast.Node) string {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value
	case *ast.LiteralNode:
		return v.Value.Value
	}
	return n.GetToken().Value
}

func yamlKind(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "empty"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias, which are not supported"
	case *ast.TagNode:
		return "a tag, which are not supported"
	}
	return fmt.Sprintf("%q", yamlText(n))
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
