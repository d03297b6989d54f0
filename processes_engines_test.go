//go:build engines

package millrace_test

import (
	"testing"

	"github.com/millrace/millrace/cmd/cluster"
)

// The processes over a real Kafka.
func TestProcessesOnKafka(t *testing.T) {
	kafka, err := cluster.StartKafka(t.Context(), cluster.KafkaOptions{Dir: t.TempDir(), Tied: true, Note: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kafka.Stop(); err != nil {
			t.Error(err)
		}
	})
	processes(t, kafka.Brokers)
}
