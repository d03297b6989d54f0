package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/serving"
)

// Offset is where a record lies.
type Offset struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

// Appender puts records into the log. Ownership: payloads are the appender's for good.
type Appender interface {
	// Append appends payloads and returns where each lies once all are durable. After an error some may be in the log.
	Append(ctx context.Context, topic *schemas.Topic, payloads [][]byte) ([]Offset, error)
	// AppendOnce is Append for a request with a key: the same key again gives the same offsets and appends nothing
	// that is there already; replayed says so. Errors: ErrKeyReused.
	AppendOnce(ctx context.Context, topic *schemas.Topic, key string, payloads [][]byte) (offsets []Offset, replayed bool, err error)
}

// Querier answers questions: a *serving.Server.
type Querier interface {
	Query(context.Context, serving.Request) (*serving.Answer, error)
}

// Position is how far each layer is with a topic, for /metrics.
type Position struct {
	Topic  string
	End    schemas.Frontier // of the log
	Layers map[string]LayerPosition
	Views  []ViewPosition // those with partials

	Withheld map[string]int64 // view -> offsets whose slices have no rows
	Unread   []UnreadPosition
	Drift    map[string]int // view -> ranges over which something stored differs from its records
}

// What a sample of the drift watch came to.
const (
	SampleAgrees     = "agrees"
	SampleDiffers    = "differs"
	SampleImpossible = "impossible" // the records are gone, or the view's SQL fails on them
	SampleFailed     = "failed"     // the broker, the store or the engine did not do its part
)

// Sampled is how many samples of a view came to a result.
type Sampled struct {
	Topic, View, Result string
	Samples             int64
}

// UnreadPosition is when Kafka may drop the first record of a partition that no cycle has read.
type UnreadPosition struct {
	Partition int32
	Seconds   float64 // until then
}

// ViewPosition is how far a view's partials are over what is committed.
type ViewPosition struct {
	View        string
	Records     int64    // committed
	Ready       int64    // of them in ranges with a partial
	Rows, Bytes int64    // of the partials
	SecondsLeft *float64 // until all are ready; nil: nobody on this machine works on it, or it has just begun
}

// LayerPosition is how far one layer is: batch or speed.
type LayerPosition struct {
	Frontier schemas.Frontier
	Lag      int64 // offsets between the frontier and the log's end
}

// Options are what a server stands on. Functions may be called at any time, also at once. Without a Querier there is no
// /v1/query: the server is an ingest gateway.
type Options struct {
	Topics    func(context.Context) (map[string]*schemas.Topic, error) // as the project declares them now
	Appender  Appender
	Querier   Querier
	Status    func(context.Context) (any, error) // what GET /v1/status gives, as JSON
	Positions func(context.Context) ([]Position, error)
	Samples   func() (of []Sampled, seconds float64) // of the drift watch; nil: there is none
	Ready     func(context.Context) error            // why the process cannot serve now; nil: it can
	Log       *slog.Logger                           // nil: slog.Default()

	MaxBody         int64         // bytes of one request's records, unpacked; 0: 32 MiB
	MaxRecords      int           // of one request; 0: 250,000
	MaxQuestion     int64         // bytes of one question; 0: 1 MiB
	Bodies          int           // requests that hold records in memory at once; 0: 8
	Questions       int           // that run at once; 0: the number of processors, 2 at least
	Queue           int           // requests that may wait for either; 0: 64
	QueueWait       time.Duration // how long they wait; 0: 10 s
	BodyTimeout     time.Duration // how long a client may take to send a body; 0: 1 min
	QuestionTimeout time.Duration // how long a question may run; 0: 5 min
	StatusTimeout   time.Duration // how long /metrics and /readyz wait for broker and store; 0: 2 s
}

func (o *Options) defaults() {
	set(&o.Log, slog.Default())
	set(&o.MaxBody, 32<<20)
	set(&o.MaxRecords, 250_000)
	set(&o.MaxQuestion, 1<<20)
	set(&o.Bodies, 8)
	set(&o.Questions, max(2, runtime.GOMAXPROCS(0)))
	set(&o.Queue, 64)
	set(&o.QueueWait, 10*time.Second)
	set(&o.BodyTimeout, time.Minute)
	set(&o.QuestionTimeout, 5*time.Minute)
	set(&o.StatusTimeout, 2*time.Second)
}

func set[T comparable](at *T, otherwise T) {
	var zero T
	if *at == zero {
		*at = otherwise
	}
}

// Server is the handler. Concurrency: safe.
type Server struct {
	o         Options
	mux       *http.ServeMux
	routes    map[string]map[string]handler
	foreign   *http.CrossOriginProtection
	metrics   *metrics
	bodies    *gate
	questions *gate
}

// handler answers a request or says why it cannot; an error after the first byte breaks the connection.
type handler func(http.ResponseWriter, *http.Request) error

// New returns a Server; it holds nothing that must be closed.
func New(o Options) *Server {
	o.defaults()
	s := &Server{o: o, mux: http.NewServeMux(), foreign: http.NewCrossOriginProtection()}
	s.bodies = &gate{slots: make(chan struct{}, o.Bodies), queue: int64(o.Queue), patience: o.QueueWait, what: "requests with records"}
	s.questions = &gate{slots: make(chan struct{}, o.Questions), queue: int64(o.Queue), patience: o.QueueWait, what: "questions"}
	s.metrics = newMetrics(s)
	s.routes = map[string]map[string]handler{
		"/v1/topics/{topic}/records": {http.MethodPost: s.records},
		"/v1/status":                 {http.MethodGet: s.status},
		"/healthz":                   {http.MethodGet: s.healthz},
		"/readyz":                    {http.MethodGet: s.readyz},
		"/metrics":                   {http.MethodGet: s.metrics.serve},
	}
	if o.Querier != nil {
		s.routes["/v1/query"] = map[string]handler{http.MethodPost: s.query}
	}
	for path, methods := range s.routes {
		s.mux.HandleFunc(path, s.route(path, methods))
	}
	s.mux.HandleFunc("/", s.route("other", nil))
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// route answers one path: it picks the method, writes errors as problem documents, counts, and outlives panics.
func (s *Server) route(path string, methods map[string]handler) http.HandlerFunc {
	return func(inner http.ResponseWriter, r *http.Request) {
		w := &response{ResponseWriter: inner}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		began := time.Now()
		defer func() {
			switch fault := recover(); {
			case fault == http.ErrAbortHandler: //nolint:errorlint // a panic's value, as net/http itself compares it
				s.metrics.request(path, r.Method, aborted, time.Since(began))
				panic(fault)
			case fault != nil:
				s.o.Log.Error("panic", "path", r.URL.Path, "panic", fault, "stack", string(debug.Stack()))
				s.fail(w, r, fmt.Errorf("panic: %v", fault))
			}
			s.metrics.request(path, r.Method, w.code, time.Since(began))
		}()
		if err := s.pick(methods, w, r); err != nil {
			s.fail(w, r, err)
		}
	}
}

func (s *Server) pick(methods map[string]handler, w http.ResponseWriter, r *http.Request) error {
	if methods == nil {
		return &problem{Status: http.StatusNotFound, Detail: "there is nothing at " + r.URL.Path, Hint: s.nearestPath(r.URL.Path)}
	}
	h := methods[r.Method]
	if h == nil && r.Method == http.MethodHead {
		h = methods[http.MethodGet]
	}
	if h == nil {
		var allow string
		for m := range methods {
			allow = m
		}
		w.Header().Set("Allow", allow)
		return &problem{Status: http.StatusMethodNotAllowed, Detail: r.Method + " is not a method of " + r.URL.Path, Hint: "use " + allow}
	}
	if err := s.foreign.Check(r); err != nil { // a browser on this machine shows a page of another site
		return &problem{Status: http.StatusForbidden, Detail: "a page of another origin may not do this", Hint: "send the request from a program, or from a page of this server"}
	}
	return h(w, r)
}

func (s *Server) nearestPath(path string) string {
	var there, known []string
	for route, methods := range s.routes {
		for method := range methods {
			there = append(there, method+" "+strings.Replace(route, "{topic}", "TOPIC", 1))
		}
		known = append(known, strings.TrimSuffix(route, "/{topic}/records"))
	}
	slices.Sort(there)
	if near := schemas.Nearest(path, known); near != "" && near != path {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return "there are " + strings.Join(there, ", ")
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) error {
	v, err := s.o.Status(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, "application/json", v)
}

// healthz answers as long as the process does.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, "application/json", map[string]string{"status": "ok"})
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.o.StatusTimeout)
	defer cancel()
	if err := s.o.Ready(ctx); err != nil {
		p := problemOf(err)
		p.Status, p.retry = http.StatusServiceUnavailable, time.Second
		return p
	}
	return writeJSON(w, http.StatusOK, "application/json", map[string]string{"status": "ready"})
}

func writeJSON(w http.ResponseWriter, code int, mediaType string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(text)+1))
	w.WriteHeader(code)
	_, err = w.Write(append(text, '\n'))
	return err
}
