package views

import (
	"strings"
	"unicode/utf8"
)

// token is a piece of SQL text: bytes [from, to).
type token struct {
	kind     tokenKind
	from, to int
	depth    int // how many brackets are open before it
}

type tokenKind int

const (
	wordToken   tokenKind = iota // a name, a keyword or a number
	quotedToken                  // "a name in quotes"
	textToken                    // a string
	signToken                    // one sign
)

// lex cuts SQL text into tokens, so that statements can be told apart and places found. What they mean is for DuckDB's
// parser to say. A string or comment that does not end runs to the end of the text.
func lex(text string) []token {
	var out []token
	depth := 0
	for at := 0; at < len(text); {
		rest := text[at:]
		var end int
		kind, blank := signToken, false
		switch c := rest[0]; {
		case strings.IndexByte(" \t\r\n\f\v", c) >= 0:
			end, blank = 1, true
		case strings.HasPrefix(rest, "--"):
			end, blank = through(rest, "\n", 2), true
		case strings.HasPrefix(rest, "/*"):
			end, blank = commentEnd(rest), true
		case c == '\'':
			end, kind = quoteEnd(rest, 0, false), textToken
		case (c == 'e' || c == 'E') && strings.HasPrefix(rest[1:], "'"):
			end, kind = quoteEnd(rest, 1, true), textToken
		case c == '"':
			end, kind = quoteEnd(rest, 0, false), quotedToken
		case c == '$':
			if tag := dollarTag(rest); tag != "" {
				end, kind = through(rest, tag, len(tag)), textToken
			} else {
				end = 1
			}
		case isWordByte(c):
			end, kind = wordEnd(rest), wordToken
		default:
			_, end = utf8.DecodeRuneInString(rest)
		}
		if !blank {
			t := token{kind, at, at + end, depth}
			if kind == signToken {
				switch text[at] {
				case '(', '[', '{':
					depth++
				case ')', ']', '}':
					depth--
					t.depth = depth
				}
			}
			out = append(out, t)
		}
		at += end
	}
	return out
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

func wordEnd(s string) int {
	for i := range len(s) {
		if !isWordByte(s[i]) && s[i] != '$' {
			return i
		}
	}
	return len(s)
}

// through is the index after the first mark at or behind from.
func through(s, mark string, from int) int {
	if i := strings.Index(s[from:], mark); i >= 0 {
		return from + i + len(mark)
	}
	return len(s)
}

// commentEnd is the index after a comment, which may hold others.
func commentEnd(s string) int {
	open := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			open++
			i++
		case "*/":
			open--
			i++
			if open == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// quoteEnd is the index after a quoted text that opens at start; two quotes stand for one, with escapes \' does too.
func quoteEnd(s string, start int, escapes bool) int {
	quote := s[start]
	for i := start + 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return len(s)
}

// dollarTag is $$ or $name$ at the beginning of a text in dollar quotes; empty for a parameter.
func dollarTag(s string) string {
	end := strings.IndexByte(s[1:], '$')
	if end < 0 {
		return ""
	}
	tag := s[1 : end+1]
	if tag != "" && (tag[0] >= '0' && tag[0] <= '9' || wordEnd(tag) != len(tag)) {
		return ""
	}
	return s[:end+2]
}

// statement is one of several in a text, without its semicolon.
type statement []token

// statements cuts a text at its semicolons; empty ones are left out.
func statements(text string) []statement {
	var out []statement
	var one statement
	for _, t := range lex(text) {
		if t.kind == signToken && text[t.from] == ';' {
			if len(one) > 0 {
				out = append(out, one)
			}
			one = nil
			continue
		}
		one = append(one, t)
	}
	if len(one) > 0 {
		out = append(out, one)
	}
	return out
}
