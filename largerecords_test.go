package millrace_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/millrace/millrace/ingest"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/speed"
)

// A line of ten megabytes goes through every layer, also where it is a view's group; a broker that takes none that long is named
// with the setting to change, and so is a line over max_record.
func TestALargeRecordGoesThroughEveryLayer(t *testing.T) {
	m, fail := openLaw(t, 1, lawViews["sums"])
	run := func(size int) (ingest.Result, error) {
		path := filepath.Join(t.TempDir(), "large.ndjson")
		small := `{"k":"a","n":1,"ts":"2020-01-01"}`
		large := strings.Replace(small, "a", strings.Repeat("a", size-len(small)+1), 1)
		fail(os.WriteFile(path, fmt.Appendf(nil, "%s\n%s\n%[1]s\n", small, large), 0o600))
		return ingest.Run(t.Context(), ingest.Options{Topic: m.topic, Kafka: kafkalog.Config{Brokers: m.brokers}, Files: []string{path}})
	}
	const limit = 10 << 20
	r, err := run(limit)
	if err == nil || !strings.Contains(err.Error(), "raise max.message.bytes of the Kafka topic, or lower max_record") || r.Records < 1 {
		t.Errorf("a broker with small messages: %+v, %v", r, err)
	}
	ends, err := m.log.Ends(t.Context(), m.topic.Name)
	fail(err)
	m.sent = ends[0] // a line that was on its way beside it may be there
	wide := "20971520"
	_, err = kadm.NewClient(m.producer).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &wide}}, m.topic.Name)
	fail(err)
	if r, err = run(limit); err != nil || r.Records != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	m.sent += r.Records
	if r, err = run(limit + 1); err != nil || r.Records != 2 || len(r.Refused) != 1 || !strings.Contains(r.Refused[0].Reason, "max_record") {
		t.Errorf("a line over max_record: %+v, %v", r, err)
	}
	m.sent += r.Records
	fail(m.check(t.Context(), nil))
	layer := speed.Input{Log: m.log, Store: m.store, Topic: m.topic, Views: m.cycle.Views, Scratch: m.dir}
	fail(layer.CatchUp(t.Context()))
	fail(m.check(t.Context(), nil))
	_, err = m.cycle.Cycle(t.Context())
	fail(err)
	fail(m.check(t.Context(), nil))
	fail(m.sameRows(t.Context()))
	got, err := rows(t.Context(), m.server, serving.Request{SQL: "SELECT max(length(k)), count(*) FROM t"})
	fail(err)
	if want := fmt.Sprintf("[[%d,%d]]", limit-len(`{"k":"a","n":1,"ts":"2020-01-01"}`)+1, m.sent); fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}
