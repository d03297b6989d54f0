package batch

import "context"

// Group is the consumer group that shows Kafka's own tools how far the cycles of a topic are. Its offsets are a hint: a cycle
// goes by the manifest.
func Group(topic string) string { return "millrace.batch." + topic }

// hint commits the frontier after a cycle, also after one that found nothing new: Kafka forgets a group that is silent for
// days. A commit that fails does not fail the cycle.
func (in *Input) hint(ctx context.Context, r *Report) {
	if r.Manifest == 0 {
		return
	}
	if err := in.Log.CommitOffsets(ctx, Group(in.Topic.Name), in.Topic.Name, r.To); err != nil && in.Logger != nil && ctx.Err() == nil {
		in.Logger.WarnContext(ctx, "Kafka's own tools do not see the batch layer's lag; nothing else hangs on it", "group", Group(in.Topic.Name), "error", err)
	}
}
