package serving_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/testdata"
)

// house is the flights example over a real broker.
type house struct {
	server *serving.Server
	defs   *serving.Definitions
	log    *kafkalog.Log
	store  store.Store
	dir    string
}

func open(t testing.TB, n int, more ...string) *house {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "flights"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	h := &house{dir: t.TempDir()}
	example, err := testdata.Example("flights")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(h.dir, example); err != nil {
		t.Fatal(err)
	}
	p, problems := project.Open(h.dir)
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	compiler, err := views.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { compiler.Close() })
	h.defs = &serving.Definitions{Catalog: &views.Catalog{Topics: p.Topics, References: map[string]*views.Reference{}}, Views: map[string]*views.View{}}
	for _, r := range p.References {
		if h.defs.Catalog.References[r.Name], err = views.LoadReference(r.Name, r.Path, r.Fields); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range p.Views {
		if h.defs.Views[v.Name], err = compiler.Compile(v.Name, v.File, v.SQL, h.defs.Catalog); err != nil {
			t.Fatal(err)
		}
	}
	if h.log, err = kafkalog.Open(kafkalog.Config{Brokers: broker.ListenAddrs()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.log.Close() })
	if h.store, err = store.Open(h.dir + "/data"); err != nil {
		t.Fatal(err)
	}
	h.server = serving.New(serving.Options{Log: h.log, Store: h.store, Compiler: compiler, Scratch: t.TempDir(),
		Definitions: func(context.Context) (*serving.Definitions, error) { return h.defs, nil }})
	flights, err := testdata.Flights()
	if err != nil {
		t.Fatal(err)
	}
	producer, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.DefaultProduceTopic("flights"))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	for i, payload := range flights[:n] {
		producer.Produce(t.Context(), &kgo.Record{Key: fmt.Append(nil, i%37), Value: payload}, nil)
	}
	for _, payload := range more {
		producer.Produce(t.Context(), &kgo.Record{Key: []byte("k"), Value: []byte(payload), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte{1}}, {Key: "n"}}}, nil)
	}
	if err := producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

// ask returns the answer's rows as JSON lines.
func (h *house) ask(t testing.TB, r serving.Request) (string, *serving.Certificate) {
	t.Helper()
	a, err := h.server.Query(t.Context(), r)
	if err != nil {
		t.Fatalf("%s: %v", r.SQL, err)
	}
	defer a.Close()
	var rows []string
	if err := a.Rows(t.Context(), func(row json.RawMessage) error {
		rows = append(rows, string(row))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(rows, "\n"), a.Certificate
}

func TestEveryViewIsItsRecompute(t *testing.T) {
	h := open(t, 20_000, `{"date":"2001-01-01","origin":5}`, `not json`)
	for name, v := range h.defs.Views {
		verdict, err := h.server.Verify(t.Context(), h.defs, v, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if verdict.Differing != 0 || verdict.Rows == 0 || v.Class != views.Merged {
			t.Errorf("%s (%s): %d of %d rows differ: %+v", name, v.Class, verdict.Differing, verdict.Rows, verdict.Examples)
		}
		if n := verdict.Certificate.Topics["flights"].Layers.Raw; n.Records != 20_000 || n.Rejects != 2 {
			t.Errorf("%s: the certificate counts %+v", name, n)
		}
	}
}

func TestTopicsRejectsAndMoments(t *testing.T) {
	h := open(t, 1000, `{"date":"2001-01-01","origin":5}`)
	all, certificate := h.ask(t, serving.Request{SQL: "SELECT count(*), count(DISTINCT _partition), min(date) < max(date) FROM flights"})
	if all != "[1000,4,true]" {
		t.Errorf("flights: %s", all)
	}
	again, err := json.Marshal(certificate)
	if err != nil {
		t.Fatal(err)
	}
	asOf, err := serving.ParseAsOf(again)
	if err != nil {
		t.Fatal(err)
	}
	if same, _ := h.ask(t, serving.Request{SQL: "SELECT count(*), 4, true FROM flights", AsOf: asOf}); same != all {
		t.Errorf("with its certificate: %s", same)
	}
	early, err := serving.ParseAsOf([]byte(`{"flights":{"0":10,"2":5}}`))
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := h.ask(t, serving.Request{SQL: "SELECT count(*) FROM flights", AsOf: early}); n != "[15]" {
		t.Errorf("as of 10 and 5: %s", n)
	}
	if n, _ := h.ask(t, serving.Request{SQL: "SELECT sum(flights)::INTEGER FROM delays", AsOf: early}); n != "[15]" {
		t.Errorf("a view as of 10 and 5: %s", n)
	}
	rejects, _ := h.ask(t, serving.Request{SQL: "SELECT field, len(reason) > 0, decode(value), decode(_key), len(_headers), _headers[2].value IS NULL FROM rejects.flights"})
	if rejects != `["origin",true,"{\"date\":\"2001-01-01\",\"origin\":5}","k",2,true]` {
		t.Errorf("rejects: %s", rejects)
	}
	if n, _ := h.ask(t, serving.Request{SQL: "SELECT (SELECT count(*) FROM batch.delays), (SELECT count(*) > 0 FROM speed.delays), count(*) > 100 FROM airports"}); n != "[0,true,true]" {
		t.Errorf("the halves: %s", n)
	}
}

// Two columns of one name, or of names that differ by case alone, are two in an Arrow stream.
func TestArrowOfOneNameTwice(t *testing.T) {
	h := open(t, 0)
	a, err := h.server.Query(t.Context(), serving.Request{SQL: "SELECT 1 AS a, 2 AS a, 3 AS A"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var out bytes.Buffer
	if err := a.Arrow(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	r, err := ipc.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	if !r.Next() || r.RecordBatch().NumCols() != 3 {
		t.Fatalf("no row of three columns: %v", r.Schema())
	}
	for i := range 3 {
		if got := r.RecordBatch().Column(i).(*array.Int32).Value(0); got != int32(i+1) {
			t.Errorf("column %d is %d", i, got)
		}
	}
}

func TestAQuestionChangesAndReadsNothingElse(t *testing.T) {
	h := open(t, 1)
	secret := h.dir + "/secret.csv"
	if err := os.WriteFile(secret, []byte("a\n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"SELECT * FROM '" + secret + "'", "SELECT * FROM read_csv('" + secret + "')", "SELECT * FROM read_text('" + secret + "')", "SELECT * FROM glob('*')",
		"COPY flights TO '" + secret + "'", "ATTACH '" + secret + "'", "INSTALL httpfs", "LOAD httpfs", "SET threads = 1", "PRAGMA version", "CREATE TABLE x (a INT)",
		"DROP TABLE flights", "SELECT 1; SELECT 2", "SELEC 1", "SELECT nothing FROM flights", "SELECT * FROM nothing", `SELECT * FROM "millrace.flights.feed"`, "SELECT getenv('HOME')", "",
	} {
		a, err := h.server.Query(t.Context(), serving.Request{SQL: sql})
		if err == nil {
			a.Close()
			t.Errorf("%s was answered", sql)
		}
	}
}

// What goes into a Parquet file comes back whole: each value, cast to its type, is what it was.
func TestParquetHoldsAnswersWhole(t *testing.T) {
	h := open(t, 1)
	for _, c := range []struct{ value, stored string }{
		{"99999999999999999999999999999999999999::HUGEINT", "DECIMAL(38,0)"},
		{"170141183460469231731687303715884105727::HUGEINT", "VARCHAR"},
		{"'-170141183460469231731687303715884105728'::HUGEINT", "VARCHAR"},
		{"340282366920938463463374607431768211455::UHUGEINT", "VARCHAR"},
		{"NULL::HUGEINT", "DECIMAL(38,0)"},
		{"sum(9007199254740993)", "DECIMAL(38,0)"},
		{"{'a': 123456789012345678901::HUGEINT, 'b': 1}", "STRUCT(a VARCHAR, b INTEGER)"},
		{"[123456789012345678901::HUGEINT, NULL]", "VARCHAR[]"},
		{"MAP {'k': 123456789012345678901::HUGEINT}", "MAP(VARCHAR, VARCHAR)"},
		{"INTERVAL '-1 month 1.234567 seconds'", "VARCHAR"},
		{"'01:02:03.5+05:30'::TIMETZ", "VARCHAR"},
		{"'0101'::BIT", "VARCHAR"},
		{"12345678901234567890123456789012345678901234567890::BIGNUM", "VARCHAR"},
		{"1234567890123456789012345678.0123456789::DECIMAL(38,10)", "DECIMAL(38,10)"},
		{"18446744073709551615::UBIGINT", "UBIGINT"},
		{"'2024-01-01 00:00:00.123456789'::TIMESTAMP_NS", "TIMESTAMP_NS"},
		{"'0001-01-01'::DATE", "DATE"},
		{"[{'a': '9999-12-31 23:59:59.999999'::TIMESTAMP}]", "STRUCT(a TIMESTAMP)[]"},
		{"'00000000-0000-0000-0000-0000000000ff'::UUID", "UUID"},
		{"'a\\x00b'::BLOB", "BLOB"},
	} {
		a, err := h.server.Query(t.Context(), serving.Request{SQL: "SELECT " + c.value + " AS v"})
		if err != nil {
			t.Errorf("%s: %v", c.value, err)
			continue
		}
		path, err := a.File(t.Context(), serving.Parquet, "")
		if err == nil {
			same, stored := readBack(t, path, c.value)
			if !same || stored != c.stored {
				t.Errorf("%s came back as %s, the same: %v; want %s", c.value, stored, same, c.stored)
			}
		} else {
			t.Errorf("%s: %v", c.value, err)
		}
		a.Close()
	}
}

// readBack says whether a file's one value v is that of an expression, and the type it was stored as.
func readBack(t *testing.T, path, want string) (same bool, stored string) {
	t.Helper()
	s, err := kernel.OpenSession(t.Context(), kernel.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Exec(t.Context(), "CREATE TABLE want AS SELECT "+want+" AS w"); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(t.Context(), "CREATE TABLE got AS SELECT w, v, typeof(v) AS t FROM want, read_parquet('"+path+"')"); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(t.Context(), "CREATE TABLE back AS SELECT w AS v FROM want WITH NO DATA"); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(t.Context(), "INSERT INTO back SELECT v FROM got"); err != nil {
		t.Fatal(err)
	}
	rows, err := s.Query(t.Context(), "SELECT b.v::VARCHAR IS NOT DISTINCT FROM w::VARCHAR, t FROM got, back b")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&same, &stored); err != nil {
			t.Fatal(err)
		}
	}
	return same, stored
}
