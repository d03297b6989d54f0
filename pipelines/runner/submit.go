package runner

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	pipepb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/pipeline_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/resource"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/runnerlib"
	"google.golang.org/protobuf/types/known/structpb"
)

// submit hands the pipeline to the job server and returns the job's id.
func submit(ctx context.Context, client jobpb.JobServiceClient, p *beam.Pipeline, o *Options, env *pipepb.Environment) (string, error) {
	edges, _, err := p.Build()
	if err != nil {
		return "", fmt.Errorf("build: %w", err)
	}
	proto, err := graphx.Marshal(edges, &graphx.Options{Environment: env, PipelineResourceHints: resource.NewHints()})
	if err != nil {
		return "", fmt.Errorf("marshal: %w", err)
	}
	options, err := o.pipelineOptions()
	if err != nil {
		return "", err
	}
	prepared, err := client.Prepare(ctx, &jobpb.PrepareJobRequest{Pipeline: proto, PipelineOptions: options, JobName: o.job()})
	if err != nil {
		return "", fmt.Errorf("prepare: %w", err)
	}
	token, err := stage(ctx, prepared)
	if err != nil {
		return "", fmt.Errorf("stage: %w", err)
	}
	// A request that is cut short leaves a job that nobody knows of, so the answer is waited for.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(ending, stop) })()
	started, err := client.Run(running, &jobpb.RunJobRequest{PreparationId: prepared.PreparationId, RetrievalToken: token})
	if err != nil {
		return "", fmt.Errorf("start: %w", err)
	}
	return started.JobId, nil
}

// stage tells the engine that there is nothing to send: workers are millrace processes. Beam's own goes on for ten seconds after
// ctx has ended.
func stage(ctx context.Context, prepared *jobpb.PrepareJobResponse) (token string, err error) {
	staged := make(chan struct{})
	var got string
	var failed error
	go func() {
		defer close(staged)
		got, failed = runnerlib.Stage(ctx, prepared.GetPreparationId(), prepared.GetArtifactStagingEndpoint().GetUrl(), "", prepared.GetStagingSessionToken())
	}()
	select {
	case <-staged:
		return got, cmp.Or(ctx.Err(), failed)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (o *Options) pipelineOptions() (*structpb.Struct, error) {
	all := map[string]any{
		option("app_name"):    o.job(),
		option("job_name"):    o.job(),
		option("go_options"):  map[string]any{"options": map[string]any{}},
		option("experiments"): []any{"beam_fn_api"},
	}
	for name, value := range o.settings() {
		all[option(name)] = value
	}
	return structpb.NewStruct(all)
}
