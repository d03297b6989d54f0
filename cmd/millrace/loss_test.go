package main

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What Kafka dropped before a cycle had read it is an alarm with a way on, which only the flag takes; every verb names it then.
func TestAcceptLoss(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	if err := cluster.CreateTopic("events", 1, nil); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeInto(t, dir, "millrace.yaml", "brokers: "+cluster.ListenAddrs()[0]+"\n")
	writeInto(t, dir, "topics/events.yaml", "fields: {k: VARCHAR NOT NULL}\n")
	writeInto(t, dir, "views/counts.sql", "SELECT k, count(*) AS n FROM events GROUP BY k\n")
	says := func(want int, words string, args ...string) {
		t.Helper()
		var out, errs strings.Builder
		if code := run(t.Context(), append([]string{"-C", dir}, args...), strings.NewReader(""), &out, &errs); code != want || !strings.Contains(out.String()+errs.String(), words) {
			t.Errorf("%v: exit code %d, want %d and %q:\n%s%s", args, code, want, words, out.String(), errs.String())
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("events"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	send := func() {
		t.Helper()
		for range 5 {
			if err := client.ProduceSync(t.Context(), &kgo.Record{Value: []byte(`{"k":"a"}`)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	send()
	says(0, "5 records", "batch")
	send()
	offsets := kadm.Offsets{}
	offsets.AddOffset("events", 0, 8, -1)
	if done, err := kadm.NewClient(client).DeleteRecords(t.Context(), offsets); err != nil || done.Error() != nil {
		t.Fatal(err, done.Error())
	}

	const hole, way, lost = "events[0]: Kafka dropped offsets [5, 8) before a cycle had read them", "run `millrace batch events --accept-loss` to go on without these records", "events[0]: offsets [5, 8) are lost: Kafka dropped them before a cycle had read them"
	for _, words := range []string{hole, way} {
		says(1, words, "batch")
		says(1, words, "status")
		says(1, words, "query", "SELECT * FROM counts")
	}
	says(1, `"dropped":[{"partition":0,"from":5,"to":8}]`, "status", "--json")
	says(0, "\n5\n", "query", "SELECT n FROM counts", "-f", "csv", "--as-of", `{"events":{"0":5}}`)
	says(2, "--accept-loss is a decision about what is lost now", "batch", "--accept-loss", "--every", "1m")
	says(2, "--accept-loss is a decision about what is lost now", "batch", "--accept-loss", "--follow")

	says(0, lost, "batch", "events", "--accept-loss")
	says(0, `"topics":[{"topic":"events","from":{"0":10},"to":{"0":10},"records":0,`, "batch", "events", "--accept-loss", "--json")
	says(0, lost, "status")
	says(0, `"lost":[{"partition":0,"from":5,"to":8}]`, "status", "--json")
	says(0, lost, "verify")
	says(0, "events: manifest 2, ", "fsck")
	says(0, "\n7\n", "query", "SELECT n FROM counts", "-f", "csv")
	says(0, "lost, for Kafka dropped them before a cycle had read them: 0@[5,8), 3 offsets", "query", "SELECT n FROM counts", "--explain")
	const certified = `"from":{"0":0},"to":{"0":10},"lost":[{"partition":0,"from":5,"to":8}],"manifest":2,"layers":{"batch":{"records":7,`
	says(0, certified, "query", "SELECT n FROM counts", "--json")
}
