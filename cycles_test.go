package millrace_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/slice"
	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/speed"
)

// openLaw is a mill over the law's topic with one view, sums, and what ends the test on an error.
func openLaw(t *testing.T, partitions int32, sums string) (*mill, func(error)) {
	t.Helper()
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte(lawTopic))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	m := newMill(fail, t.Cleanup, t.TempDir(), partitions, topic, "")
	fail(m.open(map[string]string{"sums": sums}, 0))
	return m, fail
}

// A partial that is not as it was written is folded into nothing: the fold's checksum would be right. The cycle goes on without the
// fold, and folds when the partial is mended.
func TestRotIsNotFolded(t *testing.T) {
	m, fail := openLaw(t, 1, lawViews["sums"])
	m.cycle.FoldAt = 2
	cycle := func() int {
		fail(m.send(t.Context(), &kgo.Record{Value: []byte(`{"k":"a","n":1,"ts":"2020-01-01"}`)}))
		r, err := m.cycle.Cycle(t.Context())
		fail(err)
		return r.Folded
	}
	cycle()
	files, err := m.store.List(t.Context(), "topics/")
	fail(err)
	at := slices.IndexFunc(files, func(f store.Info) bool { return strings.Contains(f.Name, "/partials/") })
	whole, err := m.store.Get(t.Context(), files[at].Name)
	fail(err)
	fail(m.store.Put(t.Context(), files[at].Name, flipped(whole, len(whole)/2)))
	if folded := cycle() + cycle(); folded > 0 {
		t.Errorf("%d partials were folded of one that is rotten", folded)
	}
	fail(m.check(t.Context(), nil))
	_, err = m.cycle.Repair(t.Context(), time.Now())
	fail(err)
	if folded := cycle() + cycle(); folded == 0 {
		t.Error("nothing was folded after the repair")
	}
	fail(m.check(t.Context(), nil))
}

// Two cycles over the same plan: one commits, the other is told so, and nothing is doubled.
func TestOneOfTwoCyclesWins(t *testing.T) {
	m, fail := openLaw(t, 1, lawViews["sums"])
	for range 100 {
		fail(m.send(t.Context(), &kgo.Record{Value: []byte(`{"k":"a","n":1,"ts":"2020-01-01"}`)}))
	}
	errs := make(chan error, 4)
	for range 4 {
		go func() {
			_, err := m.cycle.Cycle(context.WithoutCancel(t.Context()))
			errs <- err
		}()
	}
	won := 0
	for range 4 {
		switch err := <-errs; {
		case err == nil:
			won++
		case !errors.Is(err, store.ErrExist):
			t.Error(err)
		}
	}
	if won == 0 {
		t.Error("nobody won")
	}
	fail(m.check(t.Context(), nil))
}

// An answer as of offsets within a folded partial is made of the parts it was folded of, and of records only where no part
// ends; with the parts gone it is made of records.
func TestAsOfOffsetsWithinAFold(t *testing.T) {
	m, fail := openLaw(t, 1, lawViews["sums"])
	m.cycle.FoldAt = 2
	for range 4 {
		for range 10 {
			fail(m.send(t.Context(), &kgo.Record{Value: []byte(`{"k":"a","n":1,"ts":"2020-01-01"}`)}))
		}
		_, err := m.cycle.Cycle(t.Context())
		fail(err)
	}
	for range 2 {
		_, err := m.cycle.Cycle(t.Context())
		fail(err)
	}
	explain := func(to int64) string {
		asOf := &serving.AsOf{Offsets: map[string]schemas.Frontier{"t": {0: to}}}
		fail(m.check(t.Context(), asOf))
		e, err := m.server.Explain(t.Context(), serving.Request{SQL: "SELECT * FROM sums", AsOf: asOf})
		fail(err)
		return fmt.Sprint(e.Sources[0].Partials, e.Sources[0].Files)
	}
	for to, want := range map[int64]string{40: "1 []", 30: "2 []", 20: "1 []", 13: "1 [0@[10,13)]", 7: "0 [0@[0,7)]", 0: "0 []"} {
		if got := explain(to); got != want {
			t.Errorf("as of offset %d: partials and records %s, want %s", to, got, want)
		}
	}
	files, err := m.cycle.Store.List(t.Context(), "topics/")
	fail(err)
	for _, f := range files {
		if strings.Contains(f.Name, "/partials/") && !strings.Contains(f.Name, "-00000000000000000040") {
			fail(m.cycle.Store.Delete(t.Context(), f.Name))
		}
	}
	if got := explain(30); got != "0 [0@[0,30)]" {
		t.Errorf("without parts: partials and records %s", got)
	}
	if f, err := m.cycle.Fsck(t.Context()); err != nil || len(f.Damage)+len(f.Orphans) > 0 {
		t.Errorf("fsck without parts: %+v, %v", f, err)
	}
}

// A log that lost its first records before any cycle ran, with slices above them: the answer is over what it still has.
func TestALogThatForgot(t *testing.T) {
	m, fail := openLaw(t, 1, lawViews["sums"])
	for range 10 {
		fail(m.send(t.Context(), &kgo.Record{Value: []byte(`{"k":"a","n":1,"ts":"2020-01-01"}`)}))
	}
	messages, err := m.slice(t.Context(), schemas.Range{From: 5, To: 8})
	fail(err)
	fail(m.publish(t.Context(), messages))
	fail(m.forget(t.Context(), 0, 4))
	m.sent -= 4
	fail(m.check(t.Context(), nil))
	verdict, err := m.server.Verify(t.Context(), m.defs, m.defs.Views["sums"], nil)
	fail(err)
	if l := verdict.Certificate.Topics["t"].Layers; l.Speed.Slices != 1 || l.Speed.Records != 3 || l.Raw.Records != 3 {
		t.Errorf("the layers are %+v", l)
	}
}

// What Kafka dropped before a cycle had read it is named, offset by offset, by cycles and questions; what lies below the hole is answered.
func TestAHoleIsNamed(t *testing.T) {
	m, fail := openLaw(t, 1, lawViews["sums"])
	send := func(n int) {
		for range n {
			fail(m.send(t.Context(), &kgo.Record{Value: []byte(`{"k":"a","n":1,"ts":"2020-01-01"}`)}))
		}
	}
	send(5)
	_, err := m.cycle.Cycle(t.Context())
	fail(err)
	send(5)
	fail(m.forget(t.Context(), 0, 8))
	const words = "t[0]: Kafka dropped offsets [5, 8) before a cycle had read them"
	if _, err := m.cycle.Cycle(t.Context()); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("a cycle: %v", err)
	}
	if err := m.check(t.Context(), nil); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("a question: %v", err)
	}
	fail(m.check(t.Context(), &serving.AsOf{Offsets: map[string]schemas.Frontier{"t": {0: 5}}}))
}

// A manifest is a moment: what cycles had read when it was committed, whatever came since, in either half too.
func TestAsOfAManifest(t *testing.T) {
	m, fail := openLaw(t, 2, lawViews["sums"])
	for cycle := range 3 {
		for i := range 10 {
			fail(m.send(t.Context(), &kgo.Record{Partition: int32(i % 2), Value: []byte(`{"k":"a","n":1,"ts":"2020-01-01"}`)}))
		}
		if cycle < 2 {
			_, err := m.cycle.Cycle(t.Context())
			fail(err)
		}
	}
	for moment, want := range map[string]string{`{"t":{"manifest":1}}`: "10 10 0", `{"t":{"manifest":2}}`: "20 20 0", `{"t":{"manifest":3}}`: "as of: topic t has no manifest 3, the newest is 2",
		`{"t":{"manifest":0}}`: "as of: topic t has no manifest 0, the newest is 2", `{"other":{"manifest":1}}`: "30 20 10", `{"t":{"manifest":"1"}}`: "not a moment"} {
		got := ""
		asOf, err := serving.ParseAsOf([]byte(moment))
		if err == nil {
			var answer []string
			answer, err = rows(t.Context(), m.server, serving.Request{SQL: "SELECT (SELECT sum(c) FROM sums), coalesce((SELECT sum(c) FROM batch.sums), 0), coalesce((SELECT sum(c) FROM speed.sums), 0)", AsOf: asOf})
			got = strings.NewReplacer("[", "", "]", "", ",", " ").Replace(strings.Join(answer, ""))
		}
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", moment, got, want)
		}
	}
}

// A log that lost its newest records, as after the election of a leader that lacked them, is named by whoever had read them:
// cycles, the speed layer and questions. What is committed of them is answered all the same.
func TestALogThatWasCut(t *testing.T) {
	m, fail := openLaw(t, 1, lawViews["sums"])
	for range 10 {
		fail(m.send(t.Context(), &kgo.Record{Value: []byte(`{"k":"a","n":1,"ts":"2020-01-01"}`)}))
	}
	messages, err := m.slice(t.Context(), schemas.Range{From: 8, To: 10})
	fail(err)
	fail(m.publish(t.Context(), messages))
	endAt := m.cut()
	endAt(9)
	m.sent--
	fail(m.check(t.Context(), nil)) // the slice of what is gone is not used
	if m.used.Speed.Slices > 0 {
		t.Error("a slice beyond the log's end was used")
	}
	endAt(10)
	m.sent++
	_, err = m.cycle.Cycle(t.Context())
	fail(err)
	endAt(6)
	const words = "t[0] ends at 6, below the frontier 10"
	if _, err := m.cycle.Cycle(t.Context()); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("a cycle: %v", err)
	}
	if err := m.check(t.Context(), nil); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("a question: %v", err)
	}
	if err := m.check(t.Context(), &serving.AsOf{Time: time.Now().Add(time.Hour)}); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("a question as of a time: %v", err)
	}
	layer := speed.Input{Log: m.log, Store: m.store, Topic: m.topic, Views: m.cycle.Views}
	if _, err := layer.Plan(t.Context()); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("the speed layer: %v", err)
	}
	for _, to := range []int64{3, 6, 8, 10} {
		fail(m.check(t.Context(), &serving.AsOf{Offsets: map[string]schemas.Frontier{"t": {0: to}}}))
	}
	if err := m.check(t.Context(), &serving.AsOf{Offsets: map[string]schemas.Frontier{"t": {0: 11}}}); err == nil {
		t.Error("an offset that nobody has was answered")
	}
}

// cut gives what lets the log's one partition end at an offset.
func (m *mill) cut() (endAt func(int64)) {
	var end atomic.Int64
	end.Store(m.sent)
	m.broker.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		m.broker.KeepControl()
		request := r.(*kmsg.ListOffsetsRequest)
		if request.Topics[0].Topic != m.topic.Name {
			return nil, nil, false
		}
		response := request.ResponseKind().(*kmsg.ListOffsetsResponse)
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic = m.topic.Name
		partition := kmsg.NewListOffsetsResponseTopicPartition()
		if partition.Offset = 0; request.Topics[0].Partitions[0].Timestamp != -2 { // the log's start
			partition.Offset = end.Load()
		}
		topic.Partitions = append(topic.Partitions, partition)
		response.Topics = append(response.Topics, topic)
		return response, nil, true
	})
	return end.Store
}

// A moment before the oldest record that Kafka still has is found in the files; a certificate whose first records are gone
// is not answered over what is left.
func TestMomentsOfALogThatForgot(t *testing.T) {
	m, fail := openLaw(t, 1, lawViews["sums"])
	second := func(n int) time.Time { return time.Date(2026, 1, 1, 0, 0, n, 0, time.UTC) }
	send := func(n int) {
		value := `{"k":"a","n":1,"ts":"2020-01-01"}`
		if n%2 > 0 {
			value = "refused"
		}
		fail(m.send(t.Context(), &kgo.Record{Value: []byte(value), Timestamp: second(n)}))
	}
	for n := range 10 {
		send(n)
	}
	_, err := m.cycle.Cycle(t.Context())
	fail(err)
	fail(m.forget(t.Context(), 0, 8))
	for n, want := range map[int]int64{0: 0, 3: 3, 4: 4, 8: 8, 9: 9, 10: 10} {
		verdict, err := m.server.Verify(t.Context(), m.defs, m.defs.Views["sums"], &serving.AsOf{Time: second(n)})
		fail(err)
		if c := verdict.Certificate.Topics["t"]; c.To[0] != want || c.Layers.Batch.Records+c.Layers.Batch.Rejects != want {
			t.Errorf("as of record %d's append time the answer covers %+v", n, c)
		}
		if verdict.Differing > 0 {
			t.Errorf("as of record %d's append time: %+v", n, verdict)
		}
	}

	unread := &serving.AsOf{Offsets: map[string]schemas.Frontier{"t": {0: 10}}, Topics: map[string]serving.Coverage{"t": {From: schemas.Frontier{0: 6}}}}
	_, err = rows(t.Context(), m.server, serving.Request{SQL: "SELECT * FROM sums", AsOf: unread})
	fail(err)
	if _, err = rows(t.Context(), m.alone, serving.Request{SQL: "SELECT * FROM sums", AsOf: unread}); err == nil {
		t.Error("a certificate from offset 6 was answered from offset 8")
	}
}

// A sum whose large terms cancel differs by the rounding of the large ones from one order to another: no difference. A
// slice that holds other rows than its range is one.
func TestWhatIsADifference(t *testing.T) {
	m, fail := openLaw(t, 2, "SELECT k, sum(f) AS s, avg(f) AS a, sum(f) / 3 + 1 AS e, stddev(f) AS d FROM t GROUP BY k")
	for _, f := range []string{"1e15", "0.1", "0.2", "-1e15", "0.3"} {
		fail(m.send(t.Context(), &kgo.Record{Value: []byte(`{"k":"a","ts":"2020-01-01","f":` + f + `}`)}))
	}
	for from := range int64(4) {
		messages, err := m.slice(t.Context(), schemas.Range{From: from, To: from + 1})
		fail(err)
		fail(m.publish(t.Context(), messages))
	}
	fail(m.send(t.Context(), &kgo.Record{Partition: 1, Value: []byte(`{"k":"a","ts":"2020-01-01","f":0.25}`)}))
	fail(m.check(t.Context(), nil))
	sum := func(s *serving.Server) string {
		out, err := rows(t.Context(), s, serving.Request{SQL: "SELECT s FROM sums"})
		fail(err)
		return strings.Join(out, "")
	}
	fail(m.check(t.Context(), &serving.AsOf{Offsets: map[string]schemas.Frontier{"t": {0: 4, 1: 0}}}))
	t.Logf("1e15 + 0.1 + 0.2 - 1e15 + 0.3 and 0.25 are %s merged", sum(m.server))

	fail(m.send(t.Context(), &kgo.Record{Partition: 1, Value: []byte(`{"k":"b","ts":"2020-01-01","f":0.5}`)}))
	messages, err := m.slice(t.Context(), schemas.Range{Partition: 1, From: 0, To: 1})
	fail(err)
	s, err := slice.Decode(messages[0].Value)
	fail(err)
	s.From, s.To = 1, 2
	fail(m.publishBytes(t.Context(), 1, slice.Encode(s)))
	verdict, err := m.server.Verify(t.Context(), m.defs, m.defs.Views["sums"], nil)
	fail(err)
	if verdict.Differing == 0 {
		t.Error("verify passed over a slice with the rows of another range")
	}
}

// What lies on the slices' topic and is no slice of this view over this topic is passed over: the log's records stand in.
func TestWhatIsNotToBeBelieved(t *testing.T) {
	m, fail := openLaw(t, 1, lawViews["sums"])
	for range 10 {
		fail(m.send(t.Context(), &kgo.Record{Value: []byte(`{"k":"a","n":1,"ts":"2020-01-01"}`)}))
	}
	messages, err := m.slice(t.Context(), schemas.Range{From: 4, To: 8})
	fail(err)
	good := messages[0].Value
	s, err := slice.Decode(good)
	fail(err)
	for name, noise := range noises {
		fail(m.publishBytes(t.Context(), 0, noise(*s, good, func(n int) int { return n / 2 })))
		if err := m.check(t.Context(), nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if m.used.Speed.Slices > 0 {
			t.Fatalf("%s: it was used", name)
		}
	}
	fail(m.publish(t.Context(), messages))
	fail(m.publish(t.Context(), messages)) // the same twice counts once
	fail(m.check(t.Context(), nil))
	if m.used.Speed.Slices != 1 {
		t.Errorf("%d slices were used beside the noise, want the good one", m.used.Speed.Slices)
	}
}

// The two halves of a view as of a certificate are those of then, although cycles have moved their border since.
func TestHalvesAsOfACertificate(t *testing.T) {
	m, fail := openLaw(t, 2, lawViews["sums"])
	send := func(n int) {
		for i := range n {
			fail(m.send(t.Context(), &kgo.Record{Partition: int32(i % 2), Value: []byte(`{"k":"a","n":1,"ts":"2020-01-01"}`)}))
		}
	}
	cycle := func() {
		_, err := m.cycle.Cycle(t.Context())
		fail(err)
	}
	halves := func(asOf *serving.AsOf) (batch, speed []string, then *serving.AsOf) {
		ask := func(half string) []string {
			answer, err := m.server.Query(t.Context(), serving.Request{SQL: "SELECT c FROM " + half + ".sums", AsOf: asOf})
			fail(err)
			defer answer.Close()
			text, err := json.Marshal(answer.Certificate)
			fail(err)
			then, err = serving.ParseAsOf(text)
			fail(err)
			out := []string{}
			fail(answer.Rows(t.Context(), func(row json.RawMessage) error {
				out = append(out, string(row))
				return nil
			}))
			return out
		}
		return ask("batch"), ask("speed"), then
	}
	send(6)
	_, none, first := halves(nil)
	cycle()
	send(4)
	batch, speed, second := halves(nil)
	if got := fmt.Sprint(none, batch, speed); got != "[[6]] [[6]] [[4]]" {
		t.Fatalf("halves are %s", got)
	}
	cycle()
	send(3)
	cycle()
	for range 2 { // also as of the certificate of such an answer
		b, s, again := halves(second)
		if fmt.Sprint(b, s) != fmt.Sprint(batch, speed) {
			t.Errorf("as of the second certificate: %v %v", b, s)
		}
		second = again
	}
	if b, s, _ := halves(first); fmt.Sprint(b, s) != "[] [[6]]" {
		t.Errorf("as of the first certificate: %v %v", b, s)
	}
}
