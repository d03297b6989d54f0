package views

import (
	"errors"
	"sync"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/expand"
)

// Compiler compiles views and checks queries, with a DuckDB of its own. It reads no file except through LoadReference.
// Concurrency: safe; calls run one at a time.
type Compiler struct {
	mu      sync.Mutex
	duck    *engine.Conn
	builtin *Macros // those that every project has
}

// Open starts the engine. The caller closes it. Errors: *schemas.Problem of kind Environment.
func Open() (*Compiler, error) {
	duck, err := engine.Open()
	if err != nil {
		return nil, err
	}
	c := &Compiler{duck: duck}
	if c.builtin, err = expand.Builtin(duck, c.checkBody); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Close ends the engine.
func (c *Compiler) Close() error { return c.duck.Close() }
