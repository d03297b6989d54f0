package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/millrace/millrace/ingest"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/serving/httpapi"
)

const (
	// appendPatience is how long a verb that begins, or a request with records to the embedded broker, waits for a broker that
	// is away.
	appendPatience = 10 * time.Second
	// clusterPatience is how long a request with records waits for a cluster: Kafka takes ten seconds to have another broker
	// lead in the place of one that died.
	clusterPatience = 25 * time.Second
)

// requestPatience is how long a request with records waits for the session's brokers.
func (s *session) requestPatience() time.Duration {
	if s.project.Config.Embedded() {
		return appendPatience
	}
	return clusterPatience
}

// newHTTP is the project's HTTP API, which answers from the project's files as they are at each question. The watch may be nil.
func (a *app) newHTTP(l *live, w *watch) http.Handler {
	look := func(ctx context.Context) (status, error) {
		now, err := l.engine(ctx)
		if err != nil {
			return status{}, err
		}
		if l.base.session.own != nil { // this process is `up`
			now.session.up = readUp(now.session.project)
		}
		return a.status(ctx, now, l.wrong())
	}
	o := httpapi.Options{
		Topics:   l.topics,
		Appender: gateway{l.producer},
		Querier:  questions{l.base.server, l},
		Status:   func(ctx context.Context) (any, error) { return look(ctx) },
		Positions: func(ctx context.Context) ([]httpapi.Position, error) {
			s, err := look(ctx)
			return positionsOf(s), err
		},
		Ready: func(ctx context.Context) error { return ready(ctx, l) },
		Log:   a.logger(),
	}
	if w != nil {
		o.Samples = w.sampled
	}
	return httpapi.New(o)
}

// ready says why records and questions cannot be taken now.
func ready(ctx context.Context, l *live) error {
	e := l.base
	if e.session.own != nil {
		if err := e.session.own.Fault(); err != nil {
			return err
		}
	}
	p, _, err := l.read()
	if err != nil {
		return err
	}
	for _, name := range p.TopicNames() {
		if _, _, err := readTopicStatus(ctx, e.log, e.store, p.Topics[name]); err != nil {
			return err
		}
	}
	return nil
}

func positionsOf(s status) []httpapi.Position {
	var out []httpapi.Position
	for _, t := range s.Topics {
		p := httpapi.Position{Topic: t.Topic, End: t.End, Withheld: t.Speed.Withheld, Drift: map[string]int{},
			Layers: map[string]httpapi.LayerPosition{
				"batch": {Frontier: t.Batch.Frontier, Lag: t.Batch.Lag},
				"speed": {Frontier: t.Speed.Frontier, Lag: t.Speed.Lag},
			}}
		for _, u := range t.Batch.Unread {
			p.Unread = append(p.Unread, httpapi.UnreadPosition{Partition: u.Partition, Seconds: u.Seconds})
		}
		for _, v := range t.Views {
			p.Drift[v.View] = 0
		}
		for i := range t.Drift {
			p.Drift[t.Drift[i].View]++
		}
		for _, v := range t.Views {
			view := httpapi.ViewPosition{View: v.View, Records: v.Records, Ready: v.Ready, Rows: v.Rows, Bytes: v.Bytes}
			for _, r := range v.Rebuilding {
				view.SecondsLeft = r.SecondsLeft
			}
			p.Views = append(p.Views, view)
		}
		out = append(out, p)
	}
	return out
}

// gateway gives the ingest layer's producer to the HTTP API: the layers do not know each other.
type gateway struct{ p *ingest.Producer }

// Append appends payloads.
func (g gateway) Append(ctx context.Context, topic *schemas.Topic, payloads [][]byte) ([]httpapi.Offset, error) {
	offsets, err := g.p.Append(ctx, topic, payloads)
	return offsetsOf(offsets), err
}

// AppendOnce appends payloads of a request with a key.
func (g gateway) AppendOnce(ctx context.Context, topic *schemas.Topic, key string, payloads [][]byte) ([]httpapi.Offset, bool, error) {
	offsets, replayed, err := g.p.AppendOnce(ctx, topic, key, payloads)
	if errors.Is(err, ingest.ErrKeyReused) {
		err = httpapi.ErrKeyReused
	}
	return offsetsOf(offsets), replayed, err
}

func offsetsOf(in []ingest.Offset) []httpapi.Offset {
	out := make([]httpapi.Offset, len(in))
	for i, o := range in {
		out[i] = httpapi.Offset(o)
	}
	return out
}

// questions answers, and says with a question that cannot be answered what is wrong in the project's files: the view it
// asks for may be the one that does not compile.
type questions struct {
	server *serving.Server
	live   *live
}

// Query answers one question.
func (q questions) Query(ctx context.Context, r serving.Request) (*serving.Answer, error) {
	answer, err := q.server.Query(ctx, r)
	var p *schemas.Problem
	if wrong := q.live.wrong(); len(wrong) > 0 && errors.As(err, &p) && p.Kind == schemas.Usage {
		out := *p
		out.Hint += "; the project has problems: " + wrong[0].Error()
		return nil, &out
	}
	return answer, err
}

// listenHTTP takes the port. It says so where everybody on the network may ask: there is no authentication.
func (a *app) listenHTTP(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, &schemas.Problem{Kind: schemas.Environment, Message: "listen on " + address, Err: err,
			Hint: "stop what uses the port, or set another: listen: in " + project.File}
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		a.note("HTTP at %s can be reached from other machines and asks nobody who they are: put a proxy that does before it", listener.Addr())
	}
	return listener, nil
}

// serveHTTP serves until ctx ends, then lets requests in flight end, for as long as drain.
func (a *app) serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler, drain time.Duration) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: shutdown, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return &schemas.Problem{Kind: schemas.Environment, Message: "HTTP", Err: err}
	case <-ctx.Done():
	}
	return a.drainHTTP(context.WithoutCancel(ctx), server, drain)
}

// drainHTTP takes no new requests and waits for those in flight. What takes longer than drain is cut off: its client sees
// a broken connection, and the process has ended as it was told to.
func (a *app) drainHTTP(ctx context.Context, server *http.Server, drain time.Duration) error {
	last, cancel := context.WithTimeout(ctx, drain)
	defer cancel()
	err := server.Shutdown(last)
	if errors.Is(err, context.DeadlineExceeded) {
		a.note("requests that took longer than %s were cut off", drain)
		return server.Close()
	}
	return err
}
