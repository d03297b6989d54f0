// Package runner submits Beam pipelines and waits for their end. Prism, the Beam runner in Go, runs them in this process:
// its job server is started once, at a free port of the loopback interface, and each pipeline gets a worker of its own.
// Prism and the SDK log to slog's default logger, much of it when a pipeline is cancelled; what a pipeline failed with is
// in Run's error.
package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/resource"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/extworker"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/runnerlib"
	"google.golang.org/protobuf/types/known/structpb"
)

// ending is how long a cancelled pipeline may take to end.
const ending = 5 * time.Second

// Run submits a pipeline under a name and returns when it is done. When ctx ends the pipeline is cancelled, and the
// context's error returned. Concurrency: safe. Errors: the text of the DoFn's error that failed the pipeline.
func Run(ctx context.Context, p *beam.Pipeline, name string) error {
	client, err := server()
	if err != nil {
		return fmt.Errorf("run %s: start prism: %w", name, err)
	}
	// The worker outlives ctx, so that a pipeline that is cancelled ends in order.
	worker, err := extworker.StartLoopback(context.WithoutCancel(ctx), 0)
	if err != nil {
		return fmt.Errorf("run %s: start a worker: %w", name, err)
	}
	defer func() { _ = worker.Stop(context.WithoutCancel(ctx)) }() // it does not fail
	id, err := submit(ctx, client, p, name, worker)
	if err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	stop := context.AfterFunc(ctx, func() {
		// An error shows in the job's state, which wait reads.
		_, _ = client.Cancel(context.WithoutCancel(ctx), &jobpb.CancelJobRequest{JobId: id})
	})
	defer stop()
	if err := wait(ctx, client, id); err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	return nil
}

// submit hands the pipeline to the job server and returns the job's id.
func submit(ctx context.Context, client jobpb.JobServiceClient, p *beam.Pipeline, name string, worker *extworker.Loopback) (string, error) {
	edges, _, err := p.Build()
	if err != nil {
		return "", fmt.Errorf("build: %w", err)
	}
	env, err := graphx.CreateEnvironment(ctx, graphx.URNEnvExternal, worker.EnvironmentConfig)
	if err != nil {
		return "", err
	}
	proto, err := graphx.Marshal(edges, &graphx.Options{Environment: env, PipelineResourceHints: resource.NewHints()})
	if err != nil {
		return "", fmt.Errorf("marshal: %w", err)
	}
	binary, err := emptyBinary(proto)
	if err != nil {
		return "", err
	}
	defer os.Remove(binary)
	options, err := structpb.NewStruct(map[string]any{
		"beam:option:app_name:v1":    name,
		"beam:option:go_options:v1":  map[string]any{"options": map[string]any{}},
		"beam:option:experiments:v1": []any{"beam_fn_api"},
	})
	if err != nil {
		return "", err
	}
	prepared, err := client.Prepare(ctx, &jobpb.PrepareJobRequest{Pipeline: proto, PipelineOptions: options, JobName: name})
	if err != nil {
		return "", fmt.Errorf("prepare: %w", err)
	}
	token, err := runnerlib.Stage(ctx, prepared.PreparationId, prepared.GetArtifactStagingEndpoint().GetUrl(), binary, prepared.StagingSessionToken)
	if err != nil {
		return "", fmt.Errorf("stage: %w", err)
	}
	started, err := client.Run(ctx, &jobpb.RunJobRequest{PreparationId: prepared.PreparationId, RetrievalToken: token})
	if err != nil {
		return "", fmt.Errorf("start: %w", err)
	}
	return started.JobId, nil
}

// emptyBinary is the worker binary a job must name: the worker is this process, so nothing needs to be sent.
func emptyBinary(proto *pipepb.Pipeline) (string, error) {
	f, err := os.CreateTemp("", "millrace-worker-*")
	if err != nil {
		return "", err
	}
	if err := errors.Join(f.Close(), runnerlib.UpdateGoEnvironmentWorker(f.Name(), proto)); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// wait follows a job to its end.
func wait(ctx context.Context, client jobpb.JobServiceClient, id string) error {
	messages, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(ending, cancel) })()
	stream, err := client.GetMessageStream(messages, &jobpb.JobMessagesRequest{JobId: id})
	if err != nil {
		return err
	}
	why, failed := "", false
	for {
		m, err := stream.Recv()
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, io.EOF) {
			return errors.New("the job's messages ended without its error: " + why)
		}
		if err != nil {
			return err
		}
		if text := m.GetMessageResponse(); text.GetImportance() >= jobpb.JobMessage_JOB_MESSAGE_ERROR {
			why = text.GetMessageText()
		}
		switch m.GetStateResponse().GetState() {
		case jobpb.JobState_DONE, jobpb.JobState_DRAINED:
			return ctx.Err()
		case jobpb.JobState_CANCELLED:
			return cmp.Or(ctx.Err(), errors.New("the job was cancelled"))
		case jobpb.JobState_FAILED:
			failed = true
		}
		if failed && ctx.Err() != nil {
			return ctx.Err()
		}
		if failed && why != "" { // the two come in either order
			return errors.New(cause(why))
		}
	}
}

// cause is the innermost of the errors that the SDK has wrapped in descriptions of its plan.
func cause(text string) string {
	const mark = "caused by:"
	if i := strings.LastIndex(text, mark); i >= 0 {
		text = text[i+len(mark):]
	}
	return strings.TrimSpace(text)
}

// server is prism's job service in this process.
var server = sync.OnceValues(func() (jobpb.JobServiceClient, error) {
	return prism.CreateJobServer(context.Background(), prism.Options{})
})
