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
