package carry

import (
	"errors"
	"fmt"
	"testing"

	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
)

// What a DoFn failed with comes back whole from the midst of an engine's exceptions.
func TestAProblemSurvivesAnEngine(t *testing.T) {
	sent := &schemas.Problem{Kind: schemas.Environment, Message: "write the partial", Hint: "free some space", Err: store.ErrExist}
	packed := Pack(fmt.Errorf("build: %w", sent))
	text := "org.apache.flink.runtime.JobException: Recovery is suppressed\n\tat a.b(C.java:1)\nCaused by: java.lang.RuntimeException: process bundle failed\n\tcaused by:\n" + Pack(packed).Error() + "\n\tat d.e(F.java:2)"
	got := Unpack(text)
	var p *schemas.Problem
	if !errors.As(got, &p) || p.Kind != sent.Kind || p.Message != sent.Message || p.Hint != sent.Hint || !errors.Is(got, store.ErrExist) {
		t.Errorf("came back as %#v", got)
	}
	if Unpack("some other text") != nil || Pack(nil) != nil {
		t.Error("an error came out of nothing")
	}
}
