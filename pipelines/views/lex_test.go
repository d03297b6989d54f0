package views

import (
	"os"
	"strings"
	"testing"
)

// Tokens lie in the text in order, and between them there is nothing but blanks and comments.
func FuzzLex(f *testing.F) {
	text, err := os.ReadFile("testdata/macros.sql")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	for _, s := range []string{"", "'", `"`, "/* /* */", "--", "$$", "$a$ b $a", "$1 + $x", "e'\\", "E", "a;;b", "é ) ( ]", "x'--'y", "\xff\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at := 0
		for _, token := range lex(text) {
			if token.from < at || token.to <= token.from || token.to > len(text) {
				t.Fatalf("token %v after %d of %q", token, at, text)
			}
			if gap := strings.TrimSpace(text[at:token.from]); gap != "" && !strings.HasPrefix(gap, "--") && !strings.HasPrefix(gap, "/*") {
				t.Fatalf("%q is in no token of %q", gap, text)
			}
			at = token.to
		}
		for _, st := range statements(text) {
			if len(st) == 0 {
				t.Fatalf("an empty statement in %q", text)
			}
		}
	})
}

// A file of macros that is cut anywhere has macros and problems, and takes nobody down.
func FuzzMacros(f *testing.F) {
	text, err := os.ReadFile("testdata/macros.sql")
	if err != nil {
		f.Fatal(err)
	}
	for cut := 0; cut < len(text); cut += 97 {
		f.Add(string(text[cut:]))
		f.Add(string(text[:cut]))
	}
	c, err := Open()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Close() })
	f.Fuzz(func(t *testing.T, text string) {
		macros, problems := c.ReadMacros("m.sql", text)
		for _, p := range append(problems, c.CheckMacros(macros, Tables{})...) {
			if p.Message == "" {
				t.Errorf("a problem without words in %q", text)
			}
		}
	})
}
