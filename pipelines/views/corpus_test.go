package views

import (
	"errors"
	goflag "flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/schemas"
)

var update = goflag.Bool("update", false, "rewrite the answers in testdata")

func corpusCatalog(t *testing.T) *Catalog {
	t.Helper()
	cat := &Catalog{Topics: map[string]*schemas.Topic{}, ViewTexts: map[string]ViewText{}, References: map[string]*Reference{
		"airports": {Name: "airports", Hash: "1", Columns: []Column{{Name: "iata", Type: "VARCHAR"}, {Name: "city", Type: "VARCHAR"}}},
	}}
	for name, fields := range map[string]string{
		"flights":  "{date: TIMESTAMP, delay: INTEGER, origin: VARCHAR, dest: VARCHAR, tags: 'VARCHAR[]', wait: INTERVAL, where_at: STRUCT(a INTEGER)}",
		"events":   "{ts: TIMESTAMP, what: VARCHAR}",
		"odd name": "{a: INTEGER}",
	} {
		topic, problems := schemas.ParseTopic(strings.ReplaceAll(name, " ", "-"), "topics/"+name+".yaml", []byte("fields: "+fields))
		if len(problems) > 0 {
			t.Fatal(problems[0])
		}
		cat.Topics[name] = topic
	}
	return cat
}

// runCorpus calls f for each block of a file and compares, or rewrites, what stands after =>.
func runCorpus(t *testing.T, file string, f func(sql string) string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(strings.TrimSpace(string(text)), "\n\n")
	for i, block := range blocks {
		if strings.HasPrefix(block, "#") {
			continue
		}
		sql, want, ok := strings.Cut(block, "\n=>")
		if !ok {
			t.Fatalf("%s: block %d has no =>", file, i)
		}
		got := f(sql)
		if *update {
			blocks[i] = sql + "\n=> " + got
		} else if got != strings.TrimSpace(want) {
			t.Errorf("%s\n got %s\nwant %s", sql, got, strings.TrimSpace(want))
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(blocks, "\n\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func problemText(t *testing.T, err error) string {
	t.Helper()
	var p *schemas.Problem
	if !errors.As(err, &p) || p.Kind != schemas.Usage || p.Hint == "" {
		t.Fatalf("not a Problem a person can act on: %v", err)
	}
	return "refused " + err.Error()
}

func openCompiler(t *testing.T) *Compiler {
	t.Helper()
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestViews(t *testing.T) {
	c, cat := openCompiler(t), corpusCatalog(t)
	runCorpus(t, "testdata/views.txt", func(sql string) string {
		v, err := c.Compile("v", "v.sql", sql, cat)
		if err != nil {
			return problemText(t, err)
		}
		if throughJSON(t, v); v.Class.FromPartials() {
			return string(v.Class)
		}
		return "raw: " + strings.Join(v.Reasons, "; ")
	})
}

func TestQueries(t *testing.T) {
	c := openCompiler(t)
	known := Tables{Catalog: *corpusCatalog(t), Views: map[string][]Column{"delays": {{Name: "origin", Type: "VARCHAR"}, {Name: "late", Type: "DOUBLE"}}},
		Parameters: map[string]string{"since": "TIMESTAMP '2026-01-01 00:00:00'"}}
	known.Macros, _ = c.ReadMacros("views/_macros.sql", readText(t, "testdata/macros.sql"))
	runCorpus(t, "testdata/queries.txt", func(sql string) string {
		q, err := c.Query(sql, known)
		if err != nil {
			return problemText(t, err)
		}
		var tables []string
		for _, k := range q.Tables {
			name := string(k.Kind) + " " + k.Name
			if k.Schema != "" {
				name = k.Schema + "." + k.Name
			}
			tables = append(tables, name+"("+strings.Join(k.Columns, ", ")+")")
		}
		if len(tables) == 0 {
			return "reads no table"
		}
		slices.Sort(tables)
		return fmt.Sprintf("reads %s", strings.Join(tables, "; "))
	})
}

// The definition is of what a view means: white space, comments and the letter case of keywords take no part; the
// schema, the references and the SELECT do.
func TestDefinition(t *testing.T) {
	c, cat := openCompiler(t), corpusCatalog(t)
	define := func(sql string) string {
		v, err := c.Compile("v", "v.sql", sql, cat)
		if err != nil {
			t.Fatal(err)
		}
		return v.Definition
	}
	const sql = "SELECT city, sum(delay) FROM flights JOIN airports ON origin = iata GROUP BY city"
	first := define(sql)
	if len(first) != 64 {
		t.Fatalf("definition %q is not 64 hex", first)
	}
	if define("-- late\nselect city,\n sum(delay) /* all */ from flights join airports on origin=iata\ngroup by city;\n") != first {
		t.Error("white space and comments change the definition")
	}
	if define(sql+" HAVING sum(delay) > 1") == first {
		t.Error("another SELECT has the same definition")
	}
	cat.References["airports"].Hash = "2"
	if define(sql) == first {
		t.Error("another version of the reference has the same definition")
	}
	cat.References["airports"].Hash = "1"
	cat.Topics["flights"].Fields[1].NotNull = true
	if define(sql) == first {
		t.Error("another schema has the same definition")
	}
}
