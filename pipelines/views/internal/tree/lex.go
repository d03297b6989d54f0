package tree

import (
	"strings"
	"unicode/utf8"
)

// Token is a piece of SQL text: bytes [from, to).
type Token struct {
	Kind     TokenKind
	From, To int
	Depth    int // how many brackets are open before it
	Text     string
}

// Sign is the sign that a token is, empty for words and strings.
func (t Token) Sign() string {
	if t.Kind == SignToken {
		return t.Text
	}
	return ""
}

// IsWord says whether a token is a word without quotes, in upper or lower case.
func (t Token) IsWord(word string) bool {
	return t.Kind == WordToken && strings.EqualFold(t.Text, word)
}

// TokenKind says what a token is.
type TokenKind int

// The kinds of token.
const (
	WordToken   TokenKind = iota // a name, a keyword or a number
	QuotedToken                  // "a name in quotes"
	TextToken                    // a string
	SignToken                    // one sign
)

// Lex cuts SQL text into tokens, so that statements can be told apart and places found. What they mean is for DuckDB's
// parser to say. A string or comment that does not end runs to the end of the text.
func Lex(text string) []Token {
	var out []Token
	depth := 0
	for at := 0; at < len(text); {
		rest := text[at:]
		var end int
		kind, blank := SignToken, false
		switch c := rest[0]; {
		case strings.IndexByte(" \t\r\n\f\v", c) >= 0:
			end, blank = 1, true
		case strings.HasPrefix(rest, "--"):
			end, blank = through(rest, "\n", 2), true
		case strings.HasPrefix(rest, "/*"):
			end, blank = commentEnd(rest), true
		case c == '\'':
			end, kind = quoteEnd(rest, 0, false), TextToken
		case (c == 'e' || c == 'E') && strings.HasPrefix(rest[1:], "'"):
			end, kind = quoteEnd(rest, 1, true), TextToken
		case c == '"':
			end, kind = quoteEnd(rest, 0, false), QuotedToken
		case c == '$':
			if tag := dollarTag(rest); tag != "" {
				end, kind = through(rest, tag, len(tag)), TextToken
			} else {
				end = 1
			}
		case isWordByte(c):
			end, kind = wordEnd(rest), WordToken
		default:
			_, end = utf8.DecodeRuneInString(rest)
		}
		if !blank {
			t := Token{kind, at, at + end, depth, rest[:end]}
			if kind == SignToken {
				switch text[at] {
				case '(', '[', '{':
					depth++
				case ')', ']', '}':
					depth--
					t.Depth = depth
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

// Statement is one of several in a text, without its semicolon.
type Statement []Token

// Place is the byte at which token i begins, or at which the statement ends.
func (st Statement) Place(i int) int {
	if i < len(st) {
		return st[i].From
	}
	return st[len(st)-1].To
}

// Statements cuts a text at its semicolons; empty ones are left out.
func Statements(text string) []Statement {
	var out []Statement
	var one Statement
	for _, t := range Lex(text) {
		if t.Sign() == ";" {
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
