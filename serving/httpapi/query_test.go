package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/serving/httpapi"
)

func TestFormats(t *testing.T) {
	h := open(t)
	h.send("POST", recordsPath, flightLines(10), asNDJSON)
	body := `{"sql":"SELECT origin, count(*) AS n, sum(delay) AS total FROM flights GROUP BY ALL ORDER BY origin LIMIT 2"}`
	r := h.send("POST", "/v1/query", body)
	var answer struct {
		Columns     []struct{ Name, Type string }
		Rows        [][]any
		Certificate serving.Certificate
	}
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil || r.code != 200 || r.header.Get("Content-Type") != "application/json" {
		t.Fatalf("JSON: %d %s %v", r.code, r.body, err)
	}
	if got := fmt.Sprint(answer.Columns, answer.Rows, answer.Certificate.Topics["flights"].Layers.Raw); got != "[{origin VARCHAR} {n BIGINT} {total HUGEINT}] [[L00 2 7] [L01 2 9]] {10 0}" {
		t.Errorf("JSON: %s", got)
	}
	var header serving.Certificate
	if err := json.Unmarshal([]byte(r.header.Get("Millrace-Certificate")), &header); err != nil || fmt.Sprint(header) != fmt.Sprint(answer.Certificate) {
		t.Errorf("certificate in the header: %v %v", header, err)
	}
	for accept, want := range map[string]string{
		"text/csv":                             "origin,n,total\nL00,2,7\nL01,2,9\n",
		"application/x-ndjson":                 `{"origin":"L00","n":2,"total":7}` + "\n" + `{"origin":"L01","n":2,"total":9}` + "\n",
		"application/ndjson; q=0.5, text/html": `{"origin":"L00","n":2,"total":7}` + "\n" + `{"origin":"L01","n":2,"total":9}` + "\n",
	} {
		if r := h.send("POST", "/v1/query", body, "Accept: "+accept); r.code != 200 || r.body != want || r.header.Get("Millrace-Certificate") == "" {
			t.Errorf("%s: %d %q", accept, r.code, r.body)
		}
	}
	if r := h.send("POST", "/v1/query", body, "Accept: application/vnd.apache.parquet"); r.code != 200 || !strings.HasPrefix(r.body, "PAR1") || !strings.HasSuffix(r.body, "PAR1") {
		t.Errorf("Parquet: %d, %d bytes", r.code, len(r.body))
	}
	r = h.send("POST", "/v1/query", body, "Accept: application/vnd.apache.arrow.stream")
	if got := arrowRows(t, r); got != `origin: type=utf8, nullable;n: type=int64, nullable;total: type=decimal(38, 0), nullable [["L00" "L01"] [2 2] [7 9]]` {
		t.Errorf("Arrow: %s", got)
	}
	if r := h.send("POST", "/v1/query", body, "Accept: image/png"); r.code != 406 || !strings.Contains(r.problem(t).Hint, "text/csv") {
		t.Errorf("image/png: %d %s", r.code, r.body)
	}
	for accept, want := range map[string]string{"*/*": "application/json", "text/*": "text/csv; charset=utf-8; header=present", "text/csv;q=0.1, application/json": "application/json", "application/json;q=0.1, text/csv": "text/csv; charset=utf-8; header=present"} {
		if r := h.send("POST", "/v1/query", `{"sql":"SELECT 1 AS a"}`, "Accept: "+accept); r.header.Get("Content-Type") != want {
			t.Errorf("%s: %s", accept, r.header.Get("Content-Type"))
		}
	}
}

// arrowRows is the schema and the columns of the stream's batches.
func arrowRows(t *testing.T, r reply) string {
	t.Helper()
	in, err := ipc.NewReader(bytes.NewReader([]byte(r.body)))
	if err != nil {
		t.Fatalf("Arrow: %d %v: %.200s", r.code, err, r.body)
	}
	defer in.Release()
	var fields []string
	for _, f := range in.Schema().Fields() {
		fields = append(fields, f.String())
	}
	out := strings.Join(fields, ";")
	for in.Next() {
		out += " " + fmt.Sprint(in.RecordBatch().Columns())
	}
	if in.Err() != nil {
		t.Error(in.Err())
	}
	return strings.ReplaceAll(out, "\n", "")
}

// Every format writes every type, and a long answer whole.
func TestTypesAndLength(t *testing.T) {
	h := open(t)
	types := `{"sql":"SELECT NULL AS a, 1::HUGEINT AS b, [1, NULL] AS c, {'x': 1, 'y': [2::HUGEINT]} AS d, MAP {'k': 1} AS e, INTERVAL 1 DAY AS f, 'x\\xff'::BLOB AS g, '101'::BIT AS h,` +
		` '6ccd780c-baba-1026-9564-5b8c656024db'::UUID AS i, 'a'::ENUM('a','b') AS j, TIME '12:00' AS k, '12:00:00+02'::TIMETZ AS l, '{}'::JSON AS m, 'nan'::DOUBLE AS n, '-inf'::FLOAT AS o,` +
		` DATE 'infinity' AS p, TIMESTAMP '-infinity' AS q, TIMESTAMP_NS '2001-01-01' AS r, 1.5::DECIMAL(38,10) AS s, union_value(u := 1) AS t, true AS u, 255::UTINYINT AS v, [1,2]::INTEGER[2] AS w, '' AS x, 'é' AS y, TIMESTAMPTZ '2001-01-01 00:00:00+02' AS z"}`
	long := `{"sql":"SELECT i, 'text ' || i AS t FROM range(200000) r(i)"}`
	for _, accept := range []string{"application/json", "text/csv", "application/x-ndjson", "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"} {
		if r := h.send("POST", "/v1/query", types, "Accept: "+accept); r.code != 200 {
			t.Errorf("%s: %d %s", accept, r.code, r.body)
		}
		r := h.send("POST", "/v1/query", long, "Accept: "+accept)
		if r.code != 200 {
			t.Errorf("%s: %d %.300s", accept, r.code, r.body)
		}
		lines := strings.Count(r.body, "\n")
		switch accept {
		case "application/json":
			var answer struct{ Rows [][]any }
			if err := json.Unmarshal([]byte(r.body), &answer); err != nil || len(answer.Rows) != 200_000 {
				t.Errorf("JSON: %d rows, %v", len(answer.Rows), err)
			}
		case "text/csv":
			lines--
			fallthrough
		case "application/x-ndjson":
			if lines != 200_000 {
				t.Errorf("%s: %d rows", accept, lines)
			}
		case "application/vnd.apache.arrow.stream":
			in, err := ipc.NewReader(strings.NewReader(r.body))
			if err != nil {
				t.Fatal(err)
			}
			var rows, batches int64
			for ; in.Next(); batches++ {
				rows += in.RecordBatch().NumRows()
			}
			in.Release()
			if rows != 200_000 || batches != 4 {
				t.Errorf("Arrow: %d rows in %d batches", rows, batches)
			}
		}
	}
	// What Arrow's decimal cannot hold is refused, never rounded.
	if r := h.send("POST", "/v1/query", `{"sql":"SELECT 170141183460469231731687303715884105727::HUGEINT AS a"}`, "Accept: application/vnd.apache.arrow.stream"); r.code != 400 {
		t.Errorf("39 digits: %d %s", r.code, r.body)
	}
	if got := arrowRows(t, h.send("POST", "/v1/query", `{"sql":"SELECT 1 AS a WHERE false"}`, "Accept: application/vnd.apache.arrow.stream")); got != "a: type=int32, nullable" {
		t.Errorf("no rows: %s", got)
	}
}

func TestParamsAndMoments(t *testing.T) {
	h := open(t)
	h.send("POST", recordsPath, flightLines(20), asNDJSON)
	first := h.send("POST", "/v1/query", `{"sql":"SELECT count(*) AS n FROM flights"}`)
	for _, c := range []struct{ body, want string }{
		{`{"sql":"SELECT count(*) FROM flights WHERE delay < $d AND origin != $o","params":{"d":5,"o":"L00"}}`, "4"},
		{`{"sql":"SELECT $a AS a, $b AS b, $c AS c, $d AS d","params":{"a":"it's; DROP TABLE flights --","b":true,"c":null,"d":-1.5}}`, "it's; DROP TABLE flights --,true,,-1.5"},
		{`{"sql":"SELECT count(*) FROM flights WHERE date >= $from AND date < $to","params":{"from":"2001-01-01","to":"2001-01-02T00:00:00"}}`, "20"},
		{`{"sql":"SELECT $x::DATE + 1 AS d","params":{"x":"2001-12-31"}}`, "2002-01-01"},
		{`{"sql":"SELECT ? + ? AS n","params":[1,2]}`, "3"},
		{`{"sql":"SELECT $n AS n","params":{"n":-12345678901234567890}}`, "-12345678901234567890"},
		{`{"sql":"SELECT $n AS n","params":{"n":-2e3}}`, "-2000.0"},
		{`{"sql":"SELECT length($s) AS n","params":{"s":"a\\b\n\u00e9\ud83d\ude00"}}`, "6"},
		{`{"sql":"SELECT count(*) FROM flights","as_of":{"flights":{"0":1,"1":2}}}`, "3"},
		{`{"sql":"SELECT sum(flights)::INTEGER FROM delays","as_of":"1999-01-01"}`, ""},
		{`{"sql":"SELECT count(*) FROM flights","as_of":null,"params":null}`, "25"},
	} {
		if strings.Contains(c.want, "25") {
			h.send("POST", recordsPath, flightLines(5), asNDJSON)
		}
		r := h.send("POST", "/v1/query", c.body, "Accept: text/csv")
		_, row, _ := strings.Cut(strings.TrimSuffix(r.body, "\n"), "\n")
		if r.code != 200 || row != c.want {
			t.Errorf("%s: %d %s", c.body, r.code, r.body)
		}
	}
	// The certificate, from the header, gives the same answer again.
	again, err := json.Marshal(map[string]any{"sql": "SELECT count(*) AS n FROM flights", "as_of": json.RawMessage(first.header.Get("Millrace-Certificate"))})
	if err != nil {
		t.Fatal(err)
	}
	if r := h.send("POST", "/v1/query", string(again)); !strings.Contains(r.body, `"rows":[[20]]`) {
		t.Errorf("with its certificate: %d %s", r.code, r.body)
	}
}

// Nothing that a client can ask is a 500, and nothing that it may not ask is answered.
func TestBadQuestions(t *testing.T) {
	h := open(t, func(o *httpapi.Options) { o.MaxQuestion = 200_000 })
	deep := strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000)
	bodies := []string{"", "x", "null", "[]", `"SELECT 1"`, "{}", `{"sql":5}`, `{"sql":""}`, `{"sql":"SELECT 1","aas_of":1}`, `{"sql":"SELECT 1"} {"sql":"SELECT 2"}`, `{"sql":"SELECT 1`, `{"sql":"SELECT \u0000"}`, "{\"sql\":\"SELECT '\xff\xfe\"}",
		`{"sql":"SELECT 1","as_of":5}`, `{"sql":"SELECT 1","as_of":"yesterday"}`, `{"sql":"SELECT 1","as_of":[]}`, `{"sql":"SELECT 1","as_of":{"flights":5}}`, `{"sql":"SELECT count(*) FROM flights","as_of":{"flights":{"0":99999}}}`,
		`{"sql":"SELECT count(*) FROM flights","as_of":{"flights":{"0":-1}}}`, `{"sql":"SELECT count(*) FROM flights","as_of":{"flights":{"77":1}}}`, `{"sql":"SELECT count(*) FROM flights","as_of":{"topics":{"flights":{"id":"x","to":{"0":0}}}}}`,
		`{"sql":"SELECT 1","params":5}`, `{"sql":"SELECT $a","params":{"a":[1]}}`, `{"sql":"SELECT $a","params":{"a":{}}}`, `{"sql":"SELECT $a","params":{"a":"\u0000"}}`, `{"sql":"SELECT $a"}`, `{"sql":"SELECT ?","params":[]}`, `{"sql":"SELECT $a::INTEGER","params":{"a":"x"}}`}
	for _, sql := range []string{
		"SELEC 1", "SELECT", "SELECT 1;", "SELECT 1; SELECT 2", "-- nothing", "SELECT nothing FROM flights", "SELECT * FROM nothing", "SELECT * FROM batch.nothing", "SELECT * FROM rejects.nothing", "SELECT * FROM a.b.c",
		"SELECT * FROM '/etc/passwd'", "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_blob('/etc/*')", "SELECT * FROM glob('*')", "SELECT * FROM parquet_scan('x')", "SELECT getenv('HOME')",
		"COPY flights TO 'x.csv'", "COPY (SELECT 1) TO '/tmp/x'", "ATTACH 'x.db'", "INSTALL httpfs", "LOAD httpfs", "SET threads = 1", "PRAGMA version", "CREATE TABLE x (a INT)", "DROP TABLE flights", "DELETE FROM flights", "INSERT INTO flights VALUES (1)",
		"EXPLAIN SELECT 1", "CALL pragma_version()", "SELECT * FROM duckdb_settings()", "SELECT * FROM information_schema.tables", "SELECT * FROM sqlite_master", "SELECT * FROM pragma_table_info('flights')", "SELECT current_setting('threads')", "SELECT * FROM query('SELECT 1')",
		"SELECT 'x'::INTEGER", "SELECT origin::INTEGER FROM flights", "SELECT error('stop')", "SELECT 1 + 'a'", "SELECT sum(origin) FROM flights", "SELECT count(*) FROM flights GROUP BY", "SELECT origin, count(*) FROM flights",
		"SELECT 9223372036854775807 + 1", "SELECT 2147483647::INTEGER + 1::INTEGER", "SELECT sqrt(-1)", "SELECT log(0)", "SELECT strptime('x', '%Y')", "SELECT regexp_matches('a', '(')", "SELECT [1,2][1:2:0]", "SELECT chr(-1)", "SELECT date '2001-13-01'",
		"SELECT (SELECT i FROM range(2) r(i))", "SELECT 1 AS a, 2 AS a", "SELECT x FROM (SELECT 1 AS x, 2 AS x)", "SELECT * FROM flights, flights", "SELECT * FROM flights f JOIN flights g USING (nothing)", "SELECT unnest(1)", "SELECT * FROM range(1, 2, 0)", "SELECT json_extract('{', '$')", "SELECT '{'::JSON",
		"SELECT * EXCLUDE (nothing) FROM flights", "SELECT COLUMNS('(') FROM flights", "WITH RECURSIVE r AS (SELECT 1) SELECT * FROM r", "SELECT count(*) OVER (ORDER BY nothing)", "SELECT * FROM flights LIMIT 'x'", "SELECT * FROM flights LIMIT -1", "SELECT * FROM flights OFFSET -1", "SELECT * FROM flights TABLESAMPLE 200%", "PIVOT flights ON origin",
		"SELECT " + deep, "SELECT " + strings.Repeat("1+", 5000) + "1", "SELECT " + strings.Repeat("[", 2000) + strings.Repeat("]", 2000), "SELECT repeat('x', 10000000000)", "SELECT lpad('x', 2000000000000, 'y')", "SELECT CASE" + strings.Repeat(" WHEN 1 THEN 2", 3000) + " END + nothing",
		"FROM flights SELECT nothing", "TABLE nothing", "VALUES (1), (1, 2)", "DESCRIBE flights", "SUMMARIZE flights", "SHOW TABLES", "SELECT * FROM flights AT (VERSION => 1)", "SELECT lambda x: x", "SELECT list_transform([1], x -> nothing)", "SELECT * FROM flights POSITIONAL JOIN nothing", "SELECT * FROM flights ASOF JOIN delays USING (nothing)", "SELECT DISTINCT ON (nothing) * FROM flights",
		"SELECT 1 UNION SELECT 1, 2", "SELECT 'a' UNION ALL SELECT 1 EXCEPT SELECT {'x':1}", "SELECT nextval('x')", "SELECT 1 FROM unnest(flights)", "SELECT (flights).nothing FROM flights", "SELECT 1 WHERE 'x'", "SELECT 1 HAVING 2 = 'x'", "SELECT approx_quantile(1, 5)", "SELECT quantile_cont(1, 5)", "SELECT string_agg(1, 2, 3)",
	} {
		text, err := json.Marshal(map[string]string{"sql": sql})
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(text))
	}
	answered := 0
	for _, body := range bodies {
		for _, accept := range []string{"application/json", "application/vnd.apache.arrow.stream"} {
			r := h.send("POST", "/v1/query", body, "Accept: "+accept)
			name := body[:min(len(body), 120)]
			switch {
			case r.code >= 500:
				t.Errorf("%s: %d %.300s", name, r.code, r.body)
			case r.code == 200:
				if strings.ContainsAny(body, "/") || strings.Contains(body, "pragma") {
					t.Errorf("answered: %s", name)
				}
				answered++
			default:
				r.problem(t)
			}
		}
	}
	if answered > len(bodies)/2 {
		t.Errorf("%d of %d bad questions were answered, in two formats", answered, len(bodies))
	}
	if r := h.send("POST", "/v1/query", `{"sql":"SELECT '`+strings.Repeat("x", 300_000)+`'"}`); r.code != 413 {
		t.Errorf("a long question: %d %s", r.code, r.body)
	}
	if p := h.send("POST", "/v1/query", `{"sql":"SELECT *\nFROM flihgts"}`).problem(t); p.Status != 400 || p.Line != 2 || p.Column != 6 || p.Hint != "did you mean flights?" {
		t.Errorf("a wrong name: %+v", p)
	}
}

// A client that goes away ends its question.
func TestAGoneClientEndsItsQuestion(t *testing.T) {
	h := open(t, func(o *httpapi.Options) { o.Questions = 1; o.Queue = 1; o.QueueWait = time.Minute })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := h.try(ctx, "POST", "/v1/query", `{"sql":"SELECT sum(a.i * b.i) FROM range(10000000) a(i), range(10000000) b(i)"}`)
		ended <- err
	}()
	for !strings.Contains(h.send("GET", "/metrics", "").body, "millrace_queries_running 1") {
	}
	cancel()
	<-ended
	// The only slot must come free: without the cancel the question would run for hours.
	if r := h.send("POST", "/v1/query", `{"sql":"SELECT 1 AS a"}`); r.code != 200 {
		t.Errorf("the next question: %d %s", r.code, r.body)
	}
}

func TestTooManyQuestionsAndTooLong(t *testing.T) {
	h := open(t, func(o *httpapi.Options) {
		o.Questions, o.Queue, o.QueueWait, o.QuestionTimeout = 1, 1, 10*time.Millisecond, 3*time.Second
	})
	slow := make(chan reply, 1)
	go func() {
		r, err := h.try(context.Background(), "POST", "/v1/query", `{"sql":"SELECT sum(a.i * b.i) FROM range(10000000) a(i), range(10000000) b(i)"}`)
		if err != nil {
			t.Error(err)
		}
		slow <- r
	}()
	for !strings.Contains(h.send("GET", "/metrics", "").body, "millrace_queries_running 1") {
	}
	if r := h.send("POST", "/v1/query", `{"sql":"SELECT 1"}`); r.code != 503 || r.header.Get("Retry-After") != "1" || r.problem(t).Hint == "" {
		t.Errorf("a question too many: %d %s", r.code, r.body)
	}
	if r := <-slow; r.code != 503 || r.header.Get("Retry-After") == "" || !strings.Contains(r.body, "longer than 3s") {
		t.Errorf("a question too long: %d %s", r.code, r.body)
	}
}
