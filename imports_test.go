package millrace_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/millrace/millrace/"

// layers are the folders that never import each other; what they share lies below them.
var layers = []string{"ingest", "batch", "speed", "serving"}

// above says for each folder which others of the module its packages may import beside itself.
var above = map[string][]string{
	"schemas":   {},
	"pipelines": {"schemas"},
	"ingest":    {"schemas", "pipelines"},
	"batch":     {"schemas", "pipelines"},
	"speed":     {"schemas", "pipelines"},
	"serving":   {"schemas", "pipelines"},
	"cmd":       append([]string{"schemas", "pipelines", "testdata"}, layers...),
	"testdata":  {},
}

// fenced says which folders may import a library, by the prefix of its path.
var fenced = map[string][]string{
	"github.com/apache/beam/":               {"pipelines/kafkaio", "pipelines/runner", "speed", "batch"},
	"github.com/duckdb/":                    {"pipelines/views", "pipelines/kernel", "serving"},
	"github.com/twmb/franz-go":              {"ingest", "pipelines/kafkalog", "cmd/bench"},
	"github.com/segmentio/kafka-go":         {"pipelines/kafkalog"},
	"github.com/parquet-go/":                {"batch", "ingest"},
	"github.com/spf13/":                     {"cmd"},
	"github.com/millrace/millrace/testdata": {"cmd", "testdata"},
}

// TestImportsPointOneWay holds the house's plan: schemas <- pipelines <- layers <- cmd, and each big library where it
// belongs. Tests may import what they like.
func TestImportsPointOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-tags=duckdb_arrow", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if words[0]+"/" == module {
			continue // this test
		}
		pkg := strings.TrimPrefix(words[0], module)
		house, _, _ := strings.Cut(pkg, "/")
		allowed, known := above[house]
		if !known {
			t.Errorf("%s lies in a folder that has no place in the plan: add it to this test", pkg)
		}
		for _, imported := range words[1:] {
			if ours, ok := strings.CutPrefix(imported, module); ok {
				if other, _, _ := strings.Cut(ours, "/"); other != house && !slices.Contains(allowed, other) {
					t.Errorf("%s imports %s: %s may import only %v", pkg, ours, house, allowed)
				}
			}
			for library, homes := range fenced {
				if strings.HasPrefix(imported, library) && !slices.ContainsFunc(homes, func(h string) bool { return pkg == h || strings.HasPrefix(pkg, h+"/") }) {
					t.Errorf("%s imports %s, which belongs to %v", pkg, imported, homes)
				}
			}
		}
	}
}
