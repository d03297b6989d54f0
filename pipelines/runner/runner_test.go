package runner

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/schemas"
)

// The innermost reason is what a person gets, not the stages and stack traces around it.
func TestCause(t *testing.T) {
	for text, want := range map[string]string{
		"plan\n\tcaused by:\nDoFn failed:\n\tcaused by:\nno such topic":                            "no such topic",
		"a.B: first\n\tat x.y(Z.java:1)\nCaused by: c.D: second\n\tat u.v(W.java:2)\n\t... 3 more": "c.D: second",
		"plain": "plain",
	} {
		if got := cause(text); got != want {
			t.Errorf("cause(%q) = %q, want %q", text, got, want)
		}
	}
}

// A Flink that lists these jobs; those that are cancelled end.
func flinkOf(t *testing.T, jobs ...flinkJob) (*httptest.Server, *[]string) {
	cancelled := &[]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := strings.TrimPrefix(r.URL.Path, "/jobs/")
		switch {
		case id == "overview":
			_ = json.NewEncoder(w).Encode(map[string]any{"jobs": jobs})
		case r.Method == http.MethodPatch:
			if *cancelled = append(*cancelled, id); id == "ended" {
				w.WriteHeader(http.StatusConflict) // Flink's word for a job that was quicker
			}
		default:
			_, _ = io.WriteString(w, `{"state":"CANCELED"}`)
		}
	}))
	t.Cleanup(server.Close)
	return server, cancelled
}

// Only the running jobs of this pipeline of this project make room for it, and for a bounded one none does.
func TestMakeRoom(t *testing.T) {
	o := &Options{Name: "speed-t", Project: "here", Streaming: true, Engine: Engine{Runner: Flink}, Logger: slog.New(slog.DiscardHandler)}
	server, cancelled := flinkOf(t,
		flinkJob{ID: "old", Name: o.job(), State: "RUNNING"},
		flinkJob{ID: "ended", Name: o.job(), State: "RUNNING"},
		flinkJob{ID: "over", Name: o.job(), State: "FAILED"},
		flinkJob{ID: "other", Name: JobName("speed-u", "here"), State: "RUNNING"},
		flinkJob{ID: "foreign", Name: JobName("speed-t", "there"), State: "RUNNING"})
	bounded := *o
	bounded.Streaming = false
	if known, err := newRest(server.URL).makeRoom(t.Context(), &bounded); err != nil || len(known) != 5 || len(*cancelled) != 0 {
		t.Errorf("for a bounded one it knows %v and has cancelled %v, %v", known, *cancelled, err)
	}
	known, err := newRest(server.URL).makeRoom(t.Context(), o)
	if err != nil || len(known) != 5 || !slices.Equal(*cancelled, []string{"old", "ended"}) {
		t.Errorf("knows %v and has cancelled %v, %v", known, *cancelled, err)
	}
}

// Another build's pipeline is refused; one of this process carries none.
func TestCheckBuild(t *testing.T) {
	far := Engine{Runner: Flink}
	if err := errors.Join(CheckBuild(far.Build()), CheckBuild((&Engine{}).Build())); err != nil {
		t.Error(err)
	}
	if err := CheckBuild("v0.0.0 another"); schemas.KindOf(err) != schemas.Environment {
		t.Errorf("another build gives %v", err)
	}
}

// An engine that is not there is said so, with its address.
func TestUnreachable(t *testing.T) {
	server := httptest.NewServer(nil)
	address := server.Listener.Addr().String()
	server.Close()
	for _, e := range []Engine{{Runner: Flink, Endpoint: address}, {Runner: Flink, Endpoint: address, Rest: address}} {
		_, err := e.List(context.Background(), "here")
		if schemas.KindOf(err) != schemas.Environment || !strings.Contains(err.Error(), address) {
			t.Errorf("%+v gives %v", e, err)
		}
	}
}

// A bounded job whose worker is nowhere is given up after a minute of failures, and a later trouble is another one; a
// stream is not given up. The user is told which address.
func TestAgain(t *testing.T) {
	const why = "x\nCaused by: java.net.ConnectException: Connection refused\n\tat a.b"
	second := int64(1000)
	for _, streaming := range []bool{false, true} {
		server, cancelled := flinkOf(t)
		j := &job{flink: newRest(server.URL), flown: "mine", o: &Options{Streaming: streaming, Engine: Engine{Runner: Flink, Worker: "host:1"}}}
		for _, at := range []int64{1000, 1010, 1100, 1115, 1130, 1145, 1160} {
			if over, err := j.again(t.Context(), why, at*second); over || err != nil {
				t.Fatalf("streaming %v: given up at %d: %v", streaming, at, err)
			}
		}
		over, err := j.again(t.Context(), why, 1161*second)
		if over == streaming || len(*cancelled) == 1 == streaming {
			t.Errorf("streaming %v: over %v, cancelled %v", streaming, over, *cancelled)
		}
		if over && (schemas.KindOf(err) != schemas.Environment || !strings.Contains(err.Error(), "host:1")) {
			t.Errorf("the error is %v", err)
		}
	}
}

// Check finds either of an engine's addresses silent.
func TestCheck(t *testing.T) {
	silent := httptest.NewServer(nil)
	silent.Close()
	address := silent.Listener.Addr().String()
	if err := (&Engine{}).Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := (&Engine{Runner: Flink, Endpoint: address}).Check(t.Context()); schemas.KindOf(err) != schemas.Environment {
		t.Errorf("no job server: %v", err)
	}
}
