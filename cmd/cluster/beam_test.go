//go:build engines

package cluster

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/graphx"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/resource"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/extworker"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal/runnerlib"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"
)

func init() {
	register.Function1x2(remainder)
	register.Function2x0(report)
	register.Iter1[int]()
}

// What the pipeline's functions tell the test, which is also its worker.
var worker struct {
	sync.Mutex
	meanwhile func() // done once, while the pipeline runs
	sums      map[int]int
}

func remainder(n int) (int, int) {
	worker.Lock()
	defer worker.Unlock()
	if worker.meanwhile != nil {
		worker.meanwhile()
		worker.meanwhile = nil
	}
	return n % 3, n
}

func report(key int, numbers func(*int) bool) {
	sum, n := 0, 0
	for numbers(&n) {
		sum += n
	}
	worker.Lock()
	defer worker.Unlock()
	worker.sums[key] = sum
}

func TestMain(m *testing.M) {
	flag.Parse()
	beam.Init()
	os.Exit(m.Run())
}

// runJob runs a pipeline of two stages on an engine, with this process as the worker, and holds it to its result.
func runJob(ctx context.Context, t *testing.T, endpoint string, meanwhile func()) {
	t.Helper()
	worker.Lock()
	worker.meanwhile, worker.sums = meanwhile, map[int]int{}
	worker.Unlock()
	var numbers []int
	for i := range 100 {
		numbers = append(numbers, i)
	}
	p, s := beam.NewPipelineWithRoot()
	beam.ParDo0(s, report, beam.GroupByKey(s, beam.ParDo(s, remainder, beam.Reshuffle(s, beam.CreateList(s, numbers)))))
	if err := submit(ctx, t, p, endpoint); err != nil {
		t.Fatal(err)
	}
	worker.Lock()
	defer worker.Unlock()
	if want := fmt.Sprint(map[int]int{0: 1683, 1: 1617, 2: 1650}); fmt.Sprint(worker.sums) != want {
		t.Errorf("the sums are %v, want %v", worker.sums, want)
	}
	if worker.meanwhile != nil {
		t.Error("nothing was looked at while the pipeline ran")
	}
}

func submit(ctx context.Context, t *testing.T, p *beam.Pipeline, endpoint string) error {
	t.Helper()
	edges, _, err := p.Build()
	if err != nil {
		return err
	}
	pool, err := extworker.StartLoopback(ctx, 0)
	if err != nil {
		return err
	}
	defer pool.Stop(ctx)
	env, err := graphx.CreateEnvironment(ctx, graphx.URNEnvExternal, pool.EnvironmentConfig)
	if err != nil {
		return err
	}
	proto, err := graphx.Marshal(edges, &graphx.Options{Environment: env, PipelineResourceHints: resource.NewHints()})
	if err != nil {
		return err
	}
	binary := filepath.Join(t.TempDir(), "worker")
	if err := os.WriteFile(binary, nil, 0o600); err != nil {
		return err
	}
	if err := runnerlib.UpdateGoEnvironmentWorker(binary, proto); err != nil {
		return err
	}
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := jobpb.NewJobServiceClient(conn)
	options, err := structpb.NewStruct(map[string]any{"beam:option:go_options:v1": map[string]any{"options": map[string]any{}}, "beam:option:app_name:v1": "test",
		"beam:option:experiments:v1": []any{"beam_fn_api"}, "beam:option:parallelism:v1": 2})
	if err != nil {
		return err
	}
	prepared, err := client.Prepare(ctx, &jobpb.PrepareJobRequest{Pipeline: proto, PipelineOptions: options, JobName: "test"})
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	token, err := runnerlib.Stage(ctx, prepared.PreparationId, prepared.GetArtifactStagingEndpoint().GetUrl(), binary, prepared.StagingSessionToken)
	if err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	started, err := client.Run(ctx, &jobpb.RunJobRequest{PreparationId: prepared.PreparationId, RetrievalToken: token})
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	states, err := client.GetStateStream(ctx, &jobpb.GetJobStateRequest{JobId: started.JobId})
	if err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	last := jobpb.JobState_UNSPECIFIED
	for {
		event, err := states.Recv()
		if err == io.EOF && last == jobpb.JobState_DONE {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the job is %v: %w", last, err)
		}
		if last = event.State; last == jobpb.JobState_DONE {
			return nil
		}
	}
}
