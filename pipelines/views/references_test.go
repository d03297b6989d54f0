package views

import (
	"compress/gzip"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/schemas"
)

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func fields(t *testing.T, yaml string) []schemas.Field {
	t.Helper()
	topic, problems := schemas.ParseTopic("x", "x.yaml", []byte(yaml))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	return topic.Fields
}

// readAll runs the reference's SELECT and gives its rows as text.
func readAll(t *testing.T, r *Reference) string {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	l := &law{db: db}
	return fmt.Sprint(l.rows(t, r.SQL))
}

func TestReferenceFiles(t *testing.T) {
	for _, c := range []struct{ name, content, declared, columns, rows string }{
		{"a.csv", "iata,city,lat\nBRU,,50.9\nCDG,\"\",49\n007,\"é, è\",\n", "",
			"[{iata VARCHAR} {city VARCHAR} {lat DOUBLE}]", "[[BRU <nil> 50.9] [CDG  49] [007 é, è <nil>]]"},
		{"b.csv", "id,since\n007,1000\n", "fields: {since: {type: TIMESTAMP, unit: ms}, id: VARCHAR NOT NULL}",
			"[{since TIMESTAMP} {id VARCHAR}]", "[[1970-01-01 00:00:01 +0000 UTC 007]]"},
		{"c.ndjson", `{"k": 1, "v": ["a"]}` + "\n" + `{"k": null, "v": []}` + "\n", "",
			"[{k BIGINT} {v VARCHAR[]}]", "[[1 [a]] [<nil> []]]"},
		{"d.json", `[{"k": 1}, {"k": 2}]`, "fields: {k: HUGEINT}", "[{k HUGEINT}]", "[[1] [2]]"},
		{"comment.csv", "k,v\n#1,a\n#2,\"b;c\"\n", "", "[{k VARCHAR} {v VARCHAR}]", "[[#1 a] [#2 b;c]]"},
		{"tabs.tsv", "k\tv\n1\ta\n", "", "[{k BIGINT} {v VARCHAR}]", "[[1 a]]"},
		{"e.csv", "only,header\n", "", "[{only VARCHAR} {header VARCHAR}]", "[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var declared []schemas.Field
			if c.declared != "" {
				declared = fields(t, c.declared)
			}
			r, err := LoadReference("x", writeFile(t, c.name, c.content), declared)
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(r.Columns); got != c.columns {
				t.Errorf("columns %s, want %s", got, c.columns)
			}
			if got := readAll(t, r); got != c.rows {
				t.Errorf("rows %s, want %s", got, c.rows)
			}
		})
	}
}

func TestReferenceParquetAndGzip(t *testing.T) {
	dir := t.TempDir()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	path := filepath.Join(dir, "o'neill.parquet")
	if _, err := db.Exec("COPY (SELECT 1::INTEGER AS k, 'x' AS v) TO " + schemas.QuoteText(path)); err != nil {
		t.Fatal(err)
	}
	r, err := LoadReference("x", path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, r); got != "[[1 x]]" {
		t.Errorf("rows %s", got)
	}
	zipped := filepath.Join(dir, "z.csv.gz")
	f, err := os.Create(zipped)
	if err != nil {
		t.Fatal(err)
	}
	w := gzip.NewWriter(f)
	fmt.Fprint(w, "a,b\n1,2\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err = LoadReference("x", zipped, nil); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, r); got != "[[1 2]]" {
		t.Errorf("rows %s", got)
	}
}

func TestReferenceProblems(t *testing.T) {
	for _, c := range []struct{ name, content, declared, says string }{
		{"a.csv", "k,v\n1,x\n", "fields: {key: INTEGER}", `the declared field "key" is not in the file`},
		{"b.csv", "k\n1\nx\n", "fields: {k: INTEGER}", "Could not convert"},
		{"c.csv", "k,v\n1,2\n,3\n", "fields: {k: INTEGER NOT NULL}", "k is NOT NULL, but 1 of 2 rows have no value"},
		{"d.xlsx", "", "", "a reference table is CSV, Parquet or NDJSON"},
		{"e.parquet", "no", "", "parquet"},
		{"f.ndjson", "{\n", "", ""},
		{"torn.csv", "k,name\n1,\"ONE\n", "", "Error when sniffing file"},
		{"semi.csv", "k;name\n1;ONE\n", "", "its one column is named \"k;name\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var declared []schemas.Field
			if c.declared != "" {
				declared = fields(t, c.declared)
			}
			_, err := LoadReference("x", writeFile(t, c.name, c.content), declared)
			if err == nil {
				t.Fatal("no problem")
			}
			if said := problemText(t, err); !strings.Contains(said, c.says) || !strings.Contains(said, c.name) {
				t.Errorf("says %s, want %s", said, c.says)
			}
		})
	}
}

// The hash is of what the table holds, not of where it lies.
func TestReferenceHash(t *testing.T) {
	load := func(content, declared string) string {
		t.Helper()
		var d []schemas.Field
		if declared != "" {
			d = fields(t, declared)
		}
		r, err := LoadReference("x", writeFile(t, "x.csv", content), d)
		if err != nil {
			t.Fatal(err)
		}
		return r.Hash
	}
	first := load("k\n1\n", "")
	if load("k\n1\n", "") != first {
		t.Error("the place of the file changes its hash")
	}
	if load("k\n2\n", "") == first || load("k\n1\n", "fields: {k: VARCHAR}") == first {
		t.Error("content and declaration must change the hash")
	}
}
