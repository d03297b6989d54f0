package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Records that Kafka is about to drop are an alarm until a cycle has read them, and `up` runs that long before its time.
func TestRetentionGuard(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	if err := cluster.CreateTopic("events", 1, map[string]string{"retention.ms": "3600000"}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeInto(t, dir, "millrace.yaml", "brokers: "+cluster.ListenAddrs()[0]+"\nbatch: {every: 24h}\nlisten: 127.0.0.1:0\n")
	writeInto(t, dir, "topics/events.yaml", "fields: {k: VARCHAR NOT NULL}\n")
	status := func(more ...string) (int, string) {
		var out, errs strings.Builder
		code := run(t.Context(), append([]string{"-C", dir, "status"}, more...), strings.NewReader(""), &out, &errs)
		return code, out.String() + errs.String()
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("events"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), &kgo.Record{Value: []byte(`{"k":"a"}`), Timestamp: time.Now().Add(-50 * time.Minute)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if code, text := status(); code != 1 || !strings.Contains(text, "events[0]: Kafka may drop offset 0 in ") || !strings.Contains(text, "which no cycle has read, from ") {
		t.Errorf("exit code %d:\n%s", code, text)
	}
	if code, text := status("--json"); code != 1 || !strings.Contains(text, `"unread":[{"partition":0,"offset":0,`) || strings.Count(text, "\n") != 1 {
		t.Errorf("exit code %d:\n%s", code, text)
	}

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int)
	go func() {
		var out, errs strings.Builder
		ended <- run(ctx, []string{"-C", dir, "up"}, strings.NewReader(""), &out, &errs)
	}()
	read := func() bool { code, _ := status(); return code == 0 }
	for !read() {
		select {
		case code := <-ended:
			t.Fatalf("up ended with %d", code)
		case <-time.After(50 * time.Millisecond):
		}
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("up ended with %d", code)
	}
}
