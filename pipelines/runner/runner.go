package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/millrace/millrace/schemas"
)

// ending is how long a cancelled pipeline may take to end.
const ending = 25 * time.Second

// Stopped is the error of a pipeline that somebody has ended at the engine: it did not fail, and nobody should start it
// again unasked.
type Stopped struct {
	State     string // cancelled or drained
	Savepoint string // where its state is, if Flink kept it
}

func (s *Stopped) Error() string {
	if s.Savepoint != "" {
		return "the pipeline was " + s.State + " at the engine; its state is in " + s.Savepoint
	}
	return "the pipeline was " + s.State + " at the engine"
}

// Run submits a pipeline and returns when it is done. When ctx ends the pipeline is cancelled, and the context's error
// returned. One that follows a log cancels an older job of its name at Flink first. Concurrency: safe. Errors: the error of the
// DoFn that failed the pipeline; a *Stopped; a Problem of kind Environment if the engine is out of reach.
func Run(ctx context.Context, p *beam.Pipeline, o Options) error {
	if err := run(ctx, p, &o); err != nil {
		return fmt.Errorf("run %s: %w", o.Name, err)
	}
	return nil
}

func run(ctx context.Context, p *beam.Pipeline, o *Options) error {
	conn, err := o.Engine.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var flink *rest
	var before map[string]bool
	if o.Engine.Rest != "" {
		flink = newRest(o.Engine.Rest)
		if before, err = flink.makeRoom(ctx, o); err != nil {
			return err
		}
	}
	env, release, err := o.Engine.environment(ctx)
	if err != nil {
		return err
	}
	defer release()
	j := &job{client: conn.client, flink: flink, before: before, o: o}
	if j.id, err = submit(ctx, conn.client, p, o, env); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	return j.follow(ctx)
}

// connection is a client of a Beam job server.
type connection struct {
	client jobpb.JobServiceClient
	conn   *grpc.ClientConn // nil: the server is in this process
}

// Close ends it.
func (c *connection) Close() {
	if c.conn != nil {
		_ = c.conn.Close() // nothing is under way
	}
}

// reach is how long an engine may take to answer.
const reach = 10 * time.Second

// connect reaches the engine's job server.
func (e *Engine) connect(ctx context.Context) (*connection, error) {
	if !e.Remote() {
		client, err := server()
		if err != nil {
			return nil, fmt.Errorf("start prism: %w", err)
		}
		return &connection{client: client}, nil
	}
	conn, err := grpc.NewClient(e.Endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		return nil, e.unreachable(err)
	}
	c := &connection{jobpb.NewJobServiceClient(conn), conn}
	ctx, cancel := context.WithTimeout(ctx, reach)
	defer cancel()
	if _, err := c.client.GetJobs(ctx, &jobpb.GetJobsRequest{}); err != nil {
		c.Close()
		return nil, e.unreachable(err)
	}
	return c, nil
}

// Check tries the engine's job server, and Flink's REST interface where one is named. Errors: a Problem of kind Environment.
func (e *Engine) Check(ctx context.Context) error {
	conn, err := e.connect(ctx)
	if err != nil {
		return err
	}
	conn.Close()
	if e.Rest == "" {
		return nil
	}
	_, err = newRest(e.Rest).jobs(ctx)
	return err
}

func (e *Engine) unreachable(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("the %s job server at %s does not answer", e.Runner, e.Endpoint), Err: err,
		Hint: "start it, or set endpoint: in millrace.yaml or --endpoint to where Beam's job server listens"}
}

// server is prism's job service in this process.
var server = sync.OnceValues(func() (jobpb.JobServiceClient, error) {
	return prism.CreateJobServer(context.Background(), prism.Options{})
})
