package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// ErrKeyReused: an Idempotency-Key came before with other records.
var ErrKeyReused = errors.New("the key was used for other records")

// Codes that no client sees, for the log and the metrics: the client went away, or the answer broke off.
const (
	clientGone = 499
	aborted    = 598
)

// problem is an RFC 9457 problem document.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`

	Line    int         `json:"line,omitempty"` // of the SQL, from 1
	Column  int         `json:"column,omitempty"`
	Index   *int        `json:"index,omitempty"` // of the record at fault, from 0
	Count   int         `json:"count,omitempty"` // of all malformed records
	Rejects []malformed `json:"rejects,omitempty"`

	retry time.Duration // Retry-After; 0: none
	cause error
}

// malformed is a record that the decoder refuses. Index counts the request's records from 0.
type malformed struct {
	Index  int    `json:"index"`
	Field  string `json:"field,omitempty"`
	Reason string `json:"reason"`
}

func (p *problem) Error() string { return p.Detail }
func (p *problem) Unwrap() error { return p.cause }

func badRequest(detail, hint string) *problem {
	return &problem{Status: http.StatusBadRequest, Detail: detail, Hint: hint}
}

// problemOf says in HTTP what an error of the layers means.
func problemOf(err error) *problem {
	var known *problem
	var p *schemas.Problem
	switch {
	case errors.As(err, &known):
		out := *known
		return &out
	case errors.Is(err, ErrKeyReused):
		return &problem{Status: http.StatusUnprocessableEntity, Detail: "the Idempotency-Key was used before, with other records", Hint: "send the same records again, or another key", cause: err}
	case errors.Is(err, kafkalog.ErrNoTopic):
		return &problem{Status: http.StatusServiceUnavailable, Detail: "the broker does not have it: " + err.Error(), Hint: "send a record to the topic, which makes it", retry: time.Second, cause: err}
	case errors.As(err, &p):
		out := &problem{Status: http.StatusInternalServerError, Detail: p.Message, Hint: p.Hint, Line: p.Line, Column: p.Column, cause: err}
		if p.File != "" {
			out.Detail = p.File + ": " + out.Detail
		}
		if p.Err != nil {
			out.Detail += ": " + p.Err.Error()
		}
		switch p.Kind {
		case schemas.Usage:
			out.Status = http.StatusBadRequest
		case schemas.Environment:
			out.Status, out.retry = http.StatusServiceUnavailable, time.Second
		}
		return out
	case errors.Is(err, context.DeadlineExceeded):
		return &problem{Status: http.StatusServiceUnavailable, Detail: "it took too long", Hint: "try again", retry: time.Second, cause: err}
	}
	return &problem{Status: http.StatusInternalServerError, Detail: err.Error(), cause: err}
}

// fail answers with a problem document if nothing was sent yet; otherwise it breaks the connection, so that nobody
// takes a part for the whole.
func (s *Server) fail(w *response, r *http.Request, err error) {
	var known *problem
	if r.Context().Err() != nil && !errors.As(err, &known) {
		w.code = clientGone
		return
	}
	if w.code != 0 {
		s.o.Log.Warn("answer broken off", "path", r.URL.Path, "error", err)
		panic(http.ErrAbortHandler)
	}
	p := problemOf(err)
	if p.Status == http.StatusInternalServerError {
		s.o.Log.Error("request", "path", r.URL.Path, "error", err)
	}
	p.Title = http.StatusText(p.Status)
	if p.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(max(1, p.retry/time.Second))))
	}
	for _, h := range []string{"Content-Disposition", certificateHeader, certificateHashHeader} {
		w.Header().Del(h)
	}
	if err := writeJSON(w, p.Status, "application/problem+json", p); err != nil {
		s.o.Log.Debug("problem document not sent", "path", r.URL.Path, "error", err)
	}
}

// response notes the status code; 0: nothing was sent yet.
type response struct {
	http.ResponseWriter
	code int
}

func (w *response) WriteHeader(code int) {
	if w.code == 0 && code >= 200 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *response) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// tooLarge is a body over its limit.
func tooLarge(limit int64) *problem {
	return &problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the body is longer than %d bytes", limit), Hint: "split it over several requests"}
}
