package main

import (
	"context"
	"encoding/json"
	"io"

	"github.com/millrace/millrace/batch/jobs"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/serving"
)

// jobAnswerer answers the jobs' questions for the runner: it wires the batch layer's jobs to the serving layer.
type jobAnswerer struct {
	engine *engine
	open   func(context.Context) (*project.Project, *catalog, error) // the project to answer for, at each run
}

// sameProject answers every run for the project as the verb found it.
func (e *engine) sameProject(context.Context) (*project.Project, *catalog, error) {
	return e.session.project, e.catalog, nil
}

// Answer implements jobs.Answerer.
func (j jobAnswerer) Answer(ctx context.Context, q jobs.Question, w io.Writer) (json.RawMessage, error) {
	p, c, err := j.open(ctx)
	if err != nil {
		return nil, err
	}
	asOf, err := serving.ParseAsOf(q.AsOf)
	if err != nil {
		return nil, err
	}
	server := serving.New(serving.Options{Log: j.engine.log, Store: j.engine.store, Compiler: j.engine.compiler, Limits: kernel.Limits{Memory: p.Config.Memory},
		Scratch: j.engine.scratch, Warn: j.engine.warn,
		Definitions: func(context.Context) (*serving.Definitions, error) { return c.definitions(), nil }})
	defer server.Close()
	answer, err := server.Query(ctx, serving.Request{SQL: q.SQL, Params: q.Params, AsOf: asOf, Sorted: true})
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	switch q.Format {
	case "json":
		err = answer.RowsJSON(ctx, w)
	case "md":
		err = writeAnswer(ctx, w, answer, "markdown", "")
	default:
		err = writeAnswer(ctx, w, answer, q.Format, "")
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer.Certificate)
}
