//go:build engines

package ingest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/cmd/cluster"
	"github.com/millrace/millrace/ingest"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// Three brokers, as many seconds patient with a dead one as Kafka is by default. One is killed under load, started again, and
// then another. Requests and a run of lines wait and go on; afterwards every acknowledged record is in the log once, each
// partition has those of one sender in their order, and what a large record's own producer sent is in line with the rest.
func TestABrokerIsKilledUnderLoad(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	k, err := cluster.StartKafka(ctx, cluster.KafkaOptions{Dir: t.TempDir(), Brokers: 3, Tied: true, Note: t.Logf,
		Config: map[string]string{"broker.session.timeout.ms": "9000", "broker.heartbeat.interval.ms": "2000"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
	})
	topic, problems := schemas.ParseTopic("numbers", "numbers.yaml", []byte("partitions: 6\nkey: k\nfields:\n  k: VARCHAR\n  by: VARCHAR NOT NULL\n  n: BIGINT NOT NULL\n"))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	p, err := ingest.NewProducer(ingest.ProducerOptions{Kafka: kafkalog.Config{Brokers: k.Brokers}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, _, err := p.Prepare(ctx, topic); err != nil {
		t.Fatal(err)
	}

	var acked atomic.Int64
	var stop atomic.Bool
	var load sync.WaitGroup
	var mu sync.Mutex
	sent := map[string]int64{}
	done := func(by string, n int64) {
		mu.Lock()
		defer mu.Unlock()
		sent[by] = n
	}
	for _, by := range []string{"append-0", "append-1", "once-0", "once-1"} {
		load.Go(func() {
			n := int64(0)
			for ; !stop.Load(); time.Sleep(5 * time.Millisecond) {
				batch := [][]byte{number(by, n, n%500 == 250), number(by, n+1, false), number(by, n+2, false)}
				var err error
				if strings.HasPrefix(by, "once") {
					_, _, err = p.AppendOnce(ctx, topic, fmt.Sprint(by, "/", n), batch)
				} else {
					_, err = p.Append(ctx, topic, batch)
				}
				if err != nil {
					t.Errorf("%s at %d: %v", by, n, err)
					break
				}
				n += int64(len(batch))
				acked.Add(int64(len(batch)))
			}
			done(by, n)
		})
	}
	lines, feed := io.Pipe()
	load.Go(func() {
		n := int64(0)
		for ; !stop.Load(); time.Sleep(time.Millisecond) {
			for range 3 {
				if _, err := feed.Write(append(number("run", n, n%1500 == 700), '\n')); err != nil {
					return
				}
				n++
			}
		}
		feed.Close()
		done("run", n)
	})
	load.Go(func() {
		last := int64(0)
		res, err := ingest.Run(ctx, ingest.Options{Topic: topic, Kafka: kafkalog.Config{Brokers: k.Brokers}, Stdin: lines, ID: "run", Timeout: time.Minute, Progress: func(now ingest.Progress) {
			acked.Add(now.Records - last)
			last = now.Records
		}})
		if err != nil {
			t.Errorf("the run: %v", err)
			lines.Close()
		}
		t.Logf("the run: %d records, %d rejects", res.Records, res.Rejects)
	})
	flows := func(what string) {
		t.Helper()
		began, from := time.Now(), acked.Load()
		for acked.Load() < from+5000 {
			if ctx.Err() != nil || t.Failed() {
				stop.Store(true)
				t.Fatalf("%s: nothing is acknowledged any more", what)
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Logf("%s: 5,000 more are acknowledged after %.1f s", what, time.Since(began).Seconds())
	}
	flows("with three brokers")
	for _, node := range k.Nodes[:2] {
		if err := node.Kill(); err != nil {
			t.Fatal(err)
		}
		flows(node.Name + " is killed")
		if err := node.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if n := inSync(ctx, t, k.Brokers); n != 3 {
			t.Fatalf("%d brokers are in sync", n)
		}
		flows(node.Name + " is back")
	}
	stop.Store(true)
	load.Wait()
	checkNumbers(ctx, t, k.Brokers, sent)
}

// number is a sender's nth record, with one of seven keys; a large one does not fit a usual batch.
func number(by string, n int64, large bool) []byte {
	pad := ""
	if large {
		pad = strings.Repeat("x", 3<<19)
	}
	return fmt.Appendf(nil, `{"k":"%s-%d","by":"%s","n":%d,"pad":"%s"}`, by, n%7, by, n, pad)
}

// inSync waits until all partitions have all brokers as replicas in sync again.
func inSync(ctx context.Context, t *testing.T, brokers []string) int {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for {
		list, err := kadm.NewClient(cl).ListTopics(ctx)
		if err != nil {
			t.Fatal(err)
		}
		least := 3
		list.EachPartition(func(d kadm.PartitionDetail) { least = min(least, len(d.ISR)) })
		if least == 3 || ctx.Err() != nil {
			return least
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// checkNumbers reads all and counts: of each sender 0..sent once, ascending in each partition.
func checkNumbers(ctx context.Context, t *testing.T, brokers []string, sent map[string]int64) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("numbers"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, "numbers")
	if err != nil {
		t.Fatal(err)
	}
	var left int64
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	type place struct {
		by        string
		partition int32
	}
	last, seen := map[place]int64{}, map[string]map[int64]int{}
	var disorder, doubled, missing int
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			left--
			var v struct {
				By string
				N  int64
			}
			if err := json.Unmarshal(r.Value, &v); err != nil {
				t.Fatal(err)
			}
			at := place{v.By, r.Partition}
			if before, there := last[at]; there && before >= v.N {
				disorder++
			}
			last[at] = v.N
			if seen[v.By] == nil {
				seen[v.By] = map[int64]int{}
			}
			seen[v.By][v.N]++
		})
	}
	for by, n := range sent {
		for i := range n {
			if seen[by][i] == 0 {
				missing++
			} else if seen[by][i] > 1 {
				doubled++
			}
		}
	}
	t.Logf("sent %v", sent)
	if missing > 0 || doubled > 0 || disorder > 0 || len(sent) != 5 {
		t.Errorf("%d senders, %d records are missing, %d doubled, %d out of order", len(sent), missing, doubled, disorder)
	}
}
