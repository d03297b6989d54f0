package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"

	"github.com/millrace/millrace/schemas"
)

// Pipeline is a job at an engine, as the engine tells of it.
type Pipeline struct {
	Name       string         `json:"name"`
	ID         string         `json:"id"`
	Engine     string         `json:"engine"`
	State      string         `json:"state"` // running, restarting, cancelled, finished, failed, ...
	Since      *time.Time     `json:"since,omitempty"`
	Tasks      map[string]int `json:"tasks,omitempty"`
	Restarts   *int           `json:"restarts,omitempty"`
	Checkpoint *time.Time     `json:"checkpoint,omitempty"` // when the last one was complete
	Bytes      int64          `json:"checkpoint_bytes,omitempty"`
	Failure    string         `json:"failure,omitempty"` // the newest
}

// Over says that it will not run again.
func (p *Pipeline) Over() bool {
	switch p.State {
	case "finished", "cancelled", "failed", "done", "drained", "updated":
		return true
	}
	return false
}

// List tells of the project's pipelines at the engine, those that run first, then the newest: Flink's REST interface is asked where there is one, else Beam's job
// service. Errors: a Problem of kind Environment.
func (e *Engine) List(ctx context.Context, project string) ([]Pipeline, error) {
	list := e.listFlink
	if e.Rest == "" {
		list = e.listBeam
	}
	out, err := list(ctx, project)
	slices.SortStableFunc(out, func(a, b Pipeline) int {
		if a.Over() != b.Over() {
			if a.Over() {
				return 1
			}
			return -1
		}
		if a.Since == nil || b.Since == nil {
			return 0
		}
		return b.Since.Compare(*a.Since)
	})
	return out, err
}

func (e *Engine) listFlink(ctx context.Context, project string) ([]Pipeline, error) {
	r := newRest(e.Rest)
	all, err := r.jobs(ctx)
	if err != nil {
		return nil, err
	}
	out := []Pipeline{}
	for _, j := range all {
		name, ours := strings.CutSuffix(j.Name, suffix(project))
		if !ours {
			continue
		}
		p := Pipeline{Name: name, ID: j.ID, Engine: Flink, State: stateOf(j.State), Since: clock(j.Start), Tasks: map[string]int{}}
		for state, n := range j.Tasks {
			if n > 0 {
				p.Tasks[state] = n
			}
		}
		if err := r.detail(ctx, &p); err != nil && !errors.Is(err, errGone) {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// detail adds what only a question about the one job tells.
func (r *rest) detail(ctx context.Context, p *Pipeline) error {
	kept, err := r.checkpoints(ctx, p.ID)
	if err != nil {
		return err
	}
	if c := kept.Latest.Completed; c != nil {
		p.Checkpoint, p.Bytes = clock(c.At), c.Bytes
	}
	why, _, err := r.failure(ctx, p.ID)
	if err != nil {
		return err
	}
	if why != "" {
		p.Failure = reason(why).Error()
	}
	if p.Over() {
		return nil
	}
	text, err := r.restarts(ctx, p.ID)
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(text); err == nil {
		p.Restarts = &n
	}
	return nil
}

func stateOf(flink string) string {
	if flink == "CANCELED" {
		return "cancelled"
	}
	return strings.ToLower(flink)
}

func clock(millis int64) *time.Time {
	if millis <= 0 {
		return nil
	}
	at := time.UnixMilli(millis).UTC()
	return &at
}

func (e *Engine) listBeam(ctx context.Context, project string) ([]Pipeline, error) {
	conn, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	all, err := conn.client.GetJobs(ctx, &jobpb.GetJobsRequest{})
	if err != nil {
		return nil, e.unreachable(err)
	}
	out := []Pipeline{}
	for _, j := range all.GetJobInfo() {
		// The job server puts a random part behind the name.
		name, _, ours := strings.Cut(j.GetJobName(), suffix(project))
		if !ours {
			continue
		}
		p := Pipeline{Name: name, ID: j.GetJobId(), Engine: e.Runner, State: strings.ToLower(j.GetState().String())}
		if now, err := conn.client.GetState(ctx, &jobpb.GetJobStateRequest{JobId: j.GetJobId()}); err == nil {
			p.State = strings.ToLower(now.GetState().String())
			if t := now.GetTimestamp(); t != nil {
				p.Since = clock(t.AsTime().UnixMilli())
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// Cancel ends a pipeline and returns when the engine says that it has ended.
func (e *Engine) Cancel(ctx context.Context, p *Pipeline) error {
	if e.Rest != "" {
		state, err := newRest(e.Rest).end(ctx, p.ID)
		p.State = stateOf(state)
		return err
	}
	if e.Runner == Flink {
		return needsRest("cancel a pipeline")
	}
	conn, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := conn.client.Cancel(ctx, &jobpb.CancelJobRequest{JobId: p.ID})
	if err != nil {
		return e.unreachable(err)
	}
	p.State = strings.ToLower(answer.GetState().String())
	return nil
}

// Drain stops a pipeline with a savepoint, under the folder if one is given, and says where that is.
func (e *Engine) Drain(ctx context.Context, p *Pipeline, folder string) (string, error) {
	if e.Rest == "" {
		return "", needsRest("drain a pipeline")
	}
	r := newRest(e.Rest)
	body := map[string]any{"drain": false}
	if folder != "" {
		body["targetDirectory"] = folder
	}
	at, err := r.savepoint(ctx, p.ID, "/stop", body)
	if err != nil {
		return "", err
	}
	state, err := r.awaitEnd(ctx, p.ID)
	p.State = stateOf(state)
	return at, err
}

// Savepoint keeps a pipeline's state, which runs on, and says where.
func (e *Engine) Savepoint(ctx context.Context, p *Pipeline, folder string) (string, error) {
	if e.Rest == "" {
		return "", needsRest("make a savepoint")
	}
	body := map[string]any{"cancel-job": false}
	if folder != "" {
		body["target-directory"] = folder
	}
	return newRest(e.Rest).savepoint(ctx, p.ID, "/savepoints", body)
}

func needsRest(what string) error {
	return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("only Flink's REST interface can %s: Beam's job service says that it did, and the job goes on", what),
		Hint: "write rest: host:port under engine: in millrace.yaml, or add --rest; an embedded job server has none, and stops its jobs when it is stopped"}
}
