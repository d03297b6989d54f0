package main

import (
	"context"
	"sync"

	"github.com/millrace/millrace/ingest"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/serving"
)

// live keeps an engine in step with the project's files, so that a view added a moment ago is answered, sliced and given
// partials: they are read and compiled anew once one has changed. What is wrong in one file does not stand in the way of
// the others, and records do not wait for views to be compiled. Concurrency: safe.
type live struct {
	app      *app
	dir      string
	base     *engine          // its session, log and store stay: where they are is fixed while a process runs
	producer *ingest.Producer // of records that come over HTTP; makes the topics that are new

	mu       sync.Mutex
	stamp    string
	project  *project.Project
	problems problems // of files, and of views once they are compiled

	compiling sync.Mutex
	compiled  string // the stamp of what follows
	of        *project.Project
	catalog   *catalog
	defs      *serving.Definitions
}

// live begins with an engine as it is, and ends with it.
func (a *app) live(e *engine) (*live, error) {
	producer, err := ingest.NewProducer(ingest.ProducerOptions{Kafka: e.session.kafka, Timeout: e.session.requestPatience()})
	if err != nil {
		return nil, err
	}
	e.producer = producer
	l := &live{app: a, dir: a.dir, base: e, producer: producer}
	e.server.Close()
	o := e.servingOptions(l.definitions)
	o.Spare, o.SliceBytes = spareEngines, sliceBytes
	e.server = serving.New(o)
	return l, nil
}

// read is the project and the stamp of its files. Errors: a Problem of kind Environment if there is none any more.
func (l *live) read() (p *project.Project, stamp string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	stamp = project.Stamp(l.dir)
	if stamp == l.stamp {
		return l.project, stamp, nil
	}
	p, found := project.Open(l.dir)
	if p == nil {
		return nil, "", &schemas.Problem{Kind: schemas.Environment, Message: "the project cannot be read", Err: problems(found), Hint: "put its files back"}
	}
	l.stamp, l.project, l.problems = stamp, p, found
	return p, stamp, nil
}

func (l *live) topics(context.Context) (map[string]*schemas.Topic, error) {
	p, _, err := l.read()
	if err != nil {
		return nil, err
	}
	return p.Topics, nil
}

// definitions are what a question may read.
func (l *live) definitions(ctx context.Context) (*serving.Definitions, error) {
	l.compiling.Lock()
	defer l.compiling.Unlock()
	if err := l.compile(ctx); err != nil {
		return nil, err
	}
	return l.defs, nil
}

// engine is the engine over the files as they are now. The caller does not close it.
func (l *live) engine(ctx context.Context) (*engine, error) {
	l.compiling.Lock()
	defer l.compiling.Unlock()
	if err := l.compile(ctx); err != nil {
		return nil, err
	}
	now := *l.base
	now.session = &session{project: l.of, kafka: now.session.kafka, up: now.session.up}
	now.catalog = l.catalog
	return &now, nil
}

// compile brings catalog and definitions up to date; the broker has all the topics then.
func (l *live) compile(ctx context.Context) error {
	p, stamp, err := l.read()
	if err != nil {
		return err
	}
	if stamp == l.compiled {
		return nil
	}
	c, found, err := compile(p, nil)
	if err != nil {
		return err
	}
	c.keep(ctx, l.app, p, l.base.store, l.base.compiler, l.base.scratch)
	if err := prepare(ctx, l.producer, p); err != nil {
		return err
	}
	l.compiled, l.of, l.catalog, l.defs = stamp, p, c, c.definitions()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stamp == stamp {
		l.problems = append(l.problems, found...)
	}
	return nil
}

// wrong is what is known to be wrong in the project's files.
func (l *live) wrong() problems {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.problems
}
