package serving

import (
	"context"
	"sync"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/pipelines/views"
)

// Definitions is what a project declares, compiled. It is read anew for every question, so a view added a moment ago is
// answered at once.
type Definitions struct {
	Catalog *views.Catalog
	Views   map[string]*views.View

	past bool // they are those of a certificate, for one question
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
	SliceBytes  int64         // of slices' rows that are kept in memory for the next question
	Spare       int           // engines that are kept open for questions to come

	Warn func(message string, args ...any) // told, as slog does, of what does not stand in an answer's way; nil: nobody is
}

// Server answers questions. Safe for concurrent use.
type Server struct {
	log     *kafkalog.Log
	store   store.Store
	opts    Options
	slices  *sliceCache
	engines *sessions
	known   dataset.Known
	proofs  proofs
	kept    sync.Map // hashes of definitions that the store is known to keep
	schemas sync.Map // definition -> *arrow.Schema of the view's state rows

	mu       sync.Mutex
	tables   *versions.History // of the catalog tablesOf
	tablesOf *views.Catalog
}

// New returns a Server. The caller closes it when no question is asked any more and every answer is closed.
func New(o Options) *Server {
	return &Server{log: o.Log, store: o.Store, opts: o, engines: newSessions(o.Limits, o.Spare), slices: &sliceCache{log: o.Log, limit: o.SliceBytes, topics: map[string]*topicSlices{}}}
}

// Close gives free what the server holds.
func (s *Server) Close() {
	s.engines.close()
	s.slices.close()
}
