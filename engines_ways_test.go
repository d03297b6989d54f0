//go:build engines

package millrace_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/millrace/millrace/cmd/cluster"
	"github.com/millrace/millrace/pipelines/runner"
)

var flinkInside = engine("flink-inside", func(ctx context.Context, dir string) (*cluster.FlinkCluster, error) {
	return cluster.StartFlink(ctx, cluster.FlinkOptions{Dir: dir, Tied: true})
})

var sparkInside = engine("spark-inside", func(ctx context.Context, dir string) (*cluster.SparkCluster, error) {
	return cluster.StartSpark(ctx, cluster.SparkOptions{Dir: dir, Tied: true})
})

// way is one of the ways to run the same binary.
type way struct {
	brokers []string
	config  string
	daemon  string           // the verb whose process runs the speed layer
	server  *cluster.Process // Beam's job server; nil: prism
	batch   bool             // the cycles run there
	speed   bool             // the speed layer runs there
}

// The same project embedded, on Kafka, on Flink and on Spark: half of the flights go through a cycle, a quarter through
// the speed layer, and a quarter is only in the log. All ten views are what DuckDB says of the file.
func TestFourWays(t *testing.T) {
	for _, w := range []struct {
		name string
		open func(*testing.T) way
	}{
		{"embedded", func(t *testing.T) way {
			listen := "127.0.0.1:" + freePort(t)
			return way{brokers: []string{listen}, config: fmt.Sprintf("listen: 127.0.0.1:0\nbatch: {every: 1h}\nkafka: {listen: %q}\n", listen), daemon: "up"}
		}},
		{"kafka", func(t *testing.T) way {
			return way{brokers: emptyKafka(t), daemon: "speed"}
		}},
		{"flink", func(t *testing.T) way {
			f := flinkInside(t)
			return way{brokers: emptyKafka(t), config: fmt.Sprintf("runner: flink\nendpoint: %s\n", f.Endpoint), daemon: "speed", server: f.JobServer, batch: true, speed: true}
		}},
		{"spark", func(t *testing.T) way {
			s := sparkInside(t)
			return way{brokers: emptyKafka(t), config: fmt.Sprintf("runner: spark\nendpoint: %s\n", s.Endpoint), daemon: "speed", server: s.JobServer, batch: true}
		}},
	} {
		t.Run(w.name, func(t *testing.T) { oneWay(t, w.open(t)) })
	}
}

func oneWay(t *testing.T, w way) {
	if w.daemon != "up" {
		w.config += fmt.Sprintf("brokers: [%s]\n", strings.Join(w.brokers, ", "))
	}
	s := openSite(t, w.brokers, w.config)
	all := allOf(t)
	s.loadDirect(s.write("all.ndjson", all))
	half, quarter := int64(len(all)/2), int64(len(all)/4)
	logged := 0
	if w.server != nil {
		logged = len(logOf(t, w.server, 0))
	}
	s.run("ingest", "flights", s.write("first.ndjson", all[:half]))
	s.cycle(half)
	d := s.begin(w.daemon)
	if w.daemon == "up" {
		s.await("up is ready", func() bool { return strings.Contains(d.words(), "millrace is up") })
	}
	s.run("ingest", "flights", s.write("second.ndjson", all[half:half+quarter]))
	s.await("slices of everything", func() bool { return s.behind() == 0 })
	d.end()
	s.run("ingest", "flights", s.write("third.ndjson", all[half+quarter:]))
	s.compare(half, quarter, int64(len(all))-half-quarter)
	s.whole()
	s.cycle(int64(len(all)) - half)
	s.compare(int64(len(all)), 0, 0)

	// The job server has seen the pipelines that were to run there, and no others.
	if w.server != nil {
		text := logOf(t, w.server, logged)
		for pipeline, there := range map[string]bool{"batch-flights": w.batch, "speed-flights": w.speed} {
			if job := runner.JobName(pipeline, s.input.Store.URL()); strings.Contains(text, job) != there {
				t.Errorf("the job server has run %s: %t", job, !there)
			}
		}
	}
}
