package project

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/testdata"
)

func TestFlightsExampleOpensWithoutProblems(t *testing.T) {
	example, err := testdata.Example("flights")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, example); err != nil {
		t.Fatal(err)
	}
	p, problems := Open(dir)
	if len(problems) > 0 || len(p.Notes) > 0 {
		t.Fatal(said(problems), p.Notes)
	}
	if len(p.Views) != 10 || len(p.References) != 1 || len(p.References[0].Fields) != 7 || p.Job("weekly") == nil || p.Topics["flights"].Partitions != 4 {
		t.Errorf("%+v", p)
	}
}

func TestOpenNamesEveryProblem(t *testing.T) {
	p, problems := open(t, map[string]string{
		"millrace.yaml":          "storr: x\n",
		"topics/flights.yaml":    "fields: {origin: VARCHAR}\n",
		"topics/notes.txt":       "hello",
		"views/flights.sql":      "SELECT 1",
		"views/2fast.sql":        "SELECT 1",
		"views/empty.sql":        " \n",
		"views/.hidden.sql":      "",
		"views/_macros.sql":      "CREATE MACRO one() AS 1;",
		"reference/Flights.csv":  "a\n1\n",
		"reference/lonely.yaml":  "fields: {a: INTEGER}\n",
		"reference/keyed.yaml":   "fields: {a: INTEGER}\nkey: a\n",
		"reference/keyed.ndjson": "",
		"reference/sheet.xlsx":   "",
		"jobs/weekly.yaml":       "schedule: never\nsql: SELECT 1\noutput: a.csv\n",
		"rules/fraud.yaml":       "",
		"alerts/README":          "",
	})
	var got []string
	for _, pr := range problems {
		got = append(got, pr.Error())
	}
	want := []string{
		`jobs/weekly.yaml:1:11: schedule: expected exactly 5 fields, found 1: [never] (use five fields, minute hour day month weekday: "0 6 * * 1" is Mondays at six)`,
		`millrace.yaml:1:1: unknown key "storr" (did you mean "store"?)`,
		`reference/Flights.csv: the name Flights is taken by topics/flights.yaml (rename one of the files)`,
		`reference/keyed.yaml:2:1: unknown key "key" (known here: fields, history)`,
		`reference/lonely.yaml: it declares a table that is not there (put lonely.csv, .parquet or .ndjson beside it)`,
		`views/2fast.sql: "2fast" is not a name (rename the file: letters, digits and _, not starting with a digit)`,
		`views/empty.sql: the view is empty (write one SELECT)`,
		`views/flights.sql: the name flights is taken by topics/flights.yaml (rename one of the files)`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if p.Macros == nil || p.Macros.File != "views/_macros.sql" || p.Macros.SQL != "CREATE MACRO one() AS 1;" || len(p.Views) != 3 {
		t.Errorf("macros %v, views %v", p.Macros, p.Views)
	}
	notes := "topics/notes.txt is ignored: a file of topics/ ends in .yaml\n" +
		"reference/sheet.xlsx is ignored: a file of reference/ ends in .csv, .parquet or .ndjson\n" +
		"rules/ is not supported yet; its files are ignored\nalerts/ is not supported yet; its files are ignored"
	if strings.Join(p.Notes, "\n") != notes {
		t.Errorf("notes\n%s", strings.Join(p.Notes, "\n"))
	}
}

func TestOpenWithoutAProject(t *testing.T) {
	if p, problems := Open(t.TempDir()); p != nil || len(problems) != 1 || !strings.Contains(problems[0].Hint, "millrace init") {
		t.Error(p, said(problems))
	}
	if p, problems := Open("/no/such/folder"); p != nil || problems[0].Message != "there is no folder /no/such/folder" {
		t.Error(p, said(problems))
	}
}

func open(t *testing.T, files map[string]string) (*Project, []*schemas.Problem) {
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), fs.FileMode(0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return Open(dir)
}
