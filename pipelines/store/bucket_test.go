package store

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"gocloud.dev/blob/memblob"

	"github.com/millrace/millrace/schemas"
)

// openS3 is a store in an S3 that runs here; between is what stands before it.
func openS3(t *testing.T, between func(http.Handler) http.Handler) *bucket {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	backend := s3mem.New()
	if err := backend.CreateBucket("here"); err != nil {
		t.Fatal(err)
	}
	handler := gofakes3.New(backend).Server()
	if between != nil {
		handler = between(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	s, err := Open("s3://here/a/project?region=eu-central-1&use_path_style=true&endpoint=" + url.QueryEscape(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	return s.(*bucket)
}

// Stores of each kind.
func stores(t *testing.T) map[string]Store {
	files, err := Open(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]Store{"folder": files, "s3": openS3(t, nil), "memory": newBucket("mem://", memblob.OpenBucket(nil), "a/project")}
}

// A store that has taken a file and whose answer is lost is asked again, and refuses: it was this very file that it took.
func TestALostAnswerIsNotARefusal(t *testing.T) {
	lost := 0
	s := openS3(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/manifest-1") || lost > 0 {
				next.ServeHTTP(w, r)
				return
			}
			lost++
			next.ServeHTTP(httptest.NewRecorder(), r)
			w.WriteHeader(http.StatusServiceUnavailable)
		})
	})
	if err := s.Create(t.Context(), "manifest-1", []byte("mine")); err != nil || lost != 1 {
		t.Errorf("%d answers lost: %v", lost, err)
	}
	if err := s.Create(t.Context(), "manifest-1", []byte("another's")); !errors.Is(err, ErrExist) {
		t.Errorf("Create over it: %v", err)
	}
}

// Two that create a name at once may both be told to ask again.
func TestAStoreThatCannotDecide(t *testing.T) {
	asked := 0
	s := openS3(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifest-1") {
				if asked++; asked < 3 {
					w.WriteHeader(http.StatusConflict)
					_, _ = io.WriteString(w, `<Error><Code>ConditionalRequestConflict</Code><Message>again</Message></Error>`)
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	})
	if err := s.Create(t.Context(), "manifest-1", []byte("mine")); err != nil || asked != 3 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

// One who stops waiting for a copy takes it from nobody else.
func TestTwoWaitForACopy(t *testing.T) {
	begun, goOn := make(chan bool), make(chan bool)
	s := openS3(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/x") {
				begun <- true
				<-goOn
			}
			next.ServeHTTP(w, r)
		})
	})
	if err := s.Put(t.Context(), "x", []byte("text")); err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := s.Local(ctx, "x")
		left <- err
	}()
	<-begun
	stayed := make(chan error)
	go func() {
		path, err := s.Local(t.Context(), "x")
		if err == nil {
			_, err = os.ReadFile(path)
		}
		stayed <- err
	}()
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v", err)
	}
	goOn <- true
	select {
	case err := <-stayed:
		if err != nil {
			t.Errorf("who stayed: %v", err)
		}
	case <-begun: // it came too late to wait for the first
		goOn <- true
		if err := <-stayed; err != nil {
			t.Errorf("who stayed: %v", err)
		}
	}
}

// A folder that takes no copies is said to be what is wrong, not the store.
func TestAFullCache(t *testing.T) {
	s := openS3(t, nil)
	if err := s.Put(t.Context(), "x", []byte("text")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(s.cache.dir), 0o700), os.WriteFile(s.cache.dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Local(t.Context(), "x"); schemas.KindOf(err) != schemas.Environment || !strings.Contains(err.Error(), s.cache.dir) {
		t.Errorf("got %v", err)
	}
}

// A store that takes any file as a new one would commit two manifests of one number.
func TestAStoreThatDoesNotFenceIsRefused(t *testing.T) {
	s := openS3(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-None-Match")
			next.ServeHTTP(w, r)
		})
	})
	for _, err := range []error{s.Create(t.Context(), "manifest-1", nil), s.Check(t.Context())} {
		if schemas.KindOf(err) != schemas.Environment || !strings.Contains(err.Error(), "conditional writes") {
			t.Errorf("got %v", err)
		}
	}
	if _, err := s.Stat(t.Context(), "manifest-1"); !errors.Is(err, ErrNotExist) {
		t.Errorf("the manifest: %v", err)
	}
}

func TestAddressesOfBuckets(t *testing.T) {
	for _, address := range []string{"s3://key:secret@bucket/x", "s3://", "s3://b?nonsense=1", "ftp://b"} {
		if _, err := Open(address); schemas.KindOf(err) != schemas.Usage || strings.Contains(err.Error(), "secret@") {
			t.Errorf("Open(%s) = %v", address, err)
		}
	}
}

// A write that is cut short stores nothing.
func TestACancelledWriteIsNone(t *testing.T) {
	s := openS3(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, "x", []byte("half")); !errors.Is(err, context.Canceled) {
		t.Errorf("Put = %v", err)
	}
	if list, err := s.List(t.Context(), ""); err != nil || len(list) > 0 {
		t.Errorf("there is %v, %v", list, err)
	}
}

// A copy is made once for each version of a file, and the oldest make room for others.
func TestCopies(t *testing.T) {
	fetched := 0
	s := openS3(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/x") {
				fetched++
			}
			next.ServeHTTP(w, r)
		})
	})
	read := func(from Store) string {
		t.Helper()
		path, err := from.Local(t.Context(), "d/x")
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for i, text := range []string{"one", "two"} {
		if err := s.Put(t.Context(), "d/x", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := read(s) + read(s); got != text+text || fetched != i+1 {
			t.Errorf("%q after %d fetches", got, fetched)
		}
	}
	if got := read(Anew(s, t.TempDir())); got != "two" || fetched != 3 {
		t.Errorf("anew: %q after %d fetches", got, fetched)
	}
	bad, err := s.Local(t.Context(), "d/x")
	if err == nil {
		err = os.WriteFile(bad, []byte("tow"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := read(Anew(s, t.TempDir())) + read(s); got != "twotwo" {
		t.Errorf("where a copy was damaged: %q", got)
	}

	path, err := s.Local(t.Context(), "d/x")
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
	s.cache.limit = 4
	if err := s.Put(t.Context(), "d/y", []byte("more")); err != nil {
		t.Fatal(err)
	}
	y, err := s.Local(t.Context(), "d/y")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old copy: %v", err)
	}
	if got := read(s); got != "two" {
		t.Errorf("got %q", got)
	}
	if _, err := os.Stat(y); err != nil {
		t.Errorf("a copy that was just asked for: %v", err)
	}
}
