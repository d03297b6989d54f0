package serving

import (
	"context"

	"github.com/millrace/millrace/pipelines/versions"
)

// keep has the store keep the definitions that the question's certificate names, so that it can be answered again after the
// project's files have changed. An answer does not wait for a store that takes no files.
func (q *question) keep(ctx context.Context) {
	once := func(kind, name, hash string, keep func() error) {
		if _, known := q.server.kept.Load(hash); known {
			return
		}
		switch err := keep(); {
		case err == nil:
			q.server.kept.Store(hash, true)
		case ctx.Err() == nil && q.server.opts.Warn != nil:
			q.server.opts.Warn("this definition is not kept: after it was edited, a certificate that names it cannot be answered again", kind, name, "error", err)
		}
	}
	for name := range q.views {
		v := q.defs.Views[name]
		once("view", name, v.Definition, func() error { return versions.KeepView(ctx, q.server.store, v) })
	}
	for name, p := range q.pins {
		once("topic", name, p.topic.Hash(), func() error { return versions.KeepTopic(ctx, q.server.store, p.topic) })
	}
}
