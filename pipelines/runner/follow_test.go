package runner

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"
	"google.golang.org/grpc"
)

// silent is a job server that says nothing of its jobs, as Beam's does while Flink runs one.
type silent struct{ jobpb.JobServiceClient }

type silentStream struct {
	jobpb.JobService_GetMessageStreamClient
	ctx context.Context
}

func (silent) GetMessageStream(ctx context.Context, _ *jobpb.JobMessagesRequest, _ ...grpc.CallOption) (jobpb.JobService_GetMessageStreamClient, error) {
	return silentStream{ctx: ctx}, nil
}

func (s silentStream) Recv() (*jobpb.JobMessagesResponse, error) {
	<-s.ctx.Done()
	return nil, s.ctx.Err()
}

// Whenever the context ends, also in the midst of a look at Flink, the job there is cancelled before follow returns.
func TestWhoEndsCancels(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{0, look - time.Millisecond, look, look + 5*time.Millisecond, 2*look - time.Millisecond, 2 * look} {
		t.Run(after.String(), func(t *testing.T) {
			t.Parallel()
			o := &Options{Name: "speed-t", Project: "here", Streaming: true, Engine: Engine{Runner: Flink}}
			var cancelled atomic.Bool
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(2 * time.Millisecond)
				if r.Method == http.MethodPatch {
					cancelled.Store(true)
				}
				state := "RUNNING"
				if cancelled.Load() {
					state = "CANCELED"
				}
				_ = json.NewEncoder(w).Encode(map[string]any{"jobs": []flinkJob{{ID: "j", Name: o.job(), State: state}}, "state": state})
			}))
			t.Cleanup(server.Close)
			ctx, end := context.WithTimeout(t.Context(), after)
			defer end()
			j := &job{client: silent{}, flink: newRest(server.URL), o: o}
			if err := j.follow(ctx); !errors.Is(err, context.DeadlineExceeded) || !cancelled.Load() {
				t.Errorf("follow gives %v, and the job is cancelled: %v", err, cancelled.Load())
			}
		})
	}
}
