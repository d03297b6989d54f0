package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/millrace/millrace/serving"
)

// The answer's certificate, or the SHA-256 of its JSON if that is longer than a header should be.
const (
	certificateHeader     = "Millrace-Certificate"
	certificateHashHeader = "Millrace-Certificate-Sha256"
	maxCertificate        = 8 << 10
)

// query answers one question.
func (s *Server) query(w http.ResponseWriter, r *http.Request) error {
	as, err := accepted(r.Header.Values("Accept"))
	if err != nil {
		return err
	}
	body, err := s.readBody(w, r, s.o.MaxQuestion)
	if err != nil {
		return err
	}
	request, err := parseQuestion(body)
	if err != nil {
		return err
	}
	leave, err := s.questions.enter(r.Context())
	if err != nil {
		return err
	}
	defer leave()
	began := time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), s.o.QuestionTimeout)
	defer cancel()
	err = s.answer(ctx, w, request, as)
	if err != nil && ctx.Err() != nil && r.Context().Err() == nil {
		err = &problem{Status: http.StatusServiceUnavailable, Detail: fmt.Sprintf("the question ran longer than %s and was ended", s.o.QuestionTimeout), Hint: "ask for less at once, or keep the SELECT as a view", retry: time.Minute}
	}
	s.metrics.question(as, err, time.Since(began))
	return err
}

func (s *Server) answer(ctx context.Context, w http.ResponseWriter, request serving.Request, as format) error {
	answer, err := s.o.Querier.Query(ctx, request)
	if err != nil {
		return err
	}
	defer answer.Close()
	if err := certify(w.Header(), answer.Certificate); err != nil {
		return err
	}
	w.Header().Set("Content-Type", string(as))
	out := &late{w: w}
	switch as {
	case formatJSON:
		err = answer.JSON(ctx, out)
	case formatArrow:
		err = answer.Arrow(ctx, out)
	case formatCSV:
		w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
		return sendFile(ctx, w, answer, serving.CSV)
	case formatNDJSON:
		return sendFile(ctx, w, answer, serving.NDJSON)
	case formatParquet:
		return sendFile(ctx, w, answer, serving.Parquet)
	}
	if err != nil {
		return err
	}
	return out.finish()
}

// certify puts the certificate into the header, in ASCII on one line.
func certify(h http.Header, c *serving.Certificate) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if len(text) > maxCertificate {
		sum := sha256.Sum256(text)
		h.Set(certificateHashHeader, hex.EncodeToString(sum[:]))
		return nil
	}
	h.Set(certificateHeader, ascii(text))
	return nil
}

// ascii writes the letters of JSON that a header cannot carry as JSON's escapes.
func ascii(text []byte) string {
	var b bytes.Buffer
	for _, c := range string(text) {
		switch {
		case c < 0x80:
			b.WriteRune(c)
		case c > 0xffff:
			c -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	return b.String()
}

// sendFile writes an answer that DuckDB wrote to a file, so that what goes wrong is known before the first byte.
func sendFile(ctx context.Context, w http.ResponseWriter, answer *serving.Answer, f serving.Format) error {
	path, err := answer.File(ctx, f, "")
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	w.WriteHeader(http.StatusOK)
	_, err = io.Copy(w, file)
	return err
}

// late holds an answer back until it is long: a short one that fails is answered by a problem document.
type late struct {
	w    http.ResponseWriter
	held bytes.Buffer
	out  *bufio.Writer // nil: nothing was sent yet
}

const heldBytes = 256 << 10

func (l *late) Write(b []byte) (int, error) {
	if l.out == nil && l.held.Len()+len(b) <= heldBytes {
		return l.held.Write(b)
	}
	if l.out == nil {
		l.w.WriteHeader(http.StatusOK)
		l.out = bufio.NewWriterSize(l.w, 64<<10)
		if _, err := l.held.WriteTo(l.out); err != nil {
			return 0, err
		}
	}
	return l.out.Write(b)
}

func (l *late) finish() error {
	if l.out != nil {
		return l.out.Flush()
	}
	l.w.Header().Set("Content-Length", strconv.Itoa(l.held.Len()))
	l.w.WriteHeader(http.StatusOK)
	_, err := l.held.WriteTo(l.w)
	return err
}
