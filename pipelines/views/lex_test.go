package views

import (
	"os"
	"testing"
)

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
