package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	jobpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/jobmanagement_v1"

	"github.com/millrace/millrace/pipelines/carry"
	"github.com/millrace/millrace/schemas"
)

// job is a submitted pipeline.
type job struct {
	client jobpb.JobServiceClient
	id     string // at the job server
	o      *Options

	flink   *rest // nil: there is no REST to ask
	before  map[string]bool
	flown   string    // the job's id at Flink, empty until it is known
	failed  int64     // when the failure was that was told last
	failing int64     // when the first was of those that follow each other
	weighed time.Time // when the checkpoint's size was looked at
}

// told is one message of the job server, or the end of them.
type told struct {
	m   *jobpb.JobMessagesResponse
	err error
}

// stateMax is how large a checkpoint may get. Beam's Flink runner keeps a name for each time that a source has handed back
// what it has not read (apache/beam#27648), some 6 KB, for as long as the job lives.
const stateMax = 64 << 20

// weighing is how often a checkpoint's size is looked at.
const weighing = time.Minute

// patience is how long REST may be silent before the job is given up.
const patience = 20 * time.Second

// Failures that are less than apart from each other are one trouble, of which a bounded job is given up after failingMax.
const (
	apart      = 20 * time.Second
	failingMax = time.Minute
)

// follow waits for the job's end; when ctx ends it cancels the job first.
func (j *job) follow(ctx context.Context) error {
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	waiting := life // for the job server's word that it is cancelled
	if j.flink != nil {
		waiting = ctx // what is known of the job at Flink is then cancelFlown's
	}
	ended := make(chan error, 1)
	go func() { ended <- j.wait(waiting) }()
	select {
	case err := <-ended:
		if ctx.Err() == nil {
			return err
		}
		ended <- err
	case <-ctx.Done():
	}
	life, done := context.WithTimeout(life, ending)
	defer done()
	if j.flink == nil {
		// An error shows in the job's state, which wait reads.
		_, _ = j.client.Cancel(life, &jobpb.CancelJobRequest{JobId: j.id})
		select {
		case <-ended:
		case <-life.Done():
		}
		if j.o.Engine.Runner == Flink && j.o.Engine.Worker != "" {
			j.o.logger().WarnContext(life, "without Flink's REST interface nobody can cancel its jobs: this one may run on until the job server is stopped", "pipeline", j.o.Name)
		}
		return ctx.Err()
	}
	<-ended
	if err := j.cancelFlown(life); err != nil {
		j.o.logger().WarnContext(life, "the job could not be cancelled; `millrace pipelines list` shows whether it runs", "pipeline", j.o.Name, "error", err)
	}
	return ctx.Err()
}

// cancelFlown cancels the job at Flink and waits until it has ended. One that the job server is still submitting appears
// there first.
func (j *job) cancelFlown(ctx context.Context) error {
	for j.flown == "" {
		if err := j.find(ctx); err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	_, err := j.flink.end(ctx, j.flown)
	return err
}

// find looks for the job at Flink.
func (j *job) find(ctx context.Context) error {
	all, err := j.flink.jobs(ctx)
	if err != nil {
		return err
	}
	for _, f := range all {
		if f.Name == j.o.job() && !j.before[f.ID] {
			j.flown = f.ID
		}
	}
	return nil
}

// wait follows the job by the server's messages and, where there is one, by Flink's REST interface, which is believed.
func (j *job) wait(ctx context.Context) error {
	messages := make(chan told)
	stream, err := j.client.GetMessageStream(ctx, &jobpb.JobMessagesRequest{JobId: j.id})
	if err != nil {
		return err
	}
	go func() {
		for {
			m, err := stream.Recv()
			select {
			case messages <- told{m, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	var looks <-chan time.Time
	if j.flink != nil {
		tick := time.NewTicker(look)
		defer tick.Stop()
		looks = tick.C
	}
	why, state, silent := "", jobpb.JobState_UNSPECIFIED, time.Now()
	for {
		select {
		case got := <-messages:
			if got.err != nil {
				if j.flown != "" { // REST goes on
					messages = nil
					continue
				}
				if errors.Is(got.err, io.EOF) {
					return errors.New("the job's messages ended without its error: " + why)
				}
				return j.o.Engine.unreachable(got.err)
			}
			if text := got.m.GetMessageResponse(); text.GetImportance() >= jobpb.JobMessage_JOB_MESSAGE_ERROR {
				why = text.GetMessageText()
			}
			if s := got.m.GetStateResponse(); s != nil {
				state = s.GetState()
			}
			if j.flown != "" {
				continue
			}
			if over, err := j.ended(state, why); over {
				return err
			}
		case <-looks:
			over, err := j.look(ctx)
			if over {
				return err
			}
			if err == nil {
				silent = time.Now()
			} else if time.Since(silent) > patience {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ended says whether the job server's last words end the job, and how.
func (j *job) ended(state jobpb.JobState_Enum, why string) (over bool, err error) {
	switch state {
	case jobpb.JobState_DONE, jobpb.JobState_DRAINED:
		return true, nil
	case jobpb.JobState_CANCELLED:
		return true, &Stopped{State: "cancelled"}
	case jobpb.JobState_FAILED:
		if why != "" { // the state and the reason come in either order
			return true, reason(why)
		}
	}
	return false, nil
}

// look asks Flink for the job's state.
func (j *job) look(ctx context.Context) (over bool, err error) {
	if j.flown == "" {
		return false, j.find(ctx)
	}
	state, err := j.flink.state(ctx, j.flown)
	switch {
	case errors.Is(err, errGone):
		return true, &schemas.Problem{Kind: schemas.Environment, Message: "Flink does not know the job any more", Hint: "its jobmanager was started again; so is the pipeline"}
	case err != nil:
		return false, err
	}
	switch state {
	case "FINISHED":
		if !j.o.Streaming {
			return true, nil
		}
		kept, err := j.flink.checkpoints(ctx, j.flown)
		if err != nil || kept.Latest.Savepoint == nil {
			return true, err
		}
		return true, &Stopped{State: "drained", Savepoint: kept.Latest.Savepoint.Path}
	case "CANCELED":
		return true, &Stopped{State: "cancelled"}
	}
	why, at, err := j.flink.failure(ctx, j.flown)
	if err != nil {
		return false, err
	}
	if state == "FAILED" {
		return true, reason(why)
	}
	if err := j.weigh(ctx); err != nil {
		return true, err
	}
	return j.again(ctx, why, at)
}

// again tells of a failure that Flink starts the job again after. A bounded job is given up when nothing else comes of it:
// how often Flink tries is its own configuration's matter, and it may be for ever.
func (j *job) again(ctx context.Context, why string, at int64) (over bool, err error) {
	if at <= j.failed {
		return false, nil
	}
	if time.Duration(at-j.failed)*time.Millisecond > apart {
		j.failing = at
	}
	j.failed = at
	err = j.o.Engine.hinted(reason(why))
	if !j.o.Streaming && time.Duration(at-j.failing)*time.Millisecond > failingMax {
		if err := j.cancelFlown(ctx); err != nil {
			return true, err
		}
		return true, err
	}
	j.o.logger().WarnContext(ctx, "Flink starts the pipeline again from its last checkpoint", "pipeline", j.o.Name, "error", err)
	return false, nil
}

// hinted adds what to do where the engine reaches no worker.
func (e *Engine) hinted(err error) error {
	if schemas.KindOf(err) == schemas.Environment || !strings.Contains(err.Error(), "ConnectException") {
		return err
	}
	if e.Worker == "" || strings.HasPrefix(e.Worker, Process) {
		return err
	}
	return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("%s reaches no worker at %s", e.Runner, e.Worker), Err: err,
		Hint: "start `millrace worker --listen " + e.Worker + "` on each machine of it, or set worker: under engine: in millrace.yaml"}
}

// weigh ends a job whose checkpoints have grown too large: whoever started it starts it anew.
func (j *job) weigh(ctx context.Context) error {
	if !j.o.Streaming || time.Since(j.weighed) < weighing {
		return nil
	}
	j.weighed = time.Now()
	kept, err := j.flink.checkpoints(ctx, j.flown)
	if err != nil || kept.Latest.Completed == nil || kept.Latest.Completed.Bytes < stateMax {
		return nil // it is looked at again
	}
	if err := j.cancelFlown(ctx); err != nil {
		return err
	}
	return fmt.Errorf("its checkpoints at Flink have grown to %d MiB", kept.Latest.Completed.Bytes>>20)
}

// reason is the error that an engine's text tells of.
func reason(text string) error {
	if err := carry.Unpack(text); err != nil {
		return err
	}
	return errors.New(cause(text))
}

// cause is the innermost of the errors that the SDK has wrapped in descriptions of its plan, or an engine in exceptions.
func cause(text string) string {
	const java, beam = "Caused by: ", "caused by:"
	if i := strings.LastIndex(text, beam); i >= 0 {
		text = text[i+len(beam):]
	} else if i := strings.LastIndex(text, java); i >= 0 {
		text = text[i+len(java):]
	}
	for _, end := range []string{"\n\tat ", "\nCaused by: "} {
		text, _, _ = strings.Cut(text, end)
	}
	return strings.TrimSpace(text)
}
