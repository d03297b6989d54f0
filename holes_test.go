package millrace_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/speed"
)

// holed is a mill whose log forgets what no cycle has read.
type holed struct {
	*testing.T
	*mill
	fail func(error)
}

func newHoled(t *testing.T, partitions int32) *holed {
	m, fail := openLaw(t, partitions, lawViews["sums"])
	return &holed{t, m, fail}
}

// fill sends n records to each partition, one a second from their offset on.
func (h *holed) fill(n int) {
	h.Helper()
	_, end, err := h.log.Offsets(h.Context(), "t")
	h.fail(err)
	for p := range h.partitions {
		for i := range int64(n) {
			at := end[p] + i
			h.fail(h.send(h.Context(), &kgo.Record{Partition: p, Timestamp: h.second(at), Value: fmt.Appendf(nil, `{"k":"a","n":%d,"ts":"2020-01-01"}`, at)}))
		}
	}
}

func (h *holed) second(n int64) time.Time { return time.Date(2026, 1, 1, 0, 0, int(n), 0, time.UTC) }

// lose lets the log forget what lies below an offset and above the frontier.
func (h *holed) lose(partition int32, below int64) {
	h.Helper()
	p, err := h.cycle.Plan(h.Context())
	h.fail(err)
	h.fail(h.forget(h.Context(), partition, below))
	h.sent -= below - p.From[partition]
}

// run runs a cycle that accepts what is lost, or not.
func (h *holed) run(accept bool) (*batch.Report, error) {
	h.cycle.AcceptLoss = accept
	defer func() { h.cycle.AcceptLoss = false }()
	return h.cycle.Cycle(h.Context())
}

// must is run for a cycle that does not fail.
func (h *holed) must(accept bool) *batch.Report {
	h.Helper()
	r, err := h.run(accept)
	h.fail(err)
	return r
}

// ask is the answer to a question and its certificate.
func (h *holed) ask(asOf *serving.AsOf) (string, *serving.Certificate, error) {
	a, err := h.server.Query(h.Context(), serving.Request{SQL: "SELECT k, c, s FROM sums", AsOf: asOf})
	if err != nil {
		return "", nil, err
	}
	defer a.Close()
	got, err := rowsOf(h.Context(), a)
	return fmt.Sprint(got), a.Certificate, err
}

// again is a certificate as what it is asked with.
func (h *holed) again(c *serving.Certificate) *serving.AsOf {
	h.Helper()
	text, err := json.Marshal(c)
	h.fail(err)
	asOf, err := serving.ParseAsOf(text)
	h.fail(err)
	return asOf
}

// whole says that nothing is wrong with what is stored, that nothing lacks and that it is what is made anew.
func (h *holed) whole() {
	h.Helper()
	h.fail(h.check(h.Context(), nil))
	if f, err := h.cycle.Fsck(h.Context()); err != nil || len(f.Damage)+len(f.Orphans) > 0 {
		h.Errorf("fsck: %+v, %v", f, err)
	}
	if made, err := h.cycle.CatchUp(h.Context(), batch.Pace{}); err != nil || len(made) > 0 {
		h.Errorf("partials were missing: %+v, %v", made, err)
	}
	made, err := h.cycle.Rebuild(h.Context(), h.cycle.Views, batch.Pace{})
	h.fail(err)
	for _, r := range made {
		if r.Same != r.Partials {
			h.Errorf("made anew: %+v", r)
		}
	}
}

func at(offsets ...int64) *serving.AsOf {
	f := schemas.Frontier{}
	for p, offset := range offsets {
		f[int32(p)] = offset
	}
	return &serving.AsOf{Offsets: map[string]schemas.Frontier{"t": f}}
}

// What Kafka dropped before a cycle had read it stops a topic until somebody goes on without it; from then on every
// certificate over it names it, and what has no record of it is whole.
func TestALossThatIsAccepted(t *testing.T) {
	h := newHoled(t, 2)
	h.fill(5)
	if r := h.must(true); len(r.Lost) > 0 { // without a hole nothing is lost
		t.Errorf("the first cycle: %+v", r)
	}
	early, before, err := h.ask(nil)
	h.fail(err)
	h.fill(5)
	_, late, err := h.ask(nil)
	h.fail(err)
	h.lose(0, 8)
	h.fail(h.forget(t.Context(), 1, 6))
	h.sent--
	if _, err := h.run(false); err == nil || !strings.Contains(err.Error(), "--accept-loss") {
		t.Errorf("a cycle: %v", err)
	}
	r := h.must(true)
	if fmt.Sprint(r.Lost) != "[0@[5,8) 1@[5,6)]" || r.Records != 6 {
		t.Errorf("the cycle gave up %v and read %d records", r.Lost, r.Records)
	}
	if r := h.must(true); len(r.Lost) > 0 || r.Records > 0 || r.Manifest != 2 {
		t.Errorf("the next cycle: %+v", r)
	}
	h.whole()

	for _, c := range []struct {
		asOf *serving.AsOf
		want string // lost, and the records covered
	}{
		{nil, "[0@[5,8) 1@[5,6)] 16"}, {at(5, 5), "[] 10"}, {at(2, 10), "[1@[5,6)] 11"}, {at(6, 5), "[0@[5,6)] 10"}, {at(9, 9), "[0@[5,8) 1@[5,6)] 14"},
		{&serving.AsOf{Time: h.second(4)}, "[] 8"}, {&serving.AsOf{Time: h.second(7)}, "[0@[5,8) 1@[5,6)] 11"},
	} {
		_, got, err := h.ask(c.asOf)
		h.fail(err)
		covered := got.Topics["t"]
		if text := fmt.Sprintf("%v %d", covered.Lost, covered.Layers.Batch.Records); text != c.want {
			t.Errorf("as of %+v: %s, want %s", c.asOf, text, c.want)
		}
		h.fail(h.check(t.Context(), c.asOf))
		h.fail(h.check(t.Context(), h.again(got)))
	}
	if again, _, err := h.ask(h.again(before)); err != nil || again != early {
		t.Errorf("the answer from before the hole was %s and is %s, %v", early, again, err)
	}
	if _, _, err := h.ask(h.again(late)); err == nil || !strings.Contains(err.Error(), "the certificate covers t[0] with offsets [5, 8), which are lost since") {
		t.Errorf("an answer that had what is lost: %v", err)
	}
	if rows, err := rows(t.Context(), h.server, serving.Request{SQL: "SELECT _partition, count(*), min(_offset) FILTER (_offset > 4) FROM t GROUP BY ALL ORDER BY 1"}); err != nil || len(rows) != 2 {
		t.Errorf("rows: %v, %v", rows, err)
	}
	e, err := h.server.Explain(t.Context(), serving.Request{SQL: "SELECT * FROM sums, batch.sums, speed.sums"})
	h.fail(err)
	for _, s := range e.Sources {
		if want := map[string]string{"": "[0@[5,8) 1@[5,6)]", "batch": "[0@[5,8) 1@[5,6)]", "speed": "[]"}[s.Half]; fmt.Sprint(s.Lost) != want || len(s.Files) > 0 {
			t.Errorf("%+v", s)
		}
	}
}

// overtaken is a store in which another is faster with the next file.
type overtaken struct {
	store.Store
	first func()
}

func (s *overtaken) Create(ctx context.Context, name string, data []byte) error {
	s.first()
	return s.Store.Create(ctx, name, data)
}

// A loss may follow on a loss, with nothing left to read; of two who accept it one commits.
func TestALossOnALoss(t *testing.T) {
	h := newHoled(t, 1)
	h.fill(3)
	h.must(false)
	h.fill(3)
	h.lose(0, 5)
	layer := speed.Input{Log: h.log, Store: h.store, Topic: h.topic, Views: h.cycle.Views, Scratch: h.dir}
	if plan, err := layer.Plan(t.Context()); err != nil || plan.Ranges[0].From != 5 { // it goes on above the hole
		t.Errorf("the speed layer: %+v, %v", plan, err)
	}
	h.must(true)
	h.fill(4)
	h.lose(0, 10)
	faster := *h.cycle
	h.cycle.Store = &overtaken{h.store, func() {
		faster.AcceptLoss = true
		r, err := faster.Cycle(t.Context())
		h.fail(err)
		if fmt.Sprint(r.Lost) != "[0@[6,10)]" || r.Records != 0 || r.Manifest != 3 {
			t.Errorf("%+v", r)
		}
	}}
	if _, err := h.run(true); !errors.Is(err, store.ErrExist) {
		t.Errorf("the slower one: %v", err)
	}
	h.cycle.Store = h.store
	h.whole()
	h.fill(2)
	h.fail(layer.CatchUp(t.Context()))
	h.whole()
	if h.used.Speed.Slices == 0 {
		t.Error("no slice above what is lost was used")
	}
	h.must(false)
	h.fill(3)
	h.lose(0, 13)
	h.must(true)
	h.whole()
	_, c, err := h.ask(nil)
	h.fail(err)
	if got := fmt.Sprint(c.Topics["t"].Lost); got != "[0@[3,5) 0@[6,10) 0@[12,13)]" {
		t.Errorf("lost are %s", got)
	}
}

// Folds, partials of new views and repairs go over what is lost as over any range without a record.
func TestWorkOverALoss(t *testing.T) {
	h := newHoled(t, 1)
	h.cycle.FoldAt = 2
	h.fill(3)
	h.must(false)
	h.fill(3)
	h.lose(0, 5)
	h.must(true)
	folded := 0
	for range 4 {
		h.fill(1)
		folded += h.must(false).Folded
	}
	if folded < 3 {
		t.Errorf("%d folds", folded)
	}
	h.whole()
	for to := range int64(11) {
		h.fail(h.check(t.Context(), at(to)))
	}

	h.fail(h.open(map[string]string{"sums": lawViews["sums"], "one": lawViews["one"]}, 0))
	made, err := h.cycle.CatchUp(t.Context(), batch.Pace{})
	h.fail(err)
	if len(made) != 1 || made[0].Partials != 1 || made[0].Records != 8 {
		t.Errorf("a new view's partials: %+v", made)
	}
	h.whole()

	files, err := h.store.List(t.Context(), "topics/")
	h.fail(err)
	for _, f := range files {
		if strings.Contains(f.Name, "/partials/one") || strings.Contains(f.Name, "/data/0/00000000000000000005") {
			h.fail(h.store.Delete(t.Context(), f.Name))
		}
	}
	f, err := h.cycle.Repair(t.Context(), time.Now())
	h.fail(err)
	if len(f.Repaired) != 2 || len(f.Lost) > 0 {
		t.Errorf("repair: %+v", f)
	}
	h.must(false)
	_, err = h.cycle.CatchUp(t.Context(), batch.Pace{})
	h.fail(err)
	h.whole()
	for n := range 20 { // the drift watch finds no fault with any of it
		for _, v := range h.cycle.Views {
			s, err := h.server.Sample(t.Context(), h.defs, v, func(below int) int { return n % below })
			h.fail(err)
			if s != nil && (s.Drift != nil || s.Why != "") {
				t.Errorf("a sample of %s: %+v", s.Range, s)
			}
		}
	}
}

// A declaration that is changed after a loss has a dataset of its own, which begins where the log does; answers of the old one stay.
func TestADeclarationAfterALoss(t *testing.T) {
	h := newHoled(t, 1)
	h.fill(3)
	h.must(false)
	h.fill(3)
	h.lose(0, 5)
	h.must(true)
	want, old, err := h.ask(nil)
	h.fail(err)
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte(lawTopic+"  more: VARCHAR\n"))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	h.topic, h.sent = topic, 1
	h.fail(h.open(map[string]string{"sums": lawViews["sums"]}, 0))
	h.must(true)
	h.whole()
	_, c, err := h.ask(nil)
	h.fail(err)
	if now := c.Topics["t"]; now.From[0] != 5 || len(now.Lost) > 0 {
		t.Errorf("the new dataset covers %+v", now)
	}
	got, again, err := h.ask(h.again(old))
	h.fail(err)
	if got != want || !slices.Equal(again.Topics["t"].Lost, old.Topics["t"].Lost) || len(old.Topics["t"].Lost) != 1 {
		t.Errorf("the old answer was %s of %+v, it is %s of %+v", want, old.Topics, got, again.Topics)
	}
}

// lose lets the log forget what no cycle has read, and a cycle goes on without it: certificates name it from then on.
func (l *law) lose() {
	l.sendSome()
	l.cycleOnce()
	l.sendSome()
	plan, err := l.mill.cycle.Plan(l.ctx)
	l.must(err)
	for _, r := range plan.From.Ranges(plan.To) {
		if rapid.Bool().Draw(l.T, "lost") {
			below := rapid.Int64Range(r.From+1, r.To).Draw(l.T, "lost below")
			l.must(l.mill.forget(l.ctx, r.Partition, below))
			l.mill.sent -= below - r.From
			l.took["losses"]++
			l.dropped, l.lost = true, true
		}
	}
	accepting := *l.mill.cycle
	accepting.AcceptLoss = true
	_, err = accepting.Cycle(l.ctx)
	l.must(err)
}
