package main

import (
	"testing"

	"github.com/millrace/millrace/schemas/project"
)

// Each flag counts, also where two say the same.
func TestEngineFlags(t *testing.T) {
	f := engineFlags{runner: project.Flink, endpoint: "host:1", rest: "host:1", worker: "host:1"}
	e, err := f.engine(&project.Config{Runner: project.Flink, Endpoint: "file:2"})
	if err != nil || e.Endpoint != "host:1" || e.Rest != "host:1" || e.Worker != "host:1" {
		t.Errorf("%+v, %v", e, err)
	}
}
