//go:build engines

package millrace_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/cmd/cluster"
	"github.com/millrace/millrace/pipelines/runner"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/slice"
)

// flink is a Flink as processes of their own, with no slot to spare: a pipeline of parallelism 4 has work on both
// taskmanagers.
var flink = engine("flink", func(ctx context.Context, dir string) (*cluster.FlinkCluster, error) {
	return cluster.StartFlink(ctx, cluster.FlinkOptions{Dir: dir, TaskManagers: 2, Slots: 2, Tied: true,
		Config: map[string]string{"web.refresh-interval": "200"}}) // REST tells of checkpoints as they are
})

const (
	flowPartitions = 4
	flowRate       = 250   // records a second
	flowFirst      = 4_000 // records in the first cycle
)

// flow is a steady stream of numbered flights, and the speed layer on a Flink whose worker is a process of its own.
type flow struct {
	*site
	flink     *cluster.FlinkCluster
	producer  *kgo.Client
	job       string // the pipeline's name at Flink
	committed int64  // records in the batch layer
	worker    *daemon
	workerAt  string
	speed     *daemon
	step      string // of the test, for its messages
	payloads  [][]byte

	mu      sync.Mutex
	sent    int                      // records acknowledged: their ids are [0, sent)
	ends    schemas.Frontier         // where the acknowledged records end
	waiting map[int32][]acknowledged // those whose slice was not seen yet
	waits   []time.Duration          // from before a record was sent until its slice was seen
}

type acknowledged struct {
	to int64
	at time.Time
}

// openFlow puts the first records in, commits them by a cycle on Flink, with workers that Flink starts as processes, and
// starts the worker for what follows.
func openFlow(t *testing.T) *flow {
	t.Helper()
	f := &flow{flink: flink(t), payloads: allOf(t), ends: schemas.Frontier{}, waiting: map[int32][]acknowledged{}, step: "start"}
	f.workerAt = "127.0.0.1:" + freePort(t)
	brokers := emptyKafka(t)
	f.site = openSite(t, brokers, fmt.Sprintf("brokers: [%s]\nrunner: flink\nendpoint: %s\nengine: {rest: %q, worker: %q, options: {checkpointing_interval: 1000}}\n", strings.Join(brokers, ", "), f.flink.Endpoint, f.flink.REST, f.workerAt))
	f.job = runner.JobName("speed-flights", f.input.Store.URL())
	f.run("ingest", "flights", f.write("none.ndjson", nil)) // makes the topic
	var err error
	f.producer, err = kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic("flights"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	f.must(err)
	t.Cleanup(f.producer.Close)
	f.send(flowFirst)
	f.cycle(flowFirst, "--worker", "process:"+f.binary)
	if state := f.stateOf(runner.JobName("batch-flights", f.input.Store.URL())); state != "FINISHED" {
		t.Errorf("the cycle's job is %q at Flink", state)
	}
	f.committed = flowFirst
	f.waiting = map[int32][]acknowledged{}
	f.startWorker()
	return f
}

func (f *flow) startWorker() {
	f.Helper()
	f.worker = f.begin("worker", "--listen", f.workerAt)
	f.soon("the worker listens", func() bool { return strings.Contains(f.worker.words(), f.workerAt) })
}

// soon waits in a step of the test.
func (f *flow) soon(what string, holds func() bool) {
	f.Helper()
	f.await(f.step+": "+what, holds)
}

// send appends the next flights to every partition in turn and returns when they are acknowledged.
func (f *flow) send(n int) {
	records := make([]*kgo.Record, n)
	for i := range records {
		id := f.sent + i
		records[i] = &kgo.Record{Partition: int32(id % flowPartitions), Value: fmt.Appendf(nil, "%s,\"id\":%d}", bytes.TrimSuffix(f.payloads[id%len(f.payloads)], []byte("}")), id)}
	}
	at := time.Now()
	results := f.producer.ProduceSync(context.Background(), records...)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent += n
	for _, r := range results {
		if r.Err != nil {
			f.Errorf("send: %v", r.Err)
			return
		}
		p, to := r.Record.Partition, r.Record.Offset+1
		f.ends[p] = to
		f.waiting[p] = append(f.waiting[p], acknowledged{to, at})
	}
}

// stream sends at a steady rate until stop is called.
func (f *flow) stream() (stop func()) {
	ctx, cancel := context.WithCancel(f.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				f.send(flowRate / 50)
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// watch reads slices as they are published, until the test ends, and notes how long their records have waited.
func (f *flow) watch() {
	f.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka(f.T).Brokers...), kgo.ConsumeTopics(slice.Topic("flights")), kgo.FetchMaxWait(20*time.Millisecond))
	f.must(err)
	var watching sync.WaitGroup
	watching.Go(func() {
		for f.Context().Err() == nil {
			client.PollFetches(f.Context()).EachRecord(func(r *kgo.Record) {
				s, err := slice.Decode(r.Value)
				if err != nil {
					f.Error(err)
					return
				}
				f.mu.Lock()
				defer f.mu.Unlock()
				now := time.Now()
				for len(f.waiting[s.Partition]) > 0 && f.waiting[s.Partition][0].to <= s.To {
					f.waits = append(f.waits, now.Sub(f.waiting[s.Partition][0].at))
					f.waiting[s.Partition] = f.waiting[s.Partition][1:]
				}
			})
		}
	})
	f.Cleanup(func() { watching.Wait(); client.Close() })
}

// unseen is how many acknowledged records have no slice that was seen.
func (f *flow) unseen() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.waiting {
		n += len(w)
	}
	return n
}

// seen is how many records had their slice since the last figures.
func (f *flow) seen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.waits)
}

// figures are the waits so far, which begin anew.
func (f *flow) figures() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.waits
	f.waits = nil
	if len(d) == 0 {
		return "nothing"
	}
	slices.Sort(d)
	at := func(q float64) time.Duration { return d[int(q*float64(len(d)-1))].Round(time.Millisecond) }
	return fmt.Sprintf("%d records: median %s, 99 of 100 %s, most %s", len(d), at(0.5), at(0.99), at(1))
}

// ask asks Flink's REST interface. It says whether there was an answer.
func (f *flow) ask(path string, out any) bool {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.flink.REST+path, nil)
	f.must(err)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	return answer.StatusCode == http.StatusOK && json.NewDecoder(answer.Body).Decode(out) == nil
}

// jobs gives the states of the jobs of a name, by id.
func (f *flow) jobs(name string) map[string]string {
	f.Helper()
	var all struct {
		Jobs []struct {
			ID          string `json:"jid"`
			Name, State string
		}
	}
	if !f.ask("/jobs/overview", &all) {
		return nil
	}
	out := map[string]string{}
	for _, j := range all.Jobs {
		if j.Name == name {
			out[j.ID] = j.State
		}
	}
	return out
}

// stateOf is the state of the one job of a name.
func (f *flow) stateOf(name string) string {
	f.Helper()
	jobs := f.jobs(name)
	if len(jobs) != 1 {
		f.Errorf("Flink has %d jobs of the name %s", len(jobs), name)
	}
	for _, state := range jobs {
		return state
	}
	return ""
}

// alive are the pipeline's jobs that are not over.
func (f *flow) alive() (ids []string) {
	f.Helper()
	for id, state := range f.jobs(f.job) {
		if !slices.Contains([]string{"FINISHED", "CANCELED", "FAILED"}, state) {
			ids = append(ids, id)
		}
	}
	return ids
}

// running waits for a job of the pipeline that is not one of those before, and gives its id.
func (f *flow) running(before ...string) (id string) {
	f.Helper()
	f.soon("a job runs", func() bool {
		for one, state := range f.jobs(f.job) {
			if state == "RUNNING" && !slices.Contains(before, one) {
				id = one
				return true
			}
		}
		return false
	})
	return id
}

// checkpoints is how many a job has completed.
func (f *flow) checkpoints(id string) int {
	f.Helper()
	var c struct{ Counts struct{ Completed int } }
	f.ask("/jobs/"+id+"/checkpoints", &c)
	return c.Counts.Completed
}

// flows waits until a job has completed three checkpoints more, and records that came after them are in slices, which only
// its worker makes.
func (f *flow) flows(id string) {
	f.Helper()
	before := f.checkpoints(id)
	f.soon("three checkpoints of "+id, func() bool { return f.checkpoints(id) >= before+3 })
	f.mu.Lock()
	mark := f.ends.Clone()
	from := f.sent
	f.mu.Unlock()
	f.soon("records after the checkpoints", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.sent > from
	})
	f.soon("slices of the records before the checkpoint", func() bool {
		p, err := f.input.Plan(f.Context())
		f.must(err)
		for _, r := range p.Ranges {
			if r.From < mark[r.Partition] {
				return false
			}
		}
		return true
	})
	if alive := f.alive(); !slices.Equal(alive, []string{id}) {
		f.Fatalf("%s: the pipeline's jobs are %v, want %s alone", f.step, alive, id)
	}
}

// rest waits until slices cover all, and holds every answer to what was acknowledged: each record once, in its order.
func (f *flow) rest() {
	f.Helper()
	f.soon("slices of everything", func() bool { return f.behind() == 0 })
	const count = `SELECT count(*) AS n, count(DISTINCT id) AS ids, min(id) AS least, max(id) AS most, count(*) FILTER (WHERE id <= earlier) AS back
FROM (SELECT id, lag(id) OVER (PARTITION BY _partition ORDER BY _offset) AS earlier FROM (SELECT _partition, _offset, (_extra->>'$.id')::BIGINT AS id FROM flights))`
	want := fmt.Sprintf("n,ids,least,most,back\n%d,%[1]d,0,%d,0\n", f.sent, f.sent-1)
	if got := f.run("query", "-f", "csv", count); got != want {
		f.Errorf("%s: the records are\n%swant\n%s", f.step, got, want)
	}
	_, l := f.answer("delays")
	if l.Batch.Records != f.committed || l.Speed.Records != int64(f.sent)-f.committed || l.Speed.Slices == 0 || l.Raw.Records != 0 {
		f.Errorf("%s: an answer over %d records is made of %+v", f.step, f.sent, l)
	}
	if sum := strings.TrimSpace(strings.TrimPrefix(f.run("query", "-f", "csv", "SELECT sum(flights)::BIGINT AS n FROM delays"), "n\n")); sum != strconv.Itoa(f.sent) {
		f.Errorf("%s: the merged view counts %s flights of %d", f.step, sum, f.sent)
	}
	f.run("verify")
	if f.Failed() {
		f.FailNow()
	}
}
