package runner_test

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/pipelines/runner"
)

func init() {
	beam.RegisterType(reflect.TypeFor[restFn]())
	register.DoFn2x0[context.Context, []byte](&restFn{})
}

// restFn waits for its worker's end.
type restFn struct{}

// ProcessElement waits.
func (restFn) ProcessElement(ctx context.Context, _ []byte) {
	select {
	case <-ctx.Done():
	case <-time.After(50 * time.Millisecond):
	}
}

// Prism ends the process with a panic if it does not reach the pool when it starts a pipeline's worker, and it starts one
// also for a pipeline that has just been cancelled.
func TestCancelledWhileItStarts(t *testing.T) {
	for i := range 60 {
		p, s := beam.NewPipelineWithRoot()
		beam.ParDo0(s, &restFn{}, beam.Reshuffle(s, beam.Impulse(s)))
		ctx, cancel := context.WithCancel(t.Context())
		timer := time.AfterFunc(time.Duration(i)*300*time.Microsecond, cancel)
		_ = runner.Run(ctx, p, runner.Options{Name: "starts"}) // cancelled at another moment each time, or done
		timer.Stop()
		cancel()
	}
	time.Sleep(100 * time.Millisecond) // for the last to panic
}

// Prism keeps the binaries of all pipelines in one map, which it does not lock.
func TestSideBySide(t *testing.T) {
	var together errgroup.Group
	for range 60 {
		together.Go(func() error {
			p, s := beam.NewPipelineWithRoot()
			beam.ParDo0(s, &restFn{}, beam.Impulse(s))
			return runner.Run(t.Context(), p, runner.Options{Name: "beside"})
		})
	}
	if err := together.Wait(); err != nil {
		t.Error(err)
	}
}
