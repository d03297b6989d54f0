package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// readBody reads a request's whole body, unpacked. Errors: problems.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	// A test's ResponseWriter has no deadlines; a server's has.
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.o.BodyTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, err
	}
	plain, closer, err := unpack(http.MaxBytesReader(w, r.Body, limit), r.Header.Get("Content-Encoding"), limit)
	if err != nil {
		return nil, bodyProblem(err, limit)
	}
	defer closer()
	var body bytes.Buffer
	body.Grow(int(max(r.ContentLength, 0)) + bytes.MinRead)
	if _, err := body.ReadFrom(io.LimitReader(plain, limit+1)); err != nil {
		return nil, bodyProblem(err, limit)
	}
	if int64(body.Len()) > limit {
		return nil, tooLarge(limit)
	}
	return body.Bytes(), nil
}

func unpack(r io.Reader, encoding string, limit int64) (plain io.Reader, closer func(), err error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		return r, func() {}, nil
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, err
		}
		return z, func() { z.Close() }, nil
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(limit)+1), zstd.WithDecoderMaxWindow(32<<20))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return nil, nil, &problem{Status: http.StatusUnsupportedMediaType, Detail: fmt.Sprintf("the Content-Encoding %q is not known", encoding), Hint: "use gzip, zstd or none"}
}

func bodyProblem(err error, limit int64) error {
	var long *http.MaxBytesError
	var known *problem
	switch {
	case errors.As(err, &known):
		return err
	case errors.As(err, &long), errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return tooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &problem{Status: http.StatusRequestTimeout, Detail: "the body did not come in time", Hint: "split it over several requests"}
	}
	return badRequest("the body cannot be read: "+err.Error(), "check its Content-Encoding and that it is whole")
}

// mediaType is a Content-Type without its parameters, in lower case.
func mediaType(header string) string {
	t, _, err := mime.ParseMediaType(header)
	if err != nil {
		t, _, _ = strings.Cut(header, ";")
	}
	return strings.ToLower(strings.TrimSpace(t))
}

var bom = []byte("\xef\xbb\xbf")

// split cuts a body into payloads. NDJSON is one a line, blank lines skipped, as `ingest` reads it; application/json is
// one object. Ownership: payloads point into the body.
func split(body []byte, contentType string, most int) ([][]byte, error) {
	body = bytes.TrimPrefix(body, bom)
	var payloads [][]byte
	switch t := mediaType(contentType); t {
	case "application/json":
		if one := bytes.TrimSpace(body); len(one) > 0 {
			payloads = [][]byte{one}
		}
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/jsonlines",
		"application/octet-stream", "text/plain", "", "application/x-www-form-urlencoded": // the last is what curl says unasked
		for line := range bytes.Lines(body) {
			line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			if len(payloads) == most {
				return nil, &problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("there are more than %d records", most), Hint: "split them over several requests"}
			}
			payloads = append(payloads, line[:len(line):len(line)])
		}
	default:
		return nil, &problem{Status: http.StatusUnsupportedMediaType, Detail: fmt.Sprintf("records of type %q are not taken", t), Hint: "send application/x-ndjson, one JSON object a line, or one object as application/json"}
	}
	if len(payloads) == 0 {
		return nil, badRequest("there is no record in the body", "send one JSON object a line")
	}
	return payloads, nil
}
