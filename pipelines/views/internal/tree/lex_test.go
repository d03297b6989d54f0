package tree

import (
	"os"
	"strings"
	"testing"
)

// Tokens lie in the text in order, and between them there is nothing but blanks and comments.
func FuzzLex(f *testing.F) {
	text, err := os.ReadFile("../../testdata/macros.sql")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	for _, s := range []string{"", "'", `"`, "/* /* */", "--", "$$", "$a$ b $a", "$1 + $x", "e'\\", "E", "a;;b", "é ) ( ]", "x'--'y", "\xff\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at := 0
		for _, token := range Lex(text) {
			if token.From < at || token.To <= token.From || token.To > len(text) {
				t.Fatalf("token %v after %d of %q", token, at, text)
			}
			if gap := strings.TrimSpace(text[at:token.From]); gap != "" && !strings.HasPrefix(gap, "--") && !strings.HasPrefix(gap, "/*") {
				t.Fatalf("%q is in no token of %q", gap, text)
			}
			at = token.To
		}
		for _, st := range Statements(text) {
			if len(st) == 0 {
				t.Fatalf("an empty statement in %q", text)
			}
		}
	})
}
