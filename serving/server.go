package serving

import (
	"context"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas/slice"
)

// Definitions is what a project declares, compiled. It is read anew for every question, so a view added a moment ago is
// answered at once.
type Definitions struct {
	Catalog *views.Catalog
	Views   map[string]*views.View
}

// Options are what a Server stands on.
type Options struct {
	Log         *kafkalog.Log
	Store       store.Store
	Compiler    *views.Compiler
	Definitions func(context.Context) (*Definitions, error)
	Limits      kernel.Limits // of each question's DuckDB
	FetchBytes  int           // of one read from the log; 0 is the log's default
	Scratch     string        // a folder for spilling and for answers written to files; empty: the system's
}

// Server answers questions. Safe for concurrent use.
type Server struct {
	log   *kafkalog.Log
	store store.Store
	opts  Options
}

// New returns a Server; it holds nothing that must be closed.
func New(o Options) *Server { return &Server{log: o.Log, store: o.Store, opts: o} }

// slices are the view's slices above the frontier that have rows.
func (s *Server) slices(ctx context.Context, p *pinned, v *views.View) (out []slice.Slice, err error) {
	err = slicelog.Read(ctx, s.log, p.topic.Name, p.id, p.frontier(), p.to, map[string]bool{v.Definition: true}, func(one *slice.Slice) {
		if one.Withheld == slice.Given {
			out = append(out, *one)
		}
	})
	return out, err
}
