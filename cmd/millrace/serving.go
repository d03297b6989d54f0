package main

import (
	"context"

	"github.com/millrace/millrace/ingest"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/runner"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/serving"
)

// engine is a project ready to answer: its session, log, store and compiled views.
type engine struct {
	session   *session
	log       *kafkalog.Log
	store     store.Store
	catalog   *catalog
	compiler  *views.Compiler
	server    *serving.Server
	scratch   string           // folder for temporary files of this process
	speedOn   runner.Engine    // where the speed layer's pipelines run
	batchOn   runner.Engine    // where the cycles run
	savepoint string           // of Flink, that the speed layer goes on from
	producer  *ingest.Producer // of the HTTP API; nil: there is none
	warn      func(message string, args ...any)
}

// engine opens the project of -C for the layers. The caller closes it.
func (a *app) engine(ctx context.Context) (*engine, error) {
	p, c, err := a.open()
	if err != nil {
		return nil, err
	}
	e := &engine{catalog: c}
	if err := e.open(ctx, a, p); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// engineForQuestion is an engine for one question, with the views that it can read. If they do not make it right, all are there: what is
// wrong may have to do with any.
func (a *app) engineForQuestion(ctx context.Context, sql string) (*engine, problems, error) {
	e, wrong, err := a.engineDespite(ctx, viewsIn(sql))
	if err != nil {
		return nil, nil, err
	}
	if _, bad := e.compiler.Query(sql, e.catalog.tables()); bad == nil {
		return e, wrong, nil
	}
	e.Close()
	return a.engineDespite(ctx, nil)
}

// engineDespite is engine with the views that are wanted, over what openDespite gives.
func (a *app) engineDespite(ctx context.Context, want wanted) (*engine, problems, error) {
	p, c, wrong, err := a.openDespite(want)
	if err != nil {
		return nil, nil, err
	}
	e := &engine{catalog: c}
	if err := e.open(ctx, a, p); err != nil {
		e.Close()
		return nil, nil, err
	}
	return e, wrong, nil
}

func (e *engine) open(ctx context.Context, a *app, p *project.Project) (err error) {
	if e.speedOn, err = a.speedEngine(&engineFlags{}, &p.Config); err != nil {
		return err
	}
	if e.batchOn, err = (&engineFlags{}).engine(&p.Config); err != nil {
		return err
	}
	if e.session, err = a.connect(ctx, p); err != nil {
		return err
	}
	if e.scratch, err = e.session.scratch(); err != nil {
		return err
	}
	if e.log, err = e.session.log(); err != nil {
		return err
	}
	if e.store, err = store.Open(p.Config.Store); err != nil {
		return err
	}
	if e.compiler, err = views.Open(); err != nil {
		return err
	}
	e.warn = a.logger().Warn
	e.catalog.keep(ctx, a, p, e.store, e.compiler, e.scratch)
	if err := e.prepare(ctx, p); err != nil {
		return err
	}
	e.server = serving.New(e.servingOptions(func(context.Context) (*serving.Definitions, error) { return e.catalog.definitions(), nil }))
	return nil
}

// workScratch is the folder for temporary files of pipelines: on a cluster the system's wherever they run, which need not be
// this machine.
func (e *engine) workScratch() string {
	if e.session.project.Config.Embedded() {
		return e.scratch
	}
	return ""
}

// servingOptions are a serving layer's options, which takes its definitions from a function.
func (e *engine) servingOptions(definitions func(context.Context) (*serving.Definitions, error)) serving.Options {
	return serving.Options{Log: e.log, Store: e.store, Compiler: e.compiler, Limits: kernel.Limits{Memory: e.session.project.Config.Memory},
		Scratch: e.scratch, Definitions: definitions, Warn: e.warn}
}

// What a process that answers for long keeps ready for the next question.
const (
	spareEngines = 1
	sliceBytes   = 64 << 20
)

// prepare makes the topics that the broker does not have yet, with a producer of its own.
func (e *engine) prepare(ctx context.Context, p *project.Project) error {
	producer, err := ingest.NewProducer(ingest.ProducerOptions{Kafka: e.session.kafka, Timeout: appendPatience})
	if err != nil {
		return err
	}
	defer producer.Close()
	return prepare(ctx, producer, p)
}

// prepare makes the project's topics that the broker does not have yet.
func prepare(ctx context.Context, producer *ingest.Producer, p *project.Project) error {
	for _, name := range p.TopicNames() {
		if _, _, err := producer.Prepare(ctx, p.Topics[name]); err != nil {
			return err
		}
	}
	return nil
}

// Close gives everything free.
func (e *engine) Close() {
	if e.producer != nil {
		e.producer.Close()
	}
	if e.server != nil {
		e.server.Close()
	}
	if e.compiler != nil {
		e.compiler.Close()
	}
	if e.log != nil {
		e.log.Close()
	}
	if e.session != nil {
		e.session.Close()
	}
}

// definitions is the catalog as the serving layer takes it.
func (c *catalog) definitions() *serving.Definitions {
	d := &serving.Definitions{Catalog: &c.Catalog, Views: map[string]*views.View{}}
	for _, v := range c.views {
		d.Views[v.Name] = v
	}
	return d
}
