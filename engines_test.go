//go:build engines

package millrace_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/cmd/cluster"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas/slice"
	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/speed"
	"github.com/millrace/millrace/testdata"
)

// engineDir holds the engines' folders. They stay if a test has failed, for the sake of the logs.
var engineDir = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "millrace-engines-")
	atEnd = append(atEnd, func(code int) {
		if code != 0 {
			fmt.Println("the engines' logs are in", dir)
			return
		}
		os.RemoveAll(dir)
	})
	return dir, err
})

// engine makes a function that starts an engine once, and stops it when all tests have run. Engines are tied to this
// process: they end even if it is killed.
func engine[E interface{ Stop() error }](name string, start func(ctx context.Context, dir string) (E, error)) func(*testing.T) E {
	once := sync.OnceValues(func() (e E, err error) {
		dir, err := engineDir()
		if err != nil {
			return e, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		if e, err = start(ctx, filepath.Join(dir, name)); err == nil {
			atEnd = append(atEnd, func(int) {
				if err := e.Stop(); err != nil {
					fmt.Println(name, "did not stop:", err)
				}
			})
		}
		return e, err
	})
	return func(t *testing.T) E {
		t.Helper()
		e, err := once()
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
}

var kafka = engine("kafka", func(ctx context.Context, dir string) (*cluster.KafkaCluster, error) {
	return cluster.StartKafka(ctx, cluster.KafkaOptions{Dir: dir, Tied: true})
})

// logOf is what an engine's process has logged from a byte on.
func logOf(t *testing.T, p *cluster.Process, from int) string {
	t.Helper()
	text, err := os.ReadFile(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text[from:])
}

// site is the flights project at some engine, with its processes.
type site struct {
	*flights
	binary string
	log    *kafkalog.Log
	views  []*views.View
	input  *speed.Input // to see what the slices cover
}

// openSite makes the project with a millrace.yaml. The topics of a site before are deleted.
func openSite(t *testing.T, brokers []string, config string) *site {
	t.Helper()
	s := &site{flights: openFlights(t)}
	var err error
	s.binary, err = binary()
	s.must(err)
	s.must(os.WriteFile(filepath.Join(s.project.Dir, "millrace.yaml"), []byte("memory: 128MiB\n"+config), 0o600))
	s.log, err = kafkalog.Open(kafkalog.Config{Brokers: brokers})
	s.must(err)
	t.Cleanup(func() { s.log.Close() })
	compiler, err := views.Open()
	s.must(err)
	t.Cleanup(func() { compiler.Close() })
	catalog := &views.Catalog{Topics: s.project.Topics, References: s.refs}
	for name, text := range s.text {
		v, err := compiler.Compile(name, name+".sql", text, catalog)
		s.must(err)
		s.views = append(s.views, v)
	}
	kept, err := store.Open(filepath.Join(s.project.Dir, "data"))
	s.must(err)
	s.input = &speed.Input{Log: s.log, Store: kept, Topic: s.project.Topics["flights"], Views: s.views, References: s.refs, Logger: slog.New(slog.DiscardHandler)}
	return s
}

// emptyKafka is Kafka without the flights of a test before.
func emptyKafka(t *testing.T) []string {
	t.Helper()
	brokers := kafka(t).Brokers
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	gone, err := kadm.NewClient(client).DeleteTopics(t.Context(), "flights", slice.Topic("flights"))
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range gone {
		if topic.Err != nil && !errors.Is(topic.Err, kerr.UnknownTopicOrPartition) {
			t.Fatal(topic.Topic, topic.Err)
		}
	}
	return brokers
}

// begin starts a process.
func (s *site) begin(args ...string) *daemon {
	s.Helper()
	said, err := os.CreateTemp(s.TempDir(), args[0]+"-*.log")
	s.must(err)
	s.must(said.Close())
	return launch(s.T, said.Name(), nil, s.binary, append([]string{"-C", s.project.Dir}, args...)...)
}

// run runs a verb to its end and gives what it prints.
func (s *site) run(args ...string) string {
	s.Helper()
	cmd := exec.CommandContext(s.Context(), s.binary, append([]string{"-C", s.project.Dir}, args...)...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		s.Fatalf("millrace %s: %v\n%s%s", strings.Join(args, " "), err, out.String(), said.String())
	}
	return out.String()
}

// patience is how long anything may take that is waited for.
const patience = 5 * time.Minute

// await waits until a condition holds.
func (s *site) await(what string, holds func() bool) {
	s.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			s.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// behind is how many records have neither a partial nor a slice.
func (s *site) behind() int64 {
	s.Helper()
	p, err := s.input.Plan(s.Context())
	s.must(err)
	return p.Lag
}

// answer asks for a view and gives the Parquet file and what it was made of.
func (s *site) answer(view string) (path string, layers serving.Layers) {
	s.Helper()
	path = filepath.Join(s.TempDir(), view+".parquet")
	s.run("query", "SELECT * FROM "+view, "-o", path, "--certificate", path+".json")
	text, err := os.ReadFile(path + ".json")
	s.must(err)
	var c serving.Certificate
	s.must(json.Unmarshal(text, &c))
	return path, c.Topics["flights"].Layers
}

// compare compares all views with DuckDB's answers over what was sent, and wants so many records from each layer.
func (s *site) compare(batch, speed, raw int64) {
	s.Helper()
	if len(s.views) != 10 {
		s.Errorf("the example has %d views", len(s.views))
	}
	for _, v := range s.views {
		path, l := s.answer(v.Name)
		if l.Batch.Records != batch || l.Speed.Records != speed || l.Raw.Records != raw || (l.Speed.Slices > 0) != (speed > 0) {
			s.Errorf("%s is made of %+v, want %d, %d and %d records", v.Name, l, batch, speed, raw)
		}
		s.sameAs(v, path)
	}
}

// whole runs fsck and verify, which compares every view with a recompute.
func (s *site) whole() {
	s.Helper()
	var found struct {
		Topics []struct{ Damage []string }
	}
	if err := json.Unmarshal([]byte(s.run("fsck", "--json")), &found); err != nil || len(found.Topics) != 1 || len(found.Topics[0].Damage) > 0 {
		s.Errorf("fsck: %+v, %v", found, err)
	}
	s.run("verify")
}

// cycle runs a batch cycle and wants it to commit so many records.
func (s *site) cycle(records int64, flags ...string) {
	s.Helper()
	var done struct {
		Topics []struct{ Records, Rejects int64 }
	}
	s.must(json.Unmarshal([]byte(s.run(append([]string{"batch", "flights", "--json"}, flags...)...)), &done))
	if len(done.Topics) != 1 || done.Topics[0].Records != records || done.Topics[0].Rejects != 0 {
		s.Fatalf("the cycle committed %+v, want %d records", done.Topics, records)
	}
}

// write makes a file of flights.
func (s *site) write(name string, lines [][]byte) string {
	s.Helper()
	path := filepath.Join(s.project.Dir, name)
	s.must(os.WriteFile(path, append(bytes.Join(lines, []byte("\n")), '\n'), 0o600))
	return path
}

// loadDirect gives DuckDB the flights.
func (s *site) loadDirect(path string) {
	s.Helper()
	s.exec(fmt.Sprintf("CREATE OR REPLACE TABLE flights AS SELECT * FROM read_json('%s', format = 'newline_delimited', columns = {date: 'TIMESTAMP', delay: 'INTEGER', distance: 'INTEGER', origin: 'VARCHAR', destination: 'VARCHAR'})", path))
}

// allOf are the flights of the example.
func allOf(t *testing.T) [][]byte {
	t.Helper()
	payloads, err := testdata.Flights()
	if err != nil {
		t.Fatal(err)
	}
	return payloads
}
