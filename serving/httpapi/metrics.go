package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the server's own, on a registry of its own.
type metrics struct {
	handler   http.Handler
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	questions *prometheus.HistogramVec
	appended  *prometheus.CounterVec // accepted records
	kept      *prometheus.CounterVec // rejects that ?rejects=keep kept
	refused   *prometheus.CounterVec // malformed records that were not
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millrace_http_requests_total",
			Help: "Requests by route, method and status code; 499: the client went away, 598: the answer broke off."}, []string{"path", "method", "code"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "millrace_http_request_seconds",
			Help: "Time from a request's header to its answer's end.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8)}, []string{"path"}),
		questions: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "millrace_query_seconds",
			Help: "Time a question ran, waiting in the queue not counted.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 14)}, []string{"format", "outcome"}),
		appended: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millrace_records_appended_total", Help: "Accepted records made durable over HTTP."}, []string{"topic"}),
		kept:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millrace_rejects_appended_total", Help: "Malformed records made durable over HTTP as rejects."}, []string{"topic"}),
		refused:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millrace_records_refused_total", Help: "Malformed records of requests that were answered 422."}, []string{"topic"}),
	}
	running := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "millrace_queries_running", Help: "Questions that run now."}, func() float64 { return float64(len(s.questions.slots)) })
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "millrace_queries_waiting", Help: "Questions that wait for their turn."}, func() float64 { return float64(s.questions.waiting.Load()) })
	registry := prometheus.NewRegistry()
	if s.o.Querier != nil {
		registry.MustRegister(m.questions, running, waiting)
	}
	registry.MustRegister(m.requests, m.durations, m.appended, m.kept, m.refused,
		&positions{read: s.o.Positions, timeout: s.o.StatusTimeout}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if s.o.Samples != nil {
		registry.MustRegister(samples(s.o.Samples))
	}
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	return m
}

func (m *metrics) serve(w http.ResponseWriter, r *http.Request) error {
	m.handler.ServeHTTP(w, r)
	return nil
}

// request counts one. The method is one of the usual ones: a client cannot make names.
func (m *metrics) request(path, method string, code int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch:
	default:
		method = "other"
	}
	if code == 0 {
		code = http.StatusOK
	}
	m.requests.WithLabelValues(path, method, strconv.Itoa(code)).Inc()
	m.durations.WithLabelValues(path).Observe(took.Seconds())
}

func (m *metrics) question(as format, err error, took time.Duration) {
	outcome := "answered"
	if err != nil {
		outcome = "failed"
		if errors.Is(err, context.Canceled) {
			outcome = "canceled"
		}
	}
	m.questions.WithLabelValues(string(as), outcome).Observe(took.Seconds())
}

// positions reads at each scrape how far the layers are.
type positions struct {
	read    func(context.Context) ([]Position, error)
	timeout time.Duration
}

var (
	endOffset   = prometheus.NewDesc("millrace_topic_end_offset", "The offset after a partition's last record.", []string{"topic", "partition"}, nil)
	frontier    = prometheus.NewDesc("millrace_topic_frontier", "The offset up to which a layer covers a partition.", []string{"topic", "layer", "partition"}, nil)
	lag         = prometheus.NewDesc("millrace_topic_lag", "Offsets between a layer's frontier and the log's end.", []string{"topic", "layer"}, nil)
	viewRecords = prometheus.NewDesc("millrace_view_records", "Committed records that a view answers for.", []string{"topic", "view"}, nil)
	viewReady   = prometheus.NewDesc("millrace_view_records_ready", "Of them those in ranges that the view has a partial over.", []string{"topic", "view"}, nil)
	viewRows    = prometheus.NewDesc("millrace_view_partial_rows", "Rows of a view's partials.", []string{"topic", "view"}, nil)
	viewBytes   = prometheus.NewDesc("millrace_view_partial_bytes", "Bytes of a view's partials.", []string{"topic", "view"}, nil)
	viewLeft    = prometheus.NewDesc("millrace_view_rebuild_seconds_left", "Until a view's partials are whole, while this machine works on them.", []string{"topic", "view"}, nil)
	withheld    = prometheus.NewDesc("millrace_slices_withheld_offsets", "Offsets above the batch layer's frontier whose slices of a view have no rows.", []string{"topic", "view"}, nil)
	unread      = prometheus.NewDesc("millrace_unread_seconds_left", "Until Kafka may drop the first record of a partition that no batch cycle has read.", []string{"topic", "partition"}, nil)
	drift       = prometheus.NewDesc("millrace_drift_ranges", "Ranges over which something stored of a view differs from its records.", []string{"topic", "view"}, nil)
	statusUp    = prometheus.NewDesc("millrace_status_up", "1 if broker and store answered this scrape, else the topics' metrics are missing.", nil, nil)
)

// Describe sends the descriptions.
func (p *positions) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{endOffset, frontier, lag, viewRecords, viewReady, viewRows, viewBytes, viewLeft, withheld, unread, drift, statusUp} {
		out <- d
	}
}

// Collect sends the values.
func (p *positions) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.timeout)
	defer cancel()
	all, err := p.read(ctx)
	if err != nil {
		gauge(statusUp, 0)
		return
	}
	gauge(statusUp, 1)
	for _, t := range all {
		for partition, offset := range t.End {
			gauge(endOffset, float64(offset), t.Topic, strconv.Itoa(int(partition)))
		}
		for view, n := range t.Withheld {
			gauge(withheld, float64(n), t.Topic, view)
		}
		for view, n := range t.Drift {
			gauge(drift, float64(n), t.Topic, view)
		}
		for _, u := range t.Unread {
			gauge(unread, u.Seconds, t.Topic, strconv.Itoa(int(u.Partition)))
		}
		for name, l := range t.Layers {
			gauge(lag, float64(l.Lag), t.Topic, name)
			for partition, offset := range l.Frontier {
				gauge(frontier, float64(offset), t.Topic, name, strconv.Itoa(int(partition)))
			}
		}
		for _, v := range t.Views {
			for d, value := range map[*prometheus.Desc]int64{viewRecords: v.Records, viewReady: v.Ready, viewRows: v.Rows, viewBytes: v.Bytes} {
				gauge(d, float64(value), t.Topic, v.View)
			}
			if v.SecondsLeft != nil {
				gauge(viewLeft, *v.SecondsLeft, t.Topic, v.View)
			}
		}
	}
}

// samples are what the drift watch has done.
type samples func() (of []Sampled, seconds float64)

var (
	driftSamples = prometheus.NewDesc("millrace_drift_samples_total", "Comparisons of something stored of a view with its records: agrees, differs, impossible or failed.", []string{"topic", "view", "result"}, nil)
	driftSeconds = prometheus.NewDesc("millrace_drift_seconds_total", "Time that the drift watch has worked.", nil, nil)
)

// Describe sends the descriptions.
func (s samples) Describe(out chan<- *prometheus.Desc) {
	out <- driftSamples
	out <- driftSeconds
}

// Collect sends the values.
func (s samples) Collect(out chan<- prometheus.Metric) {
	of, seconds := s()
	for _, n := range of {
		out <- prometheus.MustNewConstMetric(driftSamples, prometheus.CounterValue, float64(n.Samples), n.Topic, n.View, n.Result)
	}
	out <- prometheus.MustNewConstMetric(driftSeconds, prometheus.CounterValue, seconds)
}
