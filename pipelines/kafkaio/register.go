package kafkaio

import (
	"context"
	"encoding/json"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// Beam finds the types of a pipeline by their registration.
func init() {
	beam.RegisterType(reflect.TypeFor[Restriction]())
	beam.RegisterCoder(reflect.TypeFor[*kafkalog.Chunk](), encodeChunk, decodeChunk)
	register.DoFn5x2[context.Context, *watermark, *sdf.LockRTracker, Restriction, func(beam.EventTime, *kafkalog.Chunk), sdf.ProcessContinuation, error](&readFn{})
	register.Emitter2[beam.EventTime, *kafkalog.Chunk]()
}

// wire is a chunk on its way from one worker to another, as JSON, which keeps null and empty apart. A DoFn fused to the
// source gets the chunk itself.
type wire struct {
	Topic   string
	Range   schemas.Range
	Records []schemas.Record
}

func encodeChunk(c *kafkalog.Chunk) ([]byte, error) {
	return json.Marshal(wire{c.Topic, c.Range, c.Records})
}

func decodeChunk(b []byte) (*kafkalog.Chunk, error) {
	var w wire
	err := json.Unmarshal(b, &w)
	return &kafkalog.Chunk{Topic: w.Topic, Range: w.Range, Records: w.Records}, err
}
