package millrace_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/ingest"
	"github.com/millrace/millrace/ingest/broker"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/speed"
	"github.com/millrace/millrace/testdata"
)

// flights is the example's project as the layers take it, and DuckDB over the flights' own file.
type flights struct {
	*testing.T
	project *project.Project
	text    map[string]string // view -> SELECT
	refs    map[string]*views.Reference
	direct  *sql.DB
}

func openFlights(t *testing.T) *flights {
	t.Helper()
	f := &flights{T: t, text: map[string]string{}, refs: map[string]*views.Reference{}}
	example, err := testdata.Example("flights")
	f.must(err)
	dir := t.TempDir()
	f.must(os.CopyFS(dir, example))
	p, problems := project.Open(dir)
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	f.project = p
	for _, r := range p.References {
		f.refs[r.Name], err = views.LoadReference(r.Name, r.Path, r.Fields)
		f.must(err)
	}
	for _, v := range p.Views {
		f.text[v.Name] = v.SQL
	}
	f.direct, err = sql.Open("duckdb", "")
	f.must(err)
	t.Cleanup(func() { f.direct.Close() })
	f.direct.SetMaxOpenConns(1)
	f.exec("SET threads = 2; SET memory_limit = '512MiB'; SET temp_directory = '" + filepath.ToSlash(dir) + "/spill'")
	for name, r := range f.refs {
		f.exec(fmt.Sprintf("CREATE TABLE %s AS %s", schemas.QuoteIdent(name), r.SQL))
	}
	return f
}

func (f *flights) must(err error) {
	if err != nil {
		f.Helper()
		f.Fatal(err)
	}
}

func (f *flights) exec(query string) {
	f.Helper()
	_, err := f.direct.Exec(query)
	f.must(err)
}

// speed is the speed layer of the mill, over the same store.
func (f *flights) speed(m *mill) *speed.Input {
	return &speed.Input{Log: m.log, Store: m.store, Topic: m.topic, Views: m.cycle.Views, References: m.refs, Memory: m.memory}
}

// same compares every view with DuckDB's answer to its SELECT over the table flights, and with its recompute, and wants
// every layer to have taken part.
func (f *flights) same(m *mill) {
	f.Helper()
	if len(m.defs.Views) != 10 {
		f.Fatalf("the example has %d views", len(m.defs.Views))
	}
	for name, v := range m.defs.Views {
		if v.Class != views.Merged {
			f.Errorf("%s is %s: %v", name, v.Class, v.Reasons)
		}
		a, err := m.server.Query(f.Context(), serving.Request{SQL: "SELECT * FROM " + name})
		f.must(err)
		if l := a.Certificate.Topics["flights"].Layers; l.Batch.Records == 0 || l.Speed.Records == 0 || l.Speed.Slices == 0 || l.Raw.Records == 0 || l.Batch.Records+l.Speed.Records+l.Raw.Records != m.sent {
			f.Errorf("%s: %d flights are made of %+v", name, m.sent, l)
		}
		path, err := a.File(f.Context(), serving.Parquet, "")
		f.must(err)
		f.sameAs(v, path)
		a.Close()
	}
	f.must(m.check(f.Context(), nil))
}

// sameAs compares a view's answer in a Parquet file with DuckDB's.
func (f *flights) sameAs(v *views.View, path string) {
	f.Helper()
	on := []string{"true"}
	for _, c := range v.Columns {
		same := fmt.Sprintf("a.%s IS NOT DISTINCT FROM b.%[1]s", schemas.QuoteIdent(c.Name))
		if c.Type == "DOUBLE" { // no view of the example adds what could cancel
			same = fmt.Sprintf("(%s OR abs(a.%s - b.%[2]s) <= 1e-12 * abs(a.%[2]s))", same, schemas.QuoteIdent(c.Name))
		}
		on = append(on, same)
	}
	query := fmt.Sprintf("WITH direct AS MATERIALIZED (%s) SELECT (SELECT count(*) FROM direct), (SELECT count(*) FROM '%s'), (SELECT count(*) FROM direct a SEMI JOIN '%[2]s' b ON %[3]s)",
		strings.TrimRight(strings.TrimSpace(f.text[v.Name]), ";"), path, strings.Join(on, " AND "))
	var direct, merged, shared int
	if err := f.direct.QueryRow(query).Scan(&direct, &merged, &shared); err != nil {
		f.Errorf("%s: %v", v.Name, err)
	} else if direct == 0 || direct != merged || direct != shared {
		f.Errorf("%s: DuckDB gives %d rows, millrace %d, %d are the same", v.Name, direct, merged, shared)
	}
}

// filtersReachPartials asks each view for one value of each key that its answer holds unchanged, and wants the filter in
// the read of the partials' files and in that of the rest.
func (f *flights) filtersReachPartials(m *mill) {
	f.Helper()
	checked := 0
	for name, v := range m.defs.Views {
		for column, key := range v.KeyColumns {
			values, err := rows(f.Context(), m.server, serving.Request{SQL: fmt.Sprintf("SELECT any_value(%s)::VARCHAR FROM %s", schemas.QuoteIdent(column), name)})
			f.must(err)
			value := strings.Trim(values[0], `[]"`)
			e, err := m.server.Explain(f.Context(), serving.Request{SQL: fmt.Sprintf("SELECT * FROM %s WHERE %s = '%s'", name, schemas.QuoteIdent(column), value)})
			f.must(err)
			if e.Sources[0].Partials == 0 || e.Sources[0].Slices == 0 || len(e.Sources[0].Log) == 0 {
				f.Errorf("%s: a source took no part: %+v", name, e.Sources)
			}
			// Files, slices and the rest stand at the foot of the plan; one whose statistics rule the value out is not read at all.
			// Slices are filtered before they are a table, so that its statistics may say that every row passes.
			n := len(regexp.MustCompile(`Filters: +`+key+`\b|│ +`+key+`=`).FindAllString(e.Plan, -1))
			if reads := strings.Count(e.Plan, " SEQ_SCAN ") + strings.Count(e.Plan, "Function:"); n < reads-1 || n == 0 {
				f.Errorf("%s: the filter %s = '%s' on %s reaches %d of %d reads:\n%s", name, column, value, key, n, reads, e.Plan)
			}
			checked++
		}
	}
	if checked < 7 {
		f.Errorf("only %d keys of the example's views can be filtered by", checked)
	}
}

// The ten views of the example, over a committed part, slices and a raw tail, are what DuckDB says of the file itself.
func TestTheExampleIsWhatDuckDBSays(t *testing.T) {
	f := openFlights(t)
	m := newMill(f.must, t.Cleanup, f.project.Dir, 4, f.project.Topics["flights"], "")
	m.refs = f.refs
	f.must(m.open(f.text, 0))
	payloads, err := testdata.Flights()
	f.must(err)
	for i, payload := range payloads {
		m.sent++
		m.producer.Produce(t.Context(), &kgo.Record{Partition: int32(i % 4), Value: payload}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
		switch i {
		case len(payloads) / 2:
			f.must(m.producer.Flush(t.Context()))
			report, err := m.cycle.Cycle(t.Context())
			f.must(err)
			if report.Records != int64(i+1) {
				t.Fatalf("the cycle committed %d of %d", report.Records, i+1)
			}
		case len(payloads) * 3 / 4:
			f.must(m.producer.Flush(t.Context()))
			f.must(f.speed(m).CatchUp(t.Context()))
		}
	}
	f.must(m.producer.Flush(t.Context()))
	file := filepath.Join(f.project.Dir, "flights.ndjson")
	f.must(os.WriteFile(file, append(bytes.Join(payloads, []byte("\n")), '\n'), 0o600))
	f.exec(fmt.Sprintf("CREATE TABLE flights AS SELECT * FROM read_json('%s', format = 'newline_delimited', columns = {date: 'TIMESTAMP', delay: 'INTEGER', distance: 'INTEGER', origin: 'VARCHAR', destination: 'VARCHAR'})", file))
	f.same(m)
	f.filtersReachPartials(m)
}

// allFlights names the Parquet file of all three million flights.
const allFlights = "MILLRACE_FLIGHTS"

// The same over all three million flights of the Parquet file that MILLRACE_FLIGHTS names, read, sent through the
// embedded broker and kept by the layers as in earnest. The file goes in as three, for each goes to another layer.
func TestAllFlightsAreWhatDuckDBSays(t *testing.T) {
	file := os.Getenv(allFlights)
	if file == "" {
		t.Skipf("%s names no file: it is the Parquet file of 3,000,000 flights of vega-datasets, which is too large for this repository", allFlights)
	}
	f := openFlights(t)
	f.exec("CREATE VIEW flights AS SELECT * FROM '" + strings.ReplaceAll(file, "'", "''") + "'")
	var total int64
	f.must(f.direct.QueryRow("SELECT count(*) FROM flights").Scan(&total))
	dir := f.project.Dir
	parts := []int64{0, total * 6 / 10, total * 9 / 10, total}
	var inputs []string
	for i := range parts[1:] {
		inputs = append(inputs, filepath.Join(dir, fmt.Sprintf("part-%d.parquet", i)))
		f.exec(fmt.Sprintf("COPY (SELECT * FROM flights LIMIT %d OFFSET %d) TO '%s'", parts[i+1]-parts[i], parts[i], inputs[i]))
	}

	b, err := broker.Open(t.Context(), broker.Options{Dir: filepath.Join(dir, "log")})
	f.must(err)
	t.Cleanup(func() { b.Close() })
	m := &mill{topic: f.project.Topics["flights"], refs: f.refs, brokers: []string{b.Addr()}, dir: dir, memory: f.project.Config.Memory}
	t.Cleanup(m.close)
	f.must(m.open(f.text, 0))
	for i, input := range inputs {
		sent, err := ingest.Run(t.Context(), ingest.Options{Topic: m.topic, Kafka: kafkalog.Config{Brokers: m.brokers}, Files: []string{input}})
		f.must(err)
		if sent.Records != parts[i+1]-parts[i] || sent.Rejects > 0 {
			t.Fatalf("%d of %d flights were sent, %d are rejects", sent.Records, parts[i+1]-parts[i], sent.Rejects)
		}
		m.sent += sent.Records
		switch i {
		case 0:
			report, err := m.cycle.Cycle(t.Context())
			f.must(err)
			if report.Records != parts[1] {
				t.Fatalf("the cycle committed %d of %d", report.Records, parts[1])
			}
		case 1:
			f.must(f.speed(m).CatchUp(t.Context()))
		}
	}
	f.same(m)
}
