package millrace_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/testdata"
)

// The ten views of the example, over a committed part, slices and a raw tail, are what DuckDB says of the file itself.
func TestTheExampleIsWhatDuckDBSays(t *testing.T) {
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	example, err := testdata.Example("flights")
	fail(err)
	dir := t.TempDir()
	fail(os.CopyFS(dir, example))
	p, problems := project.Open(dir)
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	refs, text := map[string]*views.Reference{}, map[string]string{}
	for _, r := range p.References {
		refs[r.Name], err = views.LoadReference(r.Name, r.Path, r.Fields)
		fail(err)
	}
	for _, v := range p.Views {
		text[v.Name] = v.SQL
	}
	m := newMill(fail, t.Cleanup, dir, 4, p.Topics["flights"], "")
	m.refs = refs
	fail(m.open(text, 0))
	flights, err := testdata.Flights()
	fail(err)
	for i, payload := range flights {
		m.sent++
		m.producer.Produce(t.Context(), &kgo.Record{Partition: int32(i % 4), Value: payload}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
		if i == len(flights)/2 {
			fail(m.producer.Flush(t.Context()))
			report, err := m.cycle.Cycle(t.Context())
			fail(err)
			if report.Records != int64(i+1) {
				t.Fatalf("the cycle committed %d of %d", report.Records, i+1)
			}
		}
	}
	fail(m.producer.Flush(t.Context()))
	db, err := sql.Open("duckdb", "")
	fail(err)
	defer db.Close()
	file := filepath.Join(dir, "flights.ndjson")
	fail(os.WriteFile(file, append(bytes.Join(flights, []byte("\n")), '\n'), 0o600))
	_, err = db.Exec(fmt.Sprintf("CREATE TABLE flights AS SELECT * FROM read_json('%s', format = 'newline_delimited', columns = {date: 'TIMESTAMP', delay: 'INTEGER', distance: 'INTEGER', origin: 'VARCHAR', destination: 'VARCHAR'})", file))
	fail(err)
	for name, r := range refs {
		_, err = db.Exec(fmt.Sprintf("CREATE TABLE %s AS %s", schemas.QuoteIdent(name), r.SQL))
		fail(err)
	}
	for name, v := range m.defs.Views {
		if v.Class != views.Merged {
			t.Errorf("%s is %s: %v", name, v.Class, v.Reasons)
		}
		a, err := m.server.Query(t.Context(), serving.Request{SQL: "SELECT * FROM " + name})
		fail(err)
		path, err := a.File(t.Context(), serving.Parquet, "")
		fail(err)
		same := fmt.Sprintf("SELECT (SELECT count(*) FROM (%[1]s)), (SELECT count(*) FROM '%[2]s'), ", text[name], path)
		var exact, float []string
		for _, c := range v.Columns {
			if c.Type == "DOUBLE" {
				float = append(float, schemas.QuoteIdent(c.Name))
			} else {
				exact = append(exact, schemas.QuoteIdent(c.Name))
			}
		}
		on := []string{"true"}
		for _, c := range exact {
			on = append(on, fmt.Sprintf("a.%s IS NOT DISTINCT FROM b.%[1]s", c))
		}
		for _, c := range float {
			on = append(on, fmt.Sprintf("(a.%s IS NOT DISTINCT FROM b.%[1]s OR abs(a.%[1]s - b.%[1]s) <= 1e-12 * abs(a.%[1]s))", c))
		}
		same += fmt.Sprintf("(SELECT count(*) FROM (%s) a SEMI JOIN '%s' b ON %s)", text[name], path, strings.Join(on, " AND "))
		var direct, merged, shared int
		if err := db.QueryRow(same).Scan(&direct, &merged, &shared); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if direct == 0 || direct != merged || direct != shared {
			t.Errorf("%s: DuckDB gives %d rows, millrace %d, %d are the same", name, direct, merged, shared)
		}
		a.Close()
	}
	fail(m.check(t.Context(), nil))
}
