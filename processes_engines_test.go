//go:build engines

package millrace_test

import (
	"errors"
	"os/exec"
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

// What lies under deploy/ passes its checks.
func TestDeploy(t *testing.T) {
	out, err := exec.Command("deploy/lint.sh").CombinedOutput()
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended) && ended.ExitCode() == 3:
		t.Skipf("skipped: %s", out)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	}
}
