package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
)

// environment says where the pipeline's workers are; release ends those of this process.
func (e *Engine) environment(ctx context.Context) (env *pipepb.Environment, release func(), err error) {
	urn, config, release := graphx.URNEnvExternal, e.Worker, func() {}
	path, process := strings.CutPrefix(e.Worker, Process)
	switch {
	case !e.Remote() || e.Worker == "":
		// The worker outlives ctx, so that a pipeline that is cancelled ends in order.
		pool, err := ServeWorkers(context.WithoutCancel(ctx), "localhost:0")
		if err != nil {
			return nil, nil, fmt.Errorf("start a worker: %w", err)
		}
		if config, release = pool.Addr(), pool.Close; !e.Remote() {
			release = pool.retire
		}
	case process:
		urn, path = graphx.URNEnvProcess, strings.TrimPrefix(path, ":")
		if path == "" {
			if path, err = os.Executable(); err != nil {
				return nil, nil, fmt.Errorf("find the worker's binary: %w", err)
			}
		}
		text, err := json.Marshal(map[string]any{"command": path})
		if err != nil {
			return nil, nil, err
		}
		config = string(text)
	}
	env, err = graphx.CreateEnvironment(ctx, urn, func(context.Context) string { return config })
	if err != nil {
		release()
		return nil, nil, err
	}
	env.Dependencies = nil // no binary is sent; and prism keeps those of two jobs in one map, which it does not lock
	return env, release, nil
}
