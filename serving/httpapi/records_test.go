package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/serving/httpapi"
)

// appended is the answer to records.
type appended struct {
	Topic            string
	Records, Rejects int
	Offsets          []httpapi.Offset
	Rejected         []struct{ Index int }
}

func (h *house) appended(r reply) (a appended) {
	h.t.Helper()
	if err := json.Unmarshal([]byte(r.body), &a); err != nil || r.code != 200 || a.Topic != "flights" || len(a.Offsets) != a.Records+a.Rejects {
		h.t.Fatalf("not appended: %d %.500s", r.code, r.body)
	}
	return a
}

func TestRecordsLieWhereTheAnswerSays(t *testing.T) {
	h := open(t)
	a := h.appended(h.send("POST", recordsPath, "\xef\xbb\xbf"+flight(100)+"\r\n\n  \n"+flight(101)+"\n"+flight(102), asNDJSON))
	if a.Records != 3 {
		t.Errorf("%+v", a)
	}
	for i, o := range a.Offsets {
		r := h.send("POST", "/v1/query", fmt.Sprintf(`{"sql":"SELECT delay FROM flights WHERE _partition = %d AND _offset = %d"}`, o.Partition, o.Offset), "Accept: text/csv")
		if r.body != fmt.Sprintf("delay\n%d\n", 100+i) {
			t.Errorf("record %d: %s", i, r.body)
		}
	}
	pretty := "{\n  \"date\": \"2001-01-01\",\n\n  \"origin\": \"LAX\",\n  \"destination\": \"SFO\"\n}\n"
	if a := h.appended(h.send("POST", recordsPath, pretty, "Content-Type: application/json; charset=utf-8")); a.Records != 1 {
		t.Errorf("one object over many lines: %+v", a)
	}
	if n := h.count(); n != "4,0" {
		t.Errorf("%s records", n)
	}
}

func TestPackedBodies(t *testing.T) {
	h := open(t, func(o *httpapi.Options) { o.MaxBody = 100_000 })
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write([]byte(flightLines(50)))
	w.Close()
	packer, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := h.appended(h.send("POST", recordsPath, gz.String(), "Content-Encoding: gzip")); a.Records != 50 {
		t.Errorf("gzip: %+v", a)
	}
	if a := h.appended(h.send("POST", recordsPath, string(packer.EncodeAll([]byte(flightLines(50)), nil)), "Content-Encoding: zstd")); a.Records != 50 {
		t.Errorf("zstd: %+v", a)
	}
	cut := gz.String()[:100]
	bomb := strings.Repeat("\n", 50_000_000)
	gz.Reset()
	w.Reset(&gz)
	w.Write([]byte(bomb))
	w.Close()
	for _, c := range []struct {
		body, encoding string
		code           int
	}{
		{gz.String(), "gzip", 413},
		{string(packer.EncodeAll([]byte(bomb), nil)), "zstd", 413},
		{cut, "gzip", 400},
		{flight(1), "gzip", 400},
		{flight(1), "zstd", 400},
		{flight(1), "br", 415},
		{flight(1), "gzip, gzip", 415},
	} {
		if r := h.send("POST", recordsPath, c.body, "Content-Encoding: "+c.encoding); r.code != c.code || r.problem(t).Hint == "" {
			t.Errorf("%d bytes as %s: %d, want %d: %.200s", len(c.body), c.encoding, r.code, c.code, r.body)
		}
	}
	if n := h.count(); n != "100,0" {
		t.Errorf("%s records", n)
	}
}

func TestMalformedRecords(t *testing.T) {
	h := open(t)
	body := flight(1) + "\nnot json\n" + flight(2) + "\n" + `{"date":"2001-01-01","delay":1.5,"origin":"LAX","destination":"SFO"}`
	p := h.send("POST", recordsPath, body, asNDJSON).problem(t)
	if p.Status != 422 || p.Count != 2 || len(p.Rejects) != 2 || p.Rejects[0].Index != 1 || p.Rejects[0].Reason == "" || p.Rejects[1].Index != 3 || p.Rejects[1].Field != "delay" || !strings.Contains(p.Hint, "rejects=keep") {
		t.Errorf("%+v", p)
	}
	if n := h.count(); n != "0,0" {
		t.Errorf("of a refused request %s records were kept", n)
	}
	a := h.appended(h.send("POST", recordsPath+"?rejects=keep", body, asNDJSON))
	if a.Records != 2 || a.Rejects != 2 || len(a.Rejected) != 2 || a.Rejected[1].Index != 3 {
		t.Errorf("kept: %+v", a)
	}
	if n := h.count(); n != "2,2" {
		t.Errorf("with rejects=keep %s records were kept", n)
	}
}

// Nothing that a client can send is a 500, and nothing of it is kept.
func TestBadRecords(t *testing.T) {
	h := open(t, func(o *httpapi.Options) {
		o.MaxRecords = 1000
		o.Topics = limited(o.Topics, 1000)
	})
	long := `{"date":"2001-01-01","origin":"LAX","destination":"` + strings.Repeat("x", 2000) + `"}`
	for _, c := range []struct {
		name, path, body, header string
		code                     int
		index                    int // -1: none
	}{
		{"nothing", recordsPath, "", asNDJSON, 400, -1},
		{"blank lines", recordsPath, "\n \n\t\r\n", asNDJSON, 400, -1},
		{"no JSON object", recordsPath, " ", asJSON, 400, -1},
		{"a topic nearly named", "/v1/topics/flihgts/records", flight(1), asNDJSON, 404, -1},
		{"a topic not declared", "/v1/topics/%00/records", flight(1), asNDJSON, 404, -1},
		{"a path for a topic", "/v1/topics/..%2f..%2fetc/records", flight(1), asNDJSON, 404, -1},
		{"an internal topic", "/v1/topics/_millrace.requests/records", flight(1), asNDJSON, 404, -1},
		{"a record too long", recordsPath, flight(1) + "\n" + long + "\n", asNDJSON, 413, 1},
		{"an object too long", recordsPath, long, asJSON, 413, 0},
		{"too many records", recordsPath, flightLines(1001), asNDJSON, 413, -1},
		{"two objects as one", recordsPath, flightLines(2), asJSON, 422, -1},
		{"a list", recordsPath, "[" + flight(1) + "]", asJSON, 422, -1},
		{"zeros", recordsPath, strings.Repeat("\x00", 100), asNDJSON, 422, -1},
		{"not UTF-8", recordsPath, "{\"date\":\"2001-01-01\",\"origin\":\"\xff\xfe\",\"destination\":\"SFO\"}", asNDJSON, 422, -1},
		{"deep", recordsPath, strings.Repeat("[", 900), asNDJSON, 422, -1},
		{"XML", recordsPath, "<a/>", "Content-Type: application/xml", 415, -1},
		{"a strange type", recordsPath, flight(1), "Content-Type: ;;;", 200, -1},
		{"another parameter", recordsPath + "?reject=keep", flight(1), asNDJSON, 400, -1},
		{"another value", recordsPath + "?rejects=yes", flight(1), asNDJSON, 400, -1},
		{"an empty key", recordsPath, flight(1), "Idempotency-Key: ", 400, -1},
		{"an empty quoted key", recordsPath, flight(1), `Idempotency-Key: ""`, 400, -1},
		{"a long key", recordsPath, flight(1), "Idempotency-Key: " + strings.Repeat("k", 256), 400, -1},
		{"a key of other letters", recordsPath, flight(1), "Idempotency-Key: clé", 400, -1},
	} {
		r := h.send("POST", c.path, c.body, c.header)
		if r.code != c.code {
			t.Errorf("%s: %d, want %d: %.300s", c.name, r.code, c.code, r.body)
		}
		if c.code == 200 {
			continue
		}
		if p := r.problem(t); p.Hint == "" || (p.Index == nil) != (c.index < 0) || p.Index != nil && *p.Index != c.index {
			t.Errorf("%s: %s", c.name, r.body)
		}
	}
	if n := h.count(); n != "1,0" {
		t.Errorf("%s records were kept", n)
	}
	if hint := h.send("POST", "/v1/topics/flihgts/records", "{}").problem(t).Hint; hint != "did you mean flights?" {
		t.Errorf("hint: %s", hint)
	}
}

// limited gives every topic another max_record.
func limited(topics func(context.Context) (map[string]*schemas.Topic, error), limit int64) func(context.Context) (map[string]*schemas.Topic, error) {
	return func(ctx context.Context) (map[string]*schemas.Topic, error) {
		all, err := topics(ctx)
		out := map[string]*schemas.Topic{}
		for name, t := range all {
			changed := *t
			changed.MaxRecord = limit
			out[name] = &changed
		}
		return out, err
	}
}

func TestABodyOverTheLimit(t *testing.T) {
	h := open(t, func(o *httpapi.Options) { o.MaxBody = 1000 })
	if r := h.send("POST", recordsPath, flightLines(100), asNDJSON); r.code != 413 || r.problem(t).Hint == "" {
		t.Errorf("%d %s", r.code, r.body)
	}
	if n := h.count(); n != "0,0" {
		t.Errorf("%s records were kept", n)
	}
}

// A client that stops in the middle of its body holds nothing for long.
func TestABodyThatDoesNotCome(t *testing.T) {
	h := open(t, func(o *httpapi.Options) { o.BodyTimeout = 50 * time.Millisecond })
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n%s", recordsPath, flight(1)[:10])
	head := make([]byte, 64)
	n, _ := conn.Read(head)
	if !strings.HasPrefix(string(head[:n]), "HTTP/1.1 408") {
		t.Errorf("%q", head[:n])
	}
}

func TestIdempotencyKey(t *testing.T) {
	h := open(t)
	first := h.send("POST", recordsPath, flightLines(20), asNDJSON, "Idempotency-Key: one")
	again := h.send("POST", recordsPath, flightLines(20), asNDJSON, `Idempotency-Key: "one"`)
	if first.code != 200 || again.body != first.body || again.header.Get("Idempotent-Replayed") != "true" || first.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("again: %d %s\nfirst: %s", again.code, again.body, first.body)
	}
	if r := h.send("POST", recordsPath, flightLines(21), asNDJSON, "Idempotency-Key: one"); r.code != 422 || r.problem(t).Hint == "" {
		t.Errorf("other records: %d %s", r.code, r.body)
	}
	// Ten at once with one key.
	var wg sync.WaitGroup
	bodies := make([]string, 10)
	for i := range bodies {
		wg.Go(func() {
			r, err := h.try(t.Context(), "POST", recordsPath, flightLines(5), asNDJSON, "Idempotency-Key: two")
			if err != nil || r.code != 200 {
				t.Errorf("at once: %d %s %v", r.code, r.body, err)
			}
			bodies[i] = r.body
		})
	}
	wg.Wait()
	for _, b := range bodies {
		if b != bodies[0] {
			t.Errorf("not the same answer: %s and %s", b, bodies[0])
		}
	}
	if n := h.count(); n != "25,0" {
		t.Errorf("%s records", n)
	}
}

func TestTheBrokerIsAway(t *testing.T) {
	h := open(t)
	h.broker.Close()
	for _, key := range []string{"X-None: x", "Idempotency-Key: k"} {
		r := h.send("POST", recordsPath, flight(1), asNDJSON, key)
		if r.code != 503 || r.header.Get("Retry-After") == "" || r.problem(t).Hint == "" || strings.Contains(r.body, "offset") {
			t.Errorf("%s: %d %s", key, r.code, r.body)
		}
	}
}
