package speed

import (
	"context"
	"sync"
	"time"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// hintEvery is how often at most a worker commits what its slices cover.
const hintEvery = 5 * time.Second

// Group is the consumer group that shows Kafka's own tools how far the slices of a topic are. Its offsets are a hint: the
// layer reads only slices.
func Group(topic string) string { return "millrace.speed." + topic }

// hint commits where the pipeline begins, so that partitions without new records show no lag.
func (in *Input) hint(ctx context.Context, p *Plan) {
	at := schemas.Frontier{}
	for _, r := range p.Ranges {
		at[r.Partition] = r.From
	}
	if err := in.Log.CommitOffsets(ctx, Group(in.Topic.Name), in.Topic.Name, at); err != nil && ctx.Err() == nil {
		in.Logger.WarnContext(ctx, "Kafka's own tools do not see the speed layer's lag; nothing else hangs on it", "group", Group(in.Topic.Name), "error", err)
	}
}

// hints is what a worker has published and not committed yet.
type hints struct {
	mu sync.Mutex
	at schemas.Frontier
}

// cover notes that slices reach an offset.
func (h *hints) cover(partition int32, to int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at == nil {
		h.at = schemas.Frontier{}
	}
	h.at[partition] = to
}

// keep commits what is new now and then, until ctx ends.
func (h *hints) keep(ctx context.Context, log *kafkalog.Log, topic string) {
	every(ctx, hintEvery, func() {
		h.mu.Lock()
		at := h.at
		h.at = nil
		h.mu.Unlock()
		_ = log.CommitOffsets(ctx, Group(topic), topic, at) // the next one stands in for it
	})
}
