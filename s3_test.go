package millrace_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// useS3 gives the test a key and a cache of its own.
func useS3(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
}

// newS3 starts a server that speaks S3's protocol and returns the address of a store in it; between is what stands before it.
func newS3(must func(error), cleanup func(func()), between func(http.Handler) http.Handler) string {
	backend := s3mem.New()
	must(backend.CreateBucket("bucket"))
	server := httptest.NewServer(between(gofakes3.New(backend).Server()))
	cleanup(server.Close)
	return "s3://bucket/project?region=eu-central-1&use_path_style=true&endpoint=" + url.QueryEscape(server.URL)
}
