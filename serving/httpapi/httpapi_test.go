package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/millrace/millrace/ingest"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/serving/httpapi"
	"github.com/millrace/millrace/testdata"
)

// house is the flights example behind HTTP, over a real broker.
type house struct {
	t       testing.TB
	url     string
	broker  *kfake.Cluster
	options httpapi.Options
	log     bytes.Buffer // what the server logged
	mu      sync.Mutex
}

// gateway is the ingest layer's producer, as cmd wires it.
type gateway struct{ p *ingest.Producer }

func (g gateway) Append(ctx context.Context, topic *schemas.Topic, payloads [][]byte) ([]httpapi.Offset, error) {
	o, err := g.p.Append(ctx, topic, payloads)
	return offsets(o), err
}

func (g gateway) AppendOnce(ctx context.Context, topic *schemas.Topic, key string, payloads [][]byte) ([]httpapi.Offset, bool, error) {
	o, replayed, err := g.p.AppendOnce(ctx, topic, key, payloads)
	if errors.Is(err, ingest.ErrKeyReused) {
		err = httpapi.ErrKeyReused
	}
	return offsets(o), replayed, err
}

func offsets(in []ingest.Offset) (out []httpapi.Offset) {
	for _, o := range in {
		out = append(out, httpapi.Offset(o))
	}
	return out
}

// Write is the log of the server.
func (h *house) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.Write(b)
}

func open(t testing.TB, change ...func(*httpapi.Options)) *house {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "flights"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	h := &house{t: t, broker: broker}
	dir := t.TempDir()
	example, err := testdata.Example("flights")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, example); err != nil {
		t.Fatal(err)
	}
	p, problems := project.Open(dir)
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	compiler, err := views.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { compiler.Close() })
	defs := &serving.Definitions{Catalog: &views.Catalog{Topics: p.Topics, References: map[string]*views.Reference{}}, Views: map[string]*views.View{}}
	for _, r := range p.References {
		if defs.Catalog.References[r.Name], err = views.LoadReference(r.Name, r.Path, r.Fields); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range p.Views {
		if defs.Views[v.Name], err = compiler.Compile(v.Name, v.File, v.SQL, defs.Catalog); err != nil {
			t.Fatal(err)
		}
	}
	log, err := kafkalog.Open(kafkalog.Config{Brokers: broker.ListenAddrs()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	files, err := store.Open(dir + "/data")
	if err != nil {
		t.Fatal(err)
	}
	producer, err := ingest.NewProducer(ingest.ProducerOptions{Kafka: kafkalog.Config{Brokers: broker.ListenAddrs()}, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(producer.Close)
	h.options = httpapi.Options{
		Topics:   func(context.Context) (map[string]*schemas.Topic, error) { return p.Topics, nil },
		Appender: gateway{producer},
		Querier: serving.New(serving.Options{Log: log, Store: files, Compiler: compiler, Scratch: t.TempDir(), Limits: kernel.Limits{Memory: "256MiB"},
			Definitions: func(context.Context) (*serving.Definitions, error) { return defs, nil }}),
		Status: func(ctx context.Context) (any, error) {
			_, end, err := log.Offsets(ctx, "flights")
			return end, err
		},
		Positions: func(ctx context.Context) ([]httpapi.Position, error) {
			_, end, err := log.Offsets(ctx, "flights")
			left := 2.5
			return []httpapi.Position{{Topic: "flights", End: end, Layers: map[string]httpapi.LayerPosition{"batch": {Frontier: schemas.Frontier{0: 7}, Lag: 3}},
				Withheld: map[string]int64{"delays": 5}, Views: []httpapi.ViewPosition{{View: "delays", Records: 7, Ready: 4, Rows: 3, Bytes: 900, SecondsLeft: &left}, {View: "daily", Records: 7, Ready: 7}}}}, err
		},
		Ready: func(ctx context.Context) error {
			_, _, err := log.Offsets(ctx, "flights")
			return err
		},
		Log: slog.New(slog.NewTextHandler(h, nil)),
	}
	for _, f := range change {
		f(&h.options)
	}
	server := httptest.NewServer(httpapi.New(h.options))
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

// reply is an answer, read to its end.
type reply struct {
	code   int
	header http.Header
	body   string
}

// problem is the reply as a problem document; anything else fails the test.
func (r reply) problem(t *testing.T) (p struct {
	Title, Detail, Hint         string
	Status, Line, Column, Count int
	Index                       *int
	Rejects                     []struct {
		Index         int
		Field, Reason string
	}
}) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || r.header.Get("Content-Type") != "application/problem+json" || p.Status != r.code || p.Title == "" || p.Detail == "" {
		t.Errorf("not a problem document: %d %s", r.code, r.body)
	}
	return p
}

// send makes a request with headers given as "Name: value".
func (h *house) send(method, path, body string, headers ...string) reply {
	h.t.Helper()
	r, err := h.try(h.t.Context(), method, path, body, headers...)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

func (h *house) try(ctx context.Context, method, path, body string, headers ...string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, h.url+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{code: resp.StatusCode, header: resp.Header, body: string(text)}, err
}

// count is how many records the topic has, rejects included.
func (h *house) count() string {
	h.t.Helper()
	r := h.send("POST", "/v1/query", `{"sql":"SELECT (SELECT count(*) FROM flights), (SELECT count(*) FROM rejects.flights)"}`, "Accept: text/csv")
	if r.code != 200 {
		h.t.Fatalf("count: %d %s", r.code, r.body)
	}
	_, row, _ := strings.Cut(strings.TrimSpace(r.body), "\n")
	return row
}

// flight is a good record.
func flight(i int) string {
	return fmt.Sprintf(`{"date":"2001-01-01T10:00:00","delay":%d,"distance":300,"origin":"L%02d","destination":"SFO"}`, i, i%7)
}

func flightLines(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(flight(i) + "\n")
	}
	return b.String()
}

const (
	recordsPath = "/v1/topics/flights/records"
	asNDJSON    = "Content-Type: application/x-ndjson"
	asJSON      = "Content-Type: application/json"
)

func TestHealthStatusAndMetrics(t *testing.T) {
	h := open(t, func(o *httpapi.Options) { o.StatusTimeout = 300 * time.Millisecond })
	if r := h.send("GET", "/healthz", ""); r.code != 200 {
		t.Errorf("healthz: %d %s", r.code, r.body)
	}
	if r := h.send("GET", "/readyz", ""); r.code != 200 {
		t.Errorf("readyz: %d %s", r.code, r.body)
	}
	if r := h.send("GET", "/v1/status", ""); r.code != 200 || r.body != `{"0":0,"1":0,"2":0,"3":0}`+"\n" {
		t.Errorf("status: %d %s", r.code, r.body)
	}
	h.send("POST", recordsPath, flight(1), asJSON)
	h.send("POST", recordsPath, "{}", asJSON)
	h.send("POST", "/nowhere/at/all", "")
	r := h.send("GET", "/metrics", "")
	for _, line := range []string{
		`millrace_http_requests_total{code="200",method="POST",path="/v1/topics/{topic}/records"} 1`,
		`millrace_http_requests_total{code="422",method="POST",path="/v1/topics/{topic}/records"} 1`,
		`millrace_http_requests_total{code="404",method="POST",path="other"} 1`,
		`millrace_records_appended_total{topic="flights"} 1`,
		`millrace_records_refused_total{topic="flights"} 1`,
		`millrace_topic_frontier{layer="batch",partition="0",topic="flights"} 7`,
		`millrace_topic_lag{layer="batch",topic="flights"} 3`,
		`millrace_view_records{topic="flights",view="delays"} 7`,
		`millrace_view_records_ready{topic="flights",view="delays"} 4`,
		`millrace_view_partial_rows{topic="flights",view="delays"} 3`,
		`millrace_view_partial_bytes{topic="flights",view="delays"} 900`,
		`millrace_view_rebuild_seconds_left{topic="flights",view="delays"} 2.5`,
		`millrace_view_records_ready{topic="flights",view="daily"} 7`,
		`millrace_slices_withheld_offsets{topic="flights",view="delays"} 5`,
		"millrace_status_up 1", "go_goroutines", "process_resident_memory_bytes",
	} {
		if !strings.Contains(r.body, line) {
			t.Errorf("metrics have no %s", line)
		}
	}
	h.broker.Close()
	if r := h.send("GET", "/healthz", ""); r.code != 200 {
		t.Errorf("healthz without a broker: %d", r.code)
	}
	if r := h.send("GET", "/readyz", ""); r.code != 503 || r.header.Get("Retry-After") == "" || r.problem(t).Hint == "" {
		t.Errorf("readyz without a broker: %d %s", r.code, r.body)
	}
	if r := h.send("GET", "/metrics", ""); r.code != 200 || !strings.Contains(r.body, "millrace_status_up 0") {
		t.Errorf("metrics without a broker: %d", r.code)
	}
}

func TestPathsAndMethods(t *testing.T) {
	h := open(t)
	for _, c := range []struct {
		method, path string
		code         int
		header       string
	}{
		{"GET", "/", 404, ""},
		{"GET", "/v1/quary", 404, ""},
		{"GET", "/v1/views/delays", 404, ""},
		{"POST", "/v1/topics//records", 404, ""},
		{"GET", "/v1/query", 405, "POST"},
		{"PUT", "/v1/query", 405, "POST"},
		{"DELETE", recordsPath, 405, "POST"},
		{"POST", "/metrics", 405, "GET"},
	} {
		r := h.send(c.method, c.path, "")
		if r.code != c.code || r.header.Get("Allow") != c.header || r.problem(t).Hint == "" {
			t.Errorf("%s %s: %d %s", c.method, c.path, r.code, r.body)
		}
	}
	if hint := h.send("GET", "/v1/quary", "").problem(t).Hint; hint != "did you mean /v1/query?" {
		t.Errorf("hint: %s", hint)
	}
	// A page of another site, shown by a browser on this machine, must not append.
	if r := h.send("POST", recordsPath, flight(1), "Sec-Fetch-Site: cross-site", "Content-Type: text/plain"); r.code != 403 {
		t.Errorf("cross-site: %d %s", r.code, r.body)
	}
	if n := h.count(); n != "0,0" {
		t.Errorf("%s records", n)
	}
}

// faulty panics.
type faulty struct{ httpapi.Querier }

func (faulty) Query(context.Context, serving.Request) (*serving.Answer, error) { panic("a fault") }

func TestAPanicIs500AndTheServerLives(t *testing.T) {
	h := open(t, func(o *httpapi.Options) { o.Querier = faulty{} })
	if r := h.send("POST", "/v1/query", `{"sql":"SELECT 1"}`); r.code != 500 || !strings.Contains(r.problem(t).Detail, "a fault") {
		t.Errorf("%d %s", r.code, r.body)
	}
	if r := h.send("GET", "/healthz", ""); r.code != 200 {
		t.Errorf("healthz after it: %d", r.code)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !strings.Contains(h.log.String(), "a fault") {
		t.Error("it was not logged")
	}
}
