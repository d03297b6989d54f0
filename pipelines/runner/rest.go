package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/millrace/millrace/schemas"
)

// rest is a client of Flink's REST interface.
type rest struct {
	base string
	http http.Client
}

func newRest(address string) *rest {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	return &rest{base: strings.TrimSuffix(address, "/"), http: http.Client{Timeout: reach}}
}

// errGone is the answer for a job that Flink does not know.
var errGone = errors.New("Flink does not know the job")

// errOver is the answer for a job that has ended by itself.
var errOver = errors.New("the job has ended already")

// ask sends a request and reads the JSON answer into out, which may be nil. Errors: errGone, errOver; a Problem of kind Environment.
func (r *rest) ask(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, r.base+path, body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := r.http.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return r.unreachable(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return r.unreachable(err)
	case answer.StatusCode == http.StatusNotFound:
		return errGone
	case answer.StatusCode == http.StatusConflict:
		return errOver
	case answer.StatusCode >= 300:
		var said struct{ Errors []string }
		_ = json.Unmarshal(text, &said) // what cannot be read is left out
		return r.unreachable(fmt.Errorf("%s: %s", answer.Status, cause(strings.Join(said.Errors, " "))))
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return r.unreachable(fmt.Errorf("%s %s: %w", method, path, err))
	}
	return nil
}

func (r *rest) unreachable(err error) error {
	return &schemas.Problem{Kind: schemas.Environment, Message: "Flink's REST interface at " + r.base + " does not do what it is asked", Err: err,
		Hint: "see that the jobmanager runs there, or set rest: under engine: in millrace.yaml"}
}

// flinkJob is a job as Flink lists it.
type flinkJob struct {
	ID    string         `json:"jid"`
	Name  string         `json:"name"`
	State string         `json:"state"`
	Start int64          `json:"start-time"` // milliseconds since 1970
	Tasks map[string]int `json:"tasks"`
}

// over says that the job will not run again.
func (j *flinkJob) over() bool {
	switch j.State {
	case "FINISHED", "CANCELED", "FAILED":
		return true
	}
	return false
}

// jobs lists all jobs, those that are over included.
func (r *rest) jobs(ctx context.Context) ([]flinkJob, error) {
	var all struct{ Jobs []flinkJob }
	err := r.ask(ctx, http.MethodGet, "/jobs/overview", nil, &all)
	return all.Jobs, err
}

// end cancels a job and returns the state that it has ended in. One that is over already is as good as cancelled.
func (r *rest) end(ctx context.Context, id string) (string, error) {
	err := r.ask(ctx, http.MethodPatch, "/jobs/"+id+"?mode=cancel", nil, nil)
	if err != nil && !errors.Is(err, errOver) && !errors.Is(err, errGone) {
		return "", err
	}
	return r.awaitEnd(ctx, id)
}

// state is a job's state. Errors: errGone.
func (r *rest) state(ctx context.Context, id string) (string, error) {
	var j struct{ State string }
	err := r.ask(ctx, http.MethodGet, "/jobs/"+id, nil, &j)
	return j.State, err
}

// failure is the newest exception of a job, and when it was; zero if there was none.
func (r *rest) failure(ctx context.Context, id string) (text string, at int64, err error) {
	var e struct {
		Text    string `json:"root-exception"`
		At      int64  `json:"timestamp"`
		History struct {
			Entries []struct {
				Text string `json:"stacktrace"`
				At   int64  `json:"timestamp"`
			} `json:"entries"`
		} `json:"exceptionHistory"`
	}
	if err := r.ask(ctx, http.MethodGet, "/jobs/"+id+"/exceptions?maxExceptions=1", nil, &e); err != nil {
		return "", 0, err
	}
	if e.Text == "" && len(e.History.Entries) > 0 {
		return e.History.Entries[0].Text, e.History.Entries[0].At, nil
	}
	return e.Text, e.At, nil
}

// checkpoints are what Flink has kept of a job's state.
type checkpoints struct {
	Latest struct {
		Completed *checkpoint `json:"completed"`
		Savepoint *checkpoint `json:"savepoint"`
	} `json:"latest"`
}

type checkpoint struct {
	At    int64  `json:"latest_ack_timestamp"`
	Bytes int64  `json:"state_size"`
	Path  string `json:"external_path"`
}

func (r *rest) checkpoints(ctx context.Context, id string) (c checkpoints, err error) {
	return c, r.ask(ctx, http.MethodGet, "/jobs/"+id+"/checkpoints", nil, &c)
}

// restarts is how often Flink has started a job again.
func (r *rest) restarts(ctx context.Context, id string) (string, error) {
	var m []struct{ Value string }
	if err := r.ask(ctx, http.MethodGet, "/jobs/"+id+"/metrics?get=numRestarts", nil, &m); err != nil || len(m) == 0 {
		return "", err
	}
	return m[0].Value, nil
}

// look is how often REST is asked while something is waited for.
const look = 500 * time.Millisecond

// pause waits a moment.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(look):
		return nil
	}
}

// awaitEnd returns when the job is over.
func (r *rest) awaitEnd(ctx context.Context, id string) (string, error) {
	for {
		state, err := r.state(ctx, id)
		if errors.Is(err, errGone) {
			return "gone", nil
		}
		if j := (&flinkJob{State: state}); err != nil || j.over() {
			return state, err
		}
		if err := pause(ctx); err != nil {
			return "", err
		}
	}
}

// makeRoom cancels the jobs of the name of a pipeline that follows a log: a process that was killed has left them, or another
// process runs the same pipeline, which then ends. Bounded ones end by themselves, and several of a name do no harm: cycles
// that cancelled each other might none of them get to an end. It returns the ids of all that there were.
func (r *rest) makeRoom(ctx context.Context, o *Options) (map[string]bool, error) {
	all, err := r.jobs(ctx)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, j := range all {
		known[j.ID] = true
		if !o.Streaming || j.Name != o.job() || j.over() {
			continue
		}
		o.logger().WarnContext(ctx, "an older job of this pipeline ran at Flink and is cancelled", "pipeline", o.Name, "job", j.ID)
		if _, err := r.end(ctx, j.ID); err != nil {
			return nil, err
		}
	}
	return known, nil
}

// savepoint asks for one, under a path of the job, and waits for it. It returns where it is.
func (r *rest) savepoint(ctx context.Context, id, path string, body map[string]any) (string, error) {
	var started struct {
		Request string `json:"request-id"`
	}
	if err := r.ask(ctx, http.MethodPost, "/jobs/"+id+path, body, &started); err != nil {
		return "", err
	}
	for {
		var got struct {
			Status    struct{ ID string } `json:"status"`
			Operation struct {
				Location string         `json:"location"`
				Failure  map[string]any `json:"failure-cause"`
			} `json:"operation"`
		}
		if err := r.ask(ctx, http.MethodGet, "/jobs/"+id+"/savepoints/"+started.Request, nil, &got); err != nil {
			return "", err
		}
		if got.Operation.Failure != nil {
			text, _ := got.Operation.Failure["stack-trace"].(string)
			return "", &schemas.Problem{Kind: schemas.Environment, Message: "Flink made no savepoint", Err: errors.New(cause(text)),
				Hint: "the pipeline runs on; see that state.savepoints.dir in Flink's configuration is a folder that every machine of it can write"}
		}
		if got.Status.ID == "COMPLETED" {
			return got.Operation.Location, nil
		}
		if err := pause(ctx); err != nil {
			return "", err
		}
	}
}
