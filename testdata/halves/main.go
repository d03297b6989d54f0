// Command halves writes the flights of testdata into a folder as two files, first.ndjson and second.ndjson: what the
// demo puts in before and after a batch cycle.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/millrace/millrace/testdata"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: halves DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "halves:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	lines, err := testdata.Flights()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	half := len(lines) / 2
	for name, part := range map[string][][]byte{"first.ndjson": lines[:half], "second.ndjson": lines[half:]} {
		text := append(bytes.Join(part, []byte("\n")), '\n')
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
