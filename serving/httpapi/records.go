package httpapi

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/decode"
)

// appended is the answer to records: all of them durable. Records are accepted ones, Rejects those that the decoder
// refuses and that ?rejects=keep kept; Offsets are of both, in the request's order.
type appended struct {
	Topic    string      `json:"topic"`
	Records  int         `json:"records"`
	Rejects  int         `json:"rejects"`
	Offsets  []Offset    `json:"offsets"`
	Rejected []malformed `json:"rejected,omitempty"`
}

// maxNamed is how many malformed records an answer names.
const maxNamed = 10_000

// records appends a request's records, or none of them.
func (s *Server) records(w http.ResponseWriter, r *http.Request) error {
	topic, err := s.topic(r.Context(), r.PathValue("topic"))
	if err != nil {
		return err
	}
	keep, err := keepsRejects(r)
	if err != nil {
		return err
	}
	key, err := idempotencyKey(r)
	if err != nil {
		return err
	}
	leave, err := s.bodies.enter(r.Context())
	if err != nil {
		return err
	}
	defer leave()
	body, err := s.readBody(w, r, s.o.MaxBody)
	if err != nil {
		return err
	}
	payloads, err := split(body, r.Header.Get("Content-Type"), s.o.MaxRecords)
	if err != nil {
		return err
	}
	if err := withinLimit(topic, payloads); err != nil {
		return err
	}
	count, named, err := judge(topic, payloads)
	if err != nil {
		return err
	}
	if count > 0 && !keep {
		s.metrics.refused.WithLabelValues(topic.Name).Add(float64(count))
		return refusal(r, count, len(payloads), named)
	}
	out := appended{Topic: topic.Name, Records: len(payloads) - count, Rejects: count, Rejected: named}
	var replayed bool
	if key == "" {
		out.Offsets, err = s.o.Appender.Append(r.Context(), topic, payloads)
	} else {
		out.Offsets, replayed, err = s.o.Appender.AppendOnce(r.Context(), topic, key, payloads)
	}
	if err != nil {
		return err
	}
	if replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	} else {
		s.metrics.appended.WithLabelValues(topic.Name).Add(float64(out.Records))
		s.metrics.kept.WithLabelValues(topic.Name).Add(float64(count))
	}
	return writeJSON(w, http.StatusOK, "application/json", out)
}

func (s *Server) topic(ctx context.Context, name string) (*schemas.Topic, error) {
	topics, err := s.o.Topics(ctx)
	if err != nil {
		return nil, err
	}
	if t := topics[name]; t != nil {
		return t, nil
	}
	known := slices.Sorted(maps.Keys(topics))
	hint := "a file topics/NAME.yaml declares one"
	if near := schemas.Nearest(name, known); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	} else if len(known) > 0 && len(known) <= 12 {
		hint += "; there are: " + strings.Join(known, ", ")
	}
	return nil, &problem{Status: http.StatusNotFound, Detail: fmt.Sprintf("there is no topic %q", name), Hint: hint}
}

func keepsRejects(r *http.Request) (bool, error) {
	query := r.URL.Query()
	for name := range query {
		if name != "rejects" {
			return false, badRequest(fmt.Sprintf("there is no parameter %q", name), "rejects=keep is the only one")
		}
	}
	switch v := query.Get("rejects"); v {
	case "":
		return false, nil
	case "keep":
		return true, nil
	default:
		return false, badRequest(fmt.Sprintf("rejects cannot be %q", v), "leave it away, or write rejects=keep")
	}
}

// idempotencyKey reads the header: the key as it is, or as the quoted string of the IETF's draft.
func idempotencyKey(r *http.Request) (string, error) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := strings.TrimSpace(values[0])
	if len(key) >= 2 && key[0] == '"' && key[len(key)-1] == '"' {
		key = key[1 : len(key)-1]
	}
	if len(values) > 1 || key == "" || len(key) > 255 || strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' }) {
		return "", badRequest("the Idempotency-Key is not one", "send one of 1 to 255 printable ASCII characters, such as a UUID")
	}
	return key, nil
}

func withinLimit(topic *schemas.Topic, payloads [][]byte) error {
	limit := topic.MaxRecord
	if limit <= 0 {
		limit = schemas.DefaultMaxRecord
	}
	for i, v := range payloads {
		if int64(len(v)) > limit {
			return &problem{Status: http.StatusRequestEntityTooLarge, Index: &i,
				Detail: fmt.Sprintf("record %d is longer than max_record (%d bytes; the limit is %d); nothing of the request was kept", i, len(v), limit),
				Hint:   "cut the record, or raise max_record in topics/" + topic.Name + ".yaml"}
		}
	}
	return nil
}

// rowsAtOnce is how many records the decoder gathers before its memory is given back.
const rowsAtOnce = 8192

// judge asks the decoder of every layer which payloads it refuses: their number, and the first maxNamed of them.
func judge(topic *schemas.Topic, payloads [][]byte) (count int, named []malformed, err error) {
	d, err := decode.New(topic, nil, mallocator.NewMallocator())
	if err != nil {
		return 0, nil, err
	}
	defer d.Close()
	for i, v := range payloads {
		if d.Len() >= rowsAtOnce {
			d.Batch().Release()
		}
		reject := d.Append(&schemas.Record{Value: v})
		if reject == nil {
			continue
		}
		if count++; len(named) < maxNamed {
			named = append(named, malformed{Index: i, Field: reject.Field, Reason: reject.Reason})
		}
	}
	return count, named, nil
}

func refusal(r *http.Request, count, of int, named []malformed) *problem {
	first := named[0]
	reason := first.Reason
	if first.Field != "" {
		reason = first.Field + ": " + reason
	}
	p := &problem{Status: http.StatusUnprocessableEntity, Count: count, Rejects: named,
		Detail: strconv.Itoa(count) + " of " + strconv.Itoa(of) + " records are malformed and nothing of the request was kept; record " + strconv.Itoa(first.Index) + ": " + reason,
		Hint:   "mend them, or add ?rejects=keep: they are kept as rejects then"}
	if mediaType(r.Header.Get("Content-Type")) == "application/json" {
		p.Hint += "; application/json is one object, application/x-ndjson one a line"
	}
	return p
}
