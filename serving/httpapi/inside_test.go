package httpapi

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/millrace/millrace/serving"
)

func TestTheCertificateInAHeader(t *testing.T) {
	c := &serving.Certificate{Views: map[string]string{"verspätet 😀": "x"}}
	h := http.Header{}
	if err := certify(h, c); err != nil {
		t.Fatal(err)
	}
	text := h.Get(certificateHeader)
	var back serving.Certificate
	if err := json.Unmarshal([]byte(text), &back); err != nil || back.Views["verspätet 😀"] != "x" {
		t.Errorf("%s: %v", text, err)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("not ASCII on one line: %q", text)
	}
	c.Views[strings.Repeat("v", maxCertificate)] = "x"
	h = http.Header{}
	if err := certify(h, c); err != nil {
		t.Fatal(err)
	}
	if h.Get(certificateHeader) != "" || len(h.Get(certificateHashHeader)) != 64 {
		t.Errorf("a long one: %v", h)
	}
}

// Whatever comes as a question is one, or is the client's fault.
func FuzzQuestion(f *testing.F) {
	for _, seed := range []string{`{"sql":"SELECT $a","params":{"a":"it's"},"as_of":"2001-01-01"}`, `{"sql":"SELECT ?","params":[1,-2.5e3,true,null]}`, `{"sql":"x","as_of":{"t":{"0":1}}}`, `{"sql":1}`, "", "[", `{"sql":"\ud800"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseQuestion(body)
		if err != nil {
			if p := problemOf(err); p.Status != http.StatusBadRequest || p.Detail == "" {
				t.Errorf("%d %s", p.Status, p.Detail)
			}
			return
		}
		for name, value := range r.Params {
			// A text is closed where it ends, and nowhere else.
			if inner := strings.ReplaceAll(value, "''", ""); value[0] == '\'' && value != "''" && strings.Count(inner, "'")%2 != 0 {
				t.Errorf("$%s is %s", name, value)
			}
		}
	})
}

// Whatever comes as records is cut into lines that lose nothing but line ends and blank lines.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("{}\r\n\n{\"a\":1}"), "application/x-ndjson")
	f.Add([]byte("\xef\xbb\xbf {\n} "), "application/json")
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		payloads, err := split(body, contentType, 1000)
		if err != nil {
			if p := problemOf(err); p.Status < 400 || p.Status >= 500 {
				t.Errorf("%d %s", p.Status, p.Detail)
			}
			return
		}
		kept := 0
		for _, p := range payloads {
			if len(strings.TrimSpace(string(p))) == 0 {
				t.Error("a blank record")
			}
			kept += len(p)
		}
		if kept > len(body) {
			t.Errorf("%d bytes became %d", len(body), kept)
		}
	})
}
