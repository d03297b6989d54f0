package runner

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/apache/beam/sdks/v2/go/container/tools"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/harness"
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/util/grpcx"
	"google.golang.org/grpc"

	"github.com/millrace/millrace/schemas"
)

// Pool gives workers to engines that ask for them: Beam's EXTERNAL environment. A worker ends when the engine says so or
// its control connection breaks, and everything its DoFns hold ends with it. Concurrency: safe.
type Pool struct {
	fnpb.UnimplementedBeamFnExternalWorkerPoolServer

	listener net.Listener
	server   *grpc.Server
	root     context.Context
	end      context.CancelFunc
	running  sync.WaitGroup
	asked    chan struct{} // closed by the first request for a worker

	mu      sync.Mutex
	workers map[string][]*worker // by the engine's name for it, which is one only within a task manager
}

// worker is one that runs.
type worker struct{ end context.CancelFunc }

// ServeWorkers listens at host:port until Close. Errors: a Problem of kind Environment if the port cannot be had.
func ServeWorkers(ctx context.Context, address string) (*Pool, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, &schemas.Problem{Kind: schemas.Environment, Message: "listen at " + address, Err: err, Hint: "stop what listens there, or choose another port"}
	}
	p := &Pool{listener: listener, server: grpc.NewServer(), asked: make(chan struct{}), workers: map[string][]*worker{}}
	p.root, p.end = context.WithCancel(ctx)
	fnpb.RegisterBeamFnExternalWorkerPoolServer(p.server, p)
	go func() { _ = p.server.Serve(listener) }() // it ends with Close
	return p, nil
}

// Addr is where an engine asks for workers.
func (p *Pool) Addr() string { return p.listener.Addr().String() }

// Close ends the pool and its workers.
func (p *Pool) Close() {
	p.server.Stop()
	p.endWorkers()
}

func (p *Pool) endWorkers() {
	p.mu.Lock() // no worker begins any more
	p.end()
	p.mu.Unlock()
	p.running.Wait()
}

// prismStarts is how long prism may take to ask for the worker of a pipeline that has ended.
const prismStarts = time.Minute

// retire ends the pool's workers, and the pool when its engine, which is prism, will not ask it any more. Prism asks for a
// worker once, also for a pipeline that has been cancelled meanwhile, and ends the process with a panic if nobody answers.
func (p *Pool) retire() {
	p.endWorkers()
	go func() {
		select {
		case <-p.asked:
		case <-time.After(prismStarts):
		}
		p.server.GracefulStop() // the answer is on its way
	}()
}

// StartWorker starts a worker for the engine, in this process.
func (p *Pool) StartWorker(_ context.Context, r *fnpb.StartWorkerRequest) (*fnpb.StartWorkerResponse, error) {
	if r.GetControlEndpoint().GetUrl() == "" || r.GetLoggingEndpoint().GetUrl() == "" {
		return &fnpb.StartWorkerResponse{Error: "a worker needs a control and a logging endpoint"}, nil
	}
	ctx, end := context.WithCancel(grpcx.WriteWorkerID(p.root, r.GetWorkerId()))
	w := &worker{end}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.asked:
	default:
		close(p.asked)
	}
	if p.root.Err() != nil {
		end()
		return &fnpb.StartWorkerResponse{}, nil // its pipeline has ended
	}
	p.workers[r.GetWorkerId()] = append(p.workers[r.GetWorkerId()], w)
	p.running.Go(func() {
		defer p.forget(r.GetWorkerId(), w)
		// What ends it shows at the engine, which is told of every bundle's error.
		_ = harness.MainWithOptions(ctx, r.GetLoggingEndpoint().GetUrl(), r.GetControlEndpoint().GetUrl(), harnessOptions(ctx, r.GetProvisionEndpoint().GetUrl()))
	})
	return &fnpb.StartWorkerResponse{}, nil
}

func (p *Pool) forget(id string, w *worker) {
	w.end()
	p.mu.Lock()
	defer p.mu.Unlock()
	rest := p.workers[id]
	for i := range rest {
		if rest[i] == w {
			rest = append(rest[:i:i], rest[i+1:]...)
			break
		}
	}
	if p.workers[id] = rest; len(rest) == 0 {
		delete(p.workers, id)
	}
}

// StopWorker ends a worker. Two task managers may have given theirs the same name: then it is left to the end of its
// control connection, which comes next.
func (p *Pool) StopWorker(_ context.Context, r *fnpb.StopWorkerRequest) (*fnpb.StopWorkerResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if named := p.workers[r.GetWorkerId()]; len(named) == 1 {
		named[0].end()
	}
	return &fnpb.StopWorkerResponse{}, nil
}

// harnessOptions asks the engine what it can do; without an answer the defaults hold.
func harnessOptions(ctx context.Context, provision string) harness.Options {
	if provision == "" {
		return harness.Options{}
	}
	info, err := tools.ProvisionInfo(ctx, provision)
	if err != nil {
		return harness.Options{}
	}
	return harness.Options{StatusEndpoint: info.GetStatusEndpoint().GetUrl(), RunnerCapabilities: info.GetRunnerCapabilities()}
}

// orphaned is how often a worker that an engine started looks whether the engine is there.
const orphaned = time.Second

// Boot is a worker that an engine has started as a process (Beam's PROCESS environment): it asks the provision service for
// its endpoints, works, and returns when the control connection ends, the engine's process is gone or ctx ends.
func Boot(ctx context.Context, id, provision string) error {
	ctx, end := context.WithCancelCause(grpcx.WriteWorkerID(ctx, id))
	defer end(nil)
	go watchParent(ctx, os.Getppid(), end)
	info, err := tools.ProvisionInfo(ctx, provision)
	if err != nil {
		return &schemas.Problem{Kind: schemas.Environment, Message: "the engine's provision service at " + provision + " does not answer", Err: err,
			Hint: "an engine starts this by itself; `millrace worker` without flags is for people"}
	}
	err = harness.MainWithOptions(ctx, info.GetLoggingEndpoint().GetUrl(), info.GetControlEndpoint().GetUrl(),
		harness.Options{StatusEndpoint: info.GetStatusEndpoint().GetUrl(), RunnerCapabilities: info.GetRunnerCapabilities()})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// watchParent ends a worker whose engine was killed: nobody would end it else.
func watchParent(ctx context.Context, parent int, end context.CancelCauseFunc) {
	tick := time.NewTicker(orphaned)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if now := os.Getppid(); now != parent {
				end(fmt.Errorf("the engine, process %d, is gone", parent))
				return
			}
		}
	}
}
