package kafkaio

import (
	"context"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/sdf"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/millrace/millrace/pipelines/kafkalog"
)

// Beam finds the types of a pipeline by their registration.
func init() {
	beam.RegisterType(reflect.TypeFor[Restriction]())
	beam.RegisterCoder(reflect.TypeFor[*kafkalog.Chunk](), encodeChunk, decodeChunk)
	register.DoFn5x2[context.Context, *watermark, *sdf.LockRTracker, Restriction, func(beam.EventTime, *kafkalog.Chunk), sdf.ProcessContinuation, error](&readFn{})
	register.Emitter2[beam.EventTime, *kafkalog.Chunk]()
}
