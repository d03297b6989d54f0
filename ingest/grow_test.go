package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// admin is a client of its own that changes topics behind everybody's back.
func admin(t *testing.T, addr string) *kadm.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

func setPartitions(t *testing.T, a *kadm.Client, n int) {
	t.Helper()
	done, err := a.UpdatePartitions(t.Context(), n, "flights")
	if err == nil {
		err = done["flights"].Err
	}
	if err != nil {
		t.Fatal(err)
	}
}

func deleteTopic(t *testing.T, a *kadm.Client, name string) {
	t.Helper()
	if _, err := a.DeleteTopic(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

// placed checks that the topic has the lines 0..n-1 once each and in order in every partition, and that none lies where no
// number of partitions would put it. It gives how many lie in each partition.
func placed(t *testing.T, addr string, n int, counts ...int) map[int32]int {
	t.Helper()
	seen := make([]int, n)
	last, in := map[int32]int{}, map[int32]int{}
	pick := kgo.StickyKeyPartitioner(nil).ForTopic("flights")
	for _, r := range readAll(t, addr, "flights") {
		var v struct{ Delay int }
		if err := json.Unmarshal(r.Value, &v); err != nil {
			t.Fatal(err)
		}
		seen[v.Delay]++
		if before, ok := last[r.Partition]; ok && before >= v.Delay {
			t.Errorf("line %d after line %d in partition %d", v.Delay, before, r.Partition)
		}
		last[r.Partition] = v.Delay
		in[r.Partition]++
		if !slices.ContainsFunc(counts, func(n int) bool { return int32(pick.Partition(&kgo.Record{Key: r.Key}, n)) == r.Partition }) {
			t.Errorf("line %d with key %s lies in %d of %v partitions", v.Delay, r.Key, r.Partition, counts)
		}
	}
	var missing, doubled int
	for _, k := range seen {
		if k == 0 {
			missing++
		} else if k > 1 {
			doubled++
		}
	}
	if missing > 0 || doubled > 0 {
		t.Errorf("of %d lines %d are missing and %d doubled", n, missing, doubled)
	}
	return in
}

// A run with an id that is stopped again and again goes on where it stopped, though the topic gets partitions between.
func TestStoppedRunsGoOnWithMorePartitions(t *testing.T) {
	b := start(t)
	a := admin(t, b.Addr())
	const n = 40_000
	o := Options{Topic: flights(), Kafka: kafkalog.Config{Brokers: []string{b.Addr()}}, Files: []string{inputFile(t, n)}, ID: "x", Settle: 10 * time.Millisecond, Timeout: 20 * time.Second}
	counts := []int{4}
	var resumed int64
	for stops := 0; ; stops++ {
		ctx, cancel := context.WithCancel(t.Context())
		limit := int64(1 + rand.IntN(n/2))
		if stops == 8 {
			limit = 1 << 60
		}
		run := o
		checker := newCounting(limit, cancel)
		run.NewChecker = func(*schemas.Topic) (Checker, error) { return checker, nil }
		res, err := Run(ctx, run)
		cancel()
		if err == nil {
			resumed = res.Resumed
			if res.Records != n {
				t.Errorf("%+v", res)
			}
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if stops%2 == 0 {
			counts = append(counts, counts[len(counts)-1]+1+rand.IntN(3))
			setPartitions(t, a, counts[len(counts)-1])
		}
	}
	t.Logf("partitions %v, the last run found %d lines", counts, resumed)
	placed(t, b.Addr(), n, counts...)
	if res, err := Run(t.Context(), o); err != nil || res.Records != n || res.Resumed != n {
		t.Errorf("once more: %+v %v", res, err)
	}
	setPartitions(t, a, counts[len(counts)-1]+1)
	if res, err := Run(t.Context(), o); err != nil || res.Records != n || res.Resumed != n {
		t.Errorf("once more, with another partition: %+v %v", res, err)
	}
	placed(t, b.Addr(), n, counts...)
}

// While a run goes on it takes up new partitions; run again under its id it finds all its lines.
func TestPartitionsAreAddedDuringARun(t *testing.T) {
	b := start(t)
	a := admin(t, b.Addr())
	const n = 20_000
	o := Options{Topic: flights(), Kafka: kafkalog.Config{Brokers: []string{b.Addr()}}, Files: []string{inputFile(t, n)}, ID: "x", Settle: 10 * time.Millisecond, Rate: 3000}
	p, err := NewProducer(ProducerOptions{Kafka: o.Kafka})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, _, err := p.Prepare(t.Context(), o.Topic); err != nil {
		t.Fatal(err)
	}
	grown := false
	o.Progress = func(now Progress) {
		if !grown && now.Records > 0 {
			grown = true
			if _, err := a.UpdatePartitions(t.Context(), 7, "flights"); err != nil {
				t.Error(err)
			}
		}
	}
	if res, err := Run(t.Context(), o); err != nil || res.Records != n || len(res.Offsets) != 7 {
		t.Fatalf("%+v %v", res, err)
	}
	in := placed(t, b.Addr(), n, 4, 7)
	if in[4] == 0 || in[5] == 0 || in[6] == 0 {
		t.Errorf("the new partitions were not used: %v", in)
	}
	o.Rate, o.Progress = 0, nil
	if res, err := Run(t.Context(), o); err != nil || res.Resumed != n {
		t.Errorf("once more: %+v %v", res, err)
	}
	placed(t, b.Addr(), n, 4, 7)
}

// A producer that lives long takes up new partitions, and a request with a key that came before them is answered as it was.
func TestAppendTakesUpNewPartitions(t *testing.T) {
	b := start(t)
	a := admin(t, b.Addr())
	p := producer(t, b.Addr())
	want := payloads(200)
	before, _, err := p.AppendOnce(t.Context(), flights(), "k", want)
	if err != nil {
		t.Fatal(err)
	}
	setPartitions(t, a, 9)
	deadline := time.Now().Add(30 * time.Second)
	pick := kgo.StickyKeyPartitioner(nil).ForTopic("flights")
	for new := false; !new; {
		at, err := p.Append(t.Context(), flights(), want)
		if err != nil {
			t.Fatal(err)
		}
		new = true
		for i, o := range at {
			new = new && o.Partition == int32(pick.Partition(&kgo.Record{Key: recordKey(flights(), want[i])}, 9))
		}
		if time.Now().After(deadline) {
			t.Fatal("after 30 s records still go by the old number of partitions")
		}
	}
	for _, q := range []*Producer{p, producer(t, b.Addr())} {
		again, replayed, err := q.AppendOnce(t.Context(), flights(), "k", want)
		if err != nil || !replayed || !slices.Equal(again, before) {
			t.Errorf("the request again: %v %v", replayed, err)
		}
	}
}

// A process that was killed in the middle of a request: its records lie by the old number of partitions, the others go by
// the new one, each once.
func TestAppendOnceGoesOnWithMorePartitions(t *testing.T) {
	b := start(t)
	want := payloads(300)
	killed(t, b.Addr(), "k", want, []int{7, 0, 150, 299, 31})
	setPartitions(t, admin(t, b.Addr()), 11)
	offsets, replayed, err := producer(t, b.Addr()).AppendOnce(t.Context(), flights(), "k", want)
	if err != nil || !replayed {
		t.Fatal(replayed, err)
	}
	onlyOnce(t, b.Addr(), want, offsets)
}

// A topic file that asks for more partitions gets them; one that asks for fewer changes nothing.
func TestPrepareAddsPartitions(t *testing.T) {
	b := start(t)
	p := producer(t, b.Addr())
	topic := flights()
	for _, step := range []struct {
		file int
		want int32
	}{{4, 4}, {6, 6}, {2, 6}, {0, 6}, {7, 7}} {
		topic.Partitions = step.file
		if _, n, err := p.Prepare(t.Context(), topic); err != nil || n != step.want {
			t.Errorf("with %d in its file: %d partitions, %v; want %d", step.file, n, err, step.want)
		}
		if _, err := p.Append(t.Context(), topic, payloads(100)); err != nil {
			t.Error(err)
		}
	}
}

// A producer goes on with a topic that is deleted, and made again by somebody else or by nobody, with fewer partitions or
// more; what a request with a key has put into the old one does not count.
func TestAppendGoesOnInATopicMadeAgain(t *testing.T) {
	for name, partitions := range map[string]int32{"by nobody": 0, "with fewer partitions": 2, "with more": 6} {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			a := admin(t, b.Addr())
			p := producer(t, b.Addr())
			want := payloads(200)
			if _, _, err := p.AppendOnce(t.Context(), flights(), "k", want); err != nil {
				t.Fatal(err)
			}
			large := []byte(`{"origin":"A","pad":"` + strings.Repeat("x", 3<<19) + `"}`)
			if _, err := p.Append(t.Context(), flights(), [][]byte{large}); err != nil {
				t.Fatal(err)
			}
			old, _, err := p.Prepare(t.Context(), flights())
			if err != nil {
				t.Fatal(err)
			}
			deleteTopic(t, a, "flights")
			if partitions > 0 {
				if _, err := a.CreateTopic(t.Context(), partitions, -1, nil, "flights"); err != nil {
					t.Fatal(err)
				}
			}
			if at, err := p.Append(t.Context(), flights(), [][]byte{want[0]}); err != nil || at[0].Offset != 0 {
				t.Fatalf("%v, %v", at, err)
			}
			id, _, err := p.Prepare(t.Context(), flights())
			if err != nil || id == old {
				t.Errorf("it still believes in the topic that is gone: %v", err)
			}
			if _, err := p.Append(t.Context(), flights(), [][]byte{large}); err != nil {
				t.Error(err)
			}
			offsets, replayed, err := p.AppendOnce(t.Context(), flights(), "k", want)
			if err != nil || replayed {
				t.Fatalf("the request again: %v %v", replayed, err)
			}
			if got := readAll(t, b.Addr(), "flights"); len(got) != len(want)+2 {
				t.Errorf("the new topic has %d records, want %d", len(got), len(want)+2)
			}
			again, replayed, err := p.AppendOnce(t.Context(), flights(), "k", want)
			if err != nil || !replayed || !slices.Equal(again, offsets) {
				t.Errorf("and again: %v %v", replayed, err)
			}
		})
	}
}

// The notes' topic may be deleted too: one request fails, the next goes on.
func TestAppendOnceWithoutItsNotes(t *testing.T) {
	b := start(t)
	p := producer(t, b.Addr())
	if _, _, err := p.AppendOnce(t.Context(), flights(), "k", payloads(3)); err != nil {
		t.Fatal(err)
	}
	deleteTopic(t, admin(t, b.Addr()), requestsTopic)
	var err error
	for range 3 {
		if _, _, err = p.AppendOnce(t.Context(), flights(), "l", payloads(3)); err == nil {
			return
		}
	}
	t.Error(err)
}

// A run does not go on in another topic of the name as if the lines before were there; the same command again sends all.
func TestRunEndsWithItsTopic(t *testing.T) {
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprintf("made again %t", again), func(t *testing.T) {
			b := start(t)
			a := admin(t, b.Addr())
			const n = 20_000
			o := Options{Topic: flights(), Kafka: kafkalog.Config{Brokers: []string{b.Addr()}}, Files: []string{inputFile(t, n)}, ID: "x", Settle: 10 * time.Millisecond, Rate: 2000}
			gone := false
			o.Progress = func(now Progress) {
				if !gone && now.Records > 0 {
					gone = true
					if _, err := a.DeleteTopic(t.Context(), "flights"); err != nil {
						t.Error(err)
					}
					if again {
						if _, err := a.CreateTopic(t.Context(), 5, -1, nil, "flights"); err != nil {
							t.Error(err)
						}
					}
				}
			}
			_, err := Run(t.Context(), o)
			if err == nil || schemas.KindOf(err) != schemas.Failed || !strings.Contains(err.Error(), "deleted") {
				t.Fatalf("Run ended with %v", err)
			}
			t.Log(err)
			o.Rate, o.Progress = 0, nil
			res, err := Run(t.Context(), o)
			if err != nil || res.Resumed != 0 || res.Records != n {
				t.Fatalf("%+v %v", res, err)
			}
			placed(t, b.Addr(), n, len(res.Offsets))
		})
	}
}
