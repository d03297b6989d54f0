// Package millrace_test holds what no package can hold alone: the law over all layers, the whole program under kill -9,
// and who may import whom.
package millrace_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/slice"
	"github.com/millrace/millrace/serving"
)

const lawTopic = `
partitions: 3
fields:
  k: VARCHAR
  n: BIGINT
  h: HUGEINT
  d: DECIMAL(18,3)
  f: DOUBLE
  ts: TIMESTAMP NOT NULL
  tags: VARCHAR[]
  s: STRUCT(a INTEGER, b VARCHAR)
`

// lawReference has a key twice, one that no record has, and no value for another.
const lawReference = "k,name,w\na,Anna,1\na,Alf,2\nb,Béla,2\nü€😀,Ünal,\nnobody,Nemo,3\n"

// lawViews are over the topic t and the reference r. No HAVING and no LIMIT hangs on a floating sum: what rounding moves
// over an edge has no one answer.
var lawViews = map[string]string{
	"sums":    "SELECT k, count(*) AS c, count(n) AS cn, sum(n) AS s, sum(h) AS sh, sum(d) AS sd, sum(f) AS sf, avg(f) AS a FROM t GROUP BY k",
	"ends":    "SELECT k, min(n), max(n), min(k), max(ts), arg_min(n, ts), arg_max(k, n), bool_and(n > 0), bool_or(f > 0) FROM t GROUP BY ALL",
	"spread":  "SELECT time_bucket(INTERVAL '1 hour', ts) AS w, stddev_samp(f), var_pop(n / 1000000), count(DISTINCT k), count(*) FILTER (n > 5) FROM t GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 5",
	"one":     "SELECT count(*), sum(n) / nullif(count(n), 0), max(length(k)), sum(f) - avg(d) FROM t WHERE f IS NOT NULL",
	"medians": "SELECT k, median(n) FROM t GROUP BY k",
	"windows": "SELECT time_bucket(INTERVAL '10 minutes', ts) AS w, k, count(*) FILTER (WHERE f > 0) AS up, avg(f) FILTER (WHERE n > 0), sum(DISTINCT n % 7) FROM t WHERE d BETWEEN -500000 AND 500000 GROUP BY w, k",
	"sizes":   "SELECT CASE WHEN n > 5 THEN 'big' WHEN n IS NULL THEN 'none' ELSE 'small' END AS size, count(*) AS c, sum(CASE WHEN f < 0 THEN 1 ELSE 0 END) FROM t GROUP BY size HAVING c > 1 ORDER BY c DESC LIMIT 2",
	"joined":  "SELECT r.name, count(*), sum(t.n), arg_max(t.k, t.ts), count(DISTINCT t.d), avg(r.w) FROM t JOIN r ON r.k = t.k GROUP BY r.name",
	"left":    "SELECT coalesce(r.w, -1) AS w, count(*) AS c, count(r.k), min(t.ts) FROM t LEFT JOIN r USING (k) GROUP BY ALL ORDER BY c DESC, w LIMIT 3",
	"firsts":  "SELECT k, first(n), last(n), any_value(h), arg_min(k, n), arg_max(d, f), arg_min(tags, ts) FROM t GROUP BY k",
	"places":  "SELECT _partition, min(_offset), max(_offset), count(*), count(_key), count(_extra), max(len(_headers)) FROM t GROUP BY ALL",
	"nested":  "SELECT tags, s.a AS a, count(*), count(DISTINCT s), max(h) FROM t GROUP BY ALL",
	"none":    "SELECT k, sum(n) FROM t WHERE ts < TIMESTAMP '1900-01-01' GROUP BY k",
	"rows":    "SELECT k, n, row_number() OVER (PARTITION BY k ORDER BY ts, _partition, _offset) AS nth FROM t",
}

// event draws a payload: one in ten is no record at all, the others come late, leave out fields, and hold what is hard
// to hold.
func event() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		if rapid.IntRange(0, 9).Draw(t, "kind") == 0 {
			return []byte(rapid.SampledFrom([]string{"", "{", "[]", "null", `{"n":1.5,"ts":"2020-01-01"}`, `{"ts":null}`, `{"k":1,"ts":"2020-01-01"}`, `{"ts":"2020-01-01","ts":"2020-01-01"}`,
				"\xff", `{"ts":"2020-01-01","f":1e999}`, `{"ts":"2020-02-30"}`, `{"ts":"2020-01-01","s":{"a":2147483648}}`, `{"ts":"2020-01-01"}x`}).Draw(t, "bad"))
		}
		e := map[string]any{"ts": fmt.Sprintf("2020-01-0%dT%02d:%02d:00.%06d", rapid.IntRange(1, 3).Draw(t, "day"), rapid.IntRange(0, 23).Draw(t, "hour"), rapid.SampledFrom([]int{0, 9, 10}).Draw(t, "minute"), rapid.IntRange(0, 3).Draw(t, "µs"))}
		maybe := func(name string, v any) {
			if rapid.IntRange(0, 4).Draw(t, name+" there") > 0 {
				e[name] = v
			}
		}
		raw := func(name string, texts ...string) json.RawMessage {
			return json.RawMessage(rapid.SampledFrom(texts).Draw(t, name))
		}
		maybe("k", rapid.SampledFrom([]any{"a", "b", "ü€😀", "", "a \"quoted\"\n", "\x00", nil}).Draw(t, "k"))
		maybe("n", rapid.OneOf(rapid.Int64Range(-5, 10), rapid.Int64()).Draw(t, "n"))
		maybe("h", raw("h", "1", "-170141183460469231731687303715884", "99999999999999999999999999999999999", `"7"`, "1e3"))
		maybe("d", json.RawMessage(fmt.Sprintf("%d.%03d", rapid.IntRange(-999999, 999999).Draw(t, "d"), rapid.IntRange(0, 999).Draw(t, "thousandths"))))
		// Large ones that cancel leave the rounding of the small ones.
		maybe("f", rapid.OneOf(rapid.Float64Range(-1e6, 1e6), rapid.SampledFrom([]float64{0.1, 0.2, 0.7, 1e15, -1e15, 1e-300, 3})).Draw(t, "f"))
		maybe("tags", raw("tags", `[]`, `["x"]`, `["x",null]`, `["ü","x"]`, `null`))
		maybe("s", raw("s", `{}`, `{"a":1,"b":"x"}`, `{"a":null}`, `{"b":"x","c":1}`, `null`))
		maybe("unknown", "kept")
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}

// The law: whatever was sent, sliced and committed, in whatever order, however often and by whom, with whatever else on
// the slices' topic, every view's merged answer is its recompute over every record, now and as of any offsets, and the
// certificate's counts add up. And the rows below that recompute are those that the log alone gives.
//
// Half of the schedules run beside the other half: a schedule waits much.
func TestTheLaw(t *testing.T) {
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte(lawTopic))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	useS3(t)
	// A hundred schedules if nobody says how many a half is to have.
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		if err := checks.Value.Set("50"); err != nil {
			t.Fatal(err)
		}
		defer checks.Value.Set(checks.DefValue)
	}
	var all lawTally
	t.Run("of", func(t *testing.T) {
		for _, half := range []string{"one half", "the other half"} {
			t.Run(half, func(t *testing.T) {
				t.Parallel()
				rapid.Check(t, func(t *rapid.T) {
					l := newLaw(t, topic)
					l.run()
					all.add(l)
				})
			})
		}
	})
	t.Logf("answers were made of %d records in batch, with %d partials folded, %d slices and %d raw records; took place: %v", all.used.Batch.Records, all.folded, all.used.Speed.Slices, all.used.Raw.Records, all.took)
	if all.folded == 0 || all.found == 0 || all.used.Batch.Records == 0 || all.used.Speed.Slices == 0 || all.used.Raw.Records == 0 {
		t.Error("a layer took no part")
	}
	for _, kind := range []string{"deaths", "pauses", "answers beside", "answers again", "answers as of manifests", "failures in bad weather", "losses"} {
		if all.took[kind] == 0 {
			t.Errorf("there were no %s", kind)
		}
	}
}

// lawTally adds up what runs were made of.
type lawTally struct {
	mu            sync.Mutex
	used          serving.Layers
	folded, found int
	took          map[string]int
}

func (a *lawTally) add(l *law) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used.Batch.Records += l.mill.used.Batch.Records
	a.used.Speed.Slices += l.mill.used.Speed.Slices
	a.used.Raw.Records += l.mill.used.Raw.Records
	a.folded, a.found = a.folded+l.folded, a.found+l.mill.found
	if a.took == nil {
		a.took = map[string]int{}
	}
	for kind, n := range l.took {
		a.took[kind] += n
	}
}

// law is one run of the property.
type law struct {
	*rapid.T
	ctx     context.Context
	of      map[string]string // views that it has some of; nil: lawViews
	mill    *mill
	fate    *fate  // of the processes; one that lives on is not touched
	last    []byte // the slice published last
	dropped bool   // the log no longer holds its first records
	lost    bool   // nor does anything hold some that no cycle had read
	folded  int    // partials

	before  []schemas.Frontier // the log's end whenever partitions were added
	counted map[int]int64      // the records that were there then, by the number of partitions
	answers []lawAnswer        // some that were given
	asked   int                // questions, to the views in turn
	took    map[string]int     // how often what took place
}

// lawSteps are what one step of a schedule may be, as often as it is likely; those that have others within them are not among them.
var lawSteps = []string{"send", "send", "send", "slice", "slice", "slices", "slices", "tidy", "noise", "noise", "cycle", "cycles", "cycle of few views", "history", "killed cycle", "two cycles", "restart", "drop", "loss", "leaders", "grow", "grow", "made again", "watch"}

// step does one of these.
func (l *law) step(of []string) {
	map[string]func(){"send": l.sendSome, "slice": l.sliceSome, "slices": l.slices, "tidy": func() { l.must(l.mill.tidy(l.ctx)) }, "noise": l.noise, "cycle": l.cycleOnce, "cycles": l.cycles,
		"cycle of few views": l.cycleOfFew, "history": l.history, "killed cycle": l.killedCycle, "two cycles": l.twoCycles, "restart": l.open, "drop": l.drop, "loss": l.lose, "death": l.death, "grow": l.grow, "made again": l.remake,
		"leaders": l.mill.broker.ShufflePartitionLeaders, "beside": l.beside, "pause": l.pause, "watch": l.watch}[pick(l.T, "step", of...)]()
}

// pick draws one of these, each as likely: rapid alone prefers the first.
func pick[E any](t *rapid.T, what string, of ...E) E {
	seed := rapid.Uint64().Draw(t, what)
	e := of[rand.New(rand.NewPCG(seed, seed)).IntN(len(of))]
	t.Logf("%s: %v", what, e)
	return e
}

// newLaw starts a run: an empty topic, and a store in a folder or an object store.
func newLaw(t *rapid.T, topic *schemas.Topic) *law {
	l, at := &law{T: t, ctx: context.Background(), fate: &fate{}, took: map[string]int{}}, ""
	dir, err := os.MkdirTemp("", "millrace-law-")
	l.must(err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	if pick(t, "object store", true, true, false) {
		at = newS3(l.must, t.Cleanup, l.fate.storing)
	}
	l.mill = newMill(l.must, t.Cleanup, dir, pick[int32](t, "partitions", 1, 2, 3, 4), topic, lawReference, kfake.ListenFn(l.fate.listen))
	l.fate.watch(l.mill.broker)
	l.mill.at = at
	l.open()
	return l
}

// run is a schedule, and the law after it.
func (l *law) run() {
	for range pick(l.T, "steps", 3, 4, 5, 6, 7, 8, 9) {
		l.step(slices.Concat(lawSteps, []string{"death", "death", "beside", "beside", "pause", "pause"}))
	}
	l.must(l.mill.check(l.ctx, nil))
	l.watch()
	_, end, err := l.mill.log.Offsets(l.ctx, "t")
	l.must(err)
	if !l.dropped {
		l.must(l.mill.sameRows(l.ctx))
	}
	cut := schemas.Frontier{}
	for p, to := range end {
		cut[p] = rapid.Int64Range(0, to).Draw(l.T, "cut")
	}
	l.must(l.mill.check(l.ctx, &serving.AsOf{Offsets: map[string]schemas.Frontier{"t": cut}}))
	if r, err := l.mill.cycle.Plan(l.ctx); err == nil && r.Previous != nil {
		at := rapid.Int64Range(1, r.Previous.Sequence).Draw(l.T, "manifest")
		l.must(l.mill.check(l.ctx, &serving.AsOf{Offsets: map[string]schemas.Frontier{}, Manifests: map[string]int64{"t": at}}))
		l.took["answers as of manifests"]++
	}
	for _, old := range l.before {
		l.must(l.mill.check(l.ctx, &serving.AsOf{Offsets: map[string]schemas.Frontier{"t": old}}))
		if got, err := l.mill.count(l.ctx, &serving.AsOf{Offsets: map[string]schemas.Frontier{"t": old}}); err != nil || got != l.counted[len(old)] {
			l.Fatalf("as of %v, before partitions were added, there are %d records and were %d, %v", old, got, l.counted[len(old)], err)
		}
	}
	l.askAgain()
}

func (l *law) must(err error) {
	if err != nil {
		l.Helper()
		l.Fatal(err)
	}
}

// open restarts every layer over the same log and store, with a few of the views: a check costs two answers a view.
func (l *law) open() {
	some, of := map[string]string{}, lawViews
	if l.of != nil {
		of = l.of
	}
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(slices.Sorted(maps.Keys(of))), 1, 2, rapid.ID).Draw(l.T, "views") {
		some[name] = of[name]
	}
	l.must(l.mill.open(some, rapid.SampledFrom([]int{0, 200, 1000}).Draw(l.T, "fetch bytes")))
	l.mill.cycle.FoldAt = rapid.IntRange(2, 3).Draw(l.T, "partials of a fold")
}

func (l *law) partition() int32 {
	return rapid.Int32Range(0, l.mill.partitions-1).Draw(l.T, "partition")
}

func (l *law) sendSome() {
	for range rapid.IntRange(1, 25).Draw(l.T, "records") {
		r := &kgo.Record{Partition: l.partition(), Value: event().Draw(l.T, "event"), Key: rapid.SampledFrom([][]byte{nil, {}, []byte("k"), {0xff}}).Draw(l.T, "key")}
		if rapid.Bool().Draw(l.T, "clock jumps") { // of who sends: forth and back
			r.Timestamp = time.Now().Add(time.Duration(rapid.IntRange(-1000, 1000).Draw(l.T, "hours")) * time.Hour)
		}
		if rapid.Bool().Draw(l.T, "header") {
			r.Headers = []kgo.RecordHeader{{Key: "h", Value: []byte("v")}, {Key: "h"}, {Key: "", Value: []byte{0xff}}}
		}
		l.must(l.mill.send(l.ctx, r))
	}
}

// sliceSome publishes a random range: it may overlap others, straddle the frontier or leave a gap.
func (l *law) sliceSome() {
	if r, ok := l.someRange(); ok {
		messages, err := l.mill.slice(l.ctx, r)
		l.must(err)
		for _, m := range messages {
			l.last = m.Value
		}
		l.publish(messages)
	}
}

// slices publishes what a slow stream would, one after the other to a partition's end, and folds them.
func (l *law) slices() {
	all, ok := l.someRange()
	for ok && all.Len() > 0 {
		r := all
		r.To = min(all.To, r.From+rapid.Int64Range(1, 4).Draw(l.T, "records"))
		messages, err := l.mill.slice(l.ctx, r)
		l.must(err)
		l.publish(messages)
		all.From = r.To
	}
	l.must(l.mill.tidy(l.ctx))
}

// publish gives the slices' topic the partitions first that the topic has got since, as the speed layer does.
func (l *law) publish(messages []kafkalog.Message) {
	l.must(l.mill.growSlices(l.ctx))
	l.must(l.mill.publish(l.ctx, messages))
}

func (l *law) someRange() (schemas.Range, bool) {
	start, end, err := l.mill.log.Offsets(l.ctx, "t")
	l.must(err)
	r := schemas.Range{Partition: l.partition()}
	if start[r.Partition] == end[r.Partition] {
		return r, false
	}
	r.From = rapid.Int64Range(start[r.Partition], end[r.Partition]-1).Draw(l.T, "from")
	r.To = rapid.Int64Range(r.From+1, end[r.Partition]).Draw(l.T, "to")
	return r, true
}

// noise puts onto the slices' topic what must not be believed.
func (l *law) noise() {
	if l.last == nil {
		l.publish([]kafkalog.Message{{Partition: l.partition(), Value: []byte("no slice")}})
		return
	}
	good, err := slice.Decode(l.last)
	l.must(err)
	kind := rapid.SampledFrom(slices.Sorted(maps.Keys(noises))).Draw(l.T, "noise")
	bad := noises[kind](*good, l.last, func(n int) int { return rapid.IntRange(0, n-1).Draw(l.T, "place") })
	if good.Partition < l.mill.partitions {
		l.publish([]kafkalog.Message{{Partition: good.Partition, Value: bad}})
	}
}

// watch compares something stored of each view with its records, as the drift watch does: it raises no false alarm.
func (l *law) watch() {
	for _, v := range l.mill.cycle.Views {
		sample, err := l.mill.server.Sample(l.ctx, l.mill.defs, v, func(n int) int { return rapid.IntRange(0, n-1).Draw(l.T, "pick") })
		l.must(err)
		switch {
		case sample == nil:
			continue
		case sample.Drift != nil:
			l.Fatal(sample.Drift.Problem())
		case sample.Why != "" && !l.dropped:
			l.Fatalf("%s over %s could not be sampled: %s", sample.View, sample.Range, sample.Why)
		}
		l.took["samples of "+sample.Stored+" against "+string(sample.Against)]++
	}
}

// grow adds partitions: to the topic's slices later, or right away.
func (l *law) grow() {
	_, end, err := l.mill.log.Offsets(l.ctx, "t")
	l.must(err)
	n, err := l.mill.count(l.ctx, nil)
	l.must(err)
	if l.counted == nil {
		l.counted = map[int]int64{}
	}
	l.before = append(l.before, end)
	l.counted[len(end)] = n
	l.must(l.mill.grow(l.ctx, l.mill.partitions+rapid.Int32Range(1, 2).Draw(l.T, "added"), rapid.Bool().Draw(l.T, "slices too")))
}

// remake deletes the topic and makes it anew: what was sliced and committed is another topic's.
func (l *law) remake() {
	l.askAgain()
	l.answers = nil
	l.must(l.mill.remake(l.ctx, rapid.Int32Range(1, 4).Draw(l.T, "partitions")))
	l.before, l.counted, l.dropped, l.lost = nil, nil, false, false
}

func (l *law) cycleOnce() {
	r, err := l.mill.cycle.Cycle(l.ctx)
	l.must(err)
	l.folded += r.Folded
}

// cycles runs a few, each over a few records: their partials are folded.
func (l *law) cycles() {
	for range rapid.IntRange(2, 5).Draw(l.T, "cycles") {
		l.sendSome()
		l.cycleOnce()
	}
}

// cycleOfFew runs a cycle that only some views are known to: the others lack partials over what it takes in.
func (l *law) cycleOfFew() {
	all := l.mill.cycle.Views
	defer func() { l.mill.cycle.Views = all }()
	l.mill.cycle.Views = all[:rapid.IntRange(0, len(all)).Draw(l.T, "views")]
	l.cycleOnce()
}

// history makes what views lack, twice at once, or everything anew, which comes out as it was; a cycle beside it commits.
func (l *law) history() {
	work := func() error {
		_, err := l.mill.cycle.CatchUp(l.ctx, batch.Pace{Gentle: true})
		return err
	}
	if rapid.Bool().Draw(l.T, "anew") {
		work = func() error {
			made, err := l.mill.cycle.Rebuild(l.ctx, l.mill.cycle.Views, batch.Pace{})
			for _, r := range made {
				for _, d := range r.Differed {
					if !strings.Contains(d.What, "floating") {
						return fmt.Errorf("%s was stored otherwise: %+v", r.View, d)
					}
				}
			}
			return err
		}
	}
	errs := make(chan error, 3)
	for range 2 {
		go func() { errs <- work() }()
	}
	go func() {
		_, err := l.mill.cycle.Cycle(l.ctx)
		errs <- err
	}()
	for range cap(errs) {
		l.must(<-errs)
	}
}

// killedCycle leaves what a cycle that was killed before its commit leaves: some of its files, no manifest.
func (l *law) killedCycle() {
	before, err := l.mill.store.List(l.ctx, "")
	l.must(err)
	l.cycleOnce()
	after, err := l.mill.store.List(l.ctx, "")
	l.must(err)
	for _, file := range after {
		isNew := !slices.ContainsFunc(before, func(f store.Info) bool { return f.Name == file.Name })
		if isNew && (strings.HasSuffix(file.Name, ".manifest") || rapid.Bool().Draw(l.T, "not built yet")) {
			l.must(l.mill.store.Delete(l.ctx, file.Name))
		}
	}
}

// twoCycles runs two at once: they may both do nothing, or one of them wins.
func (l *law) twoCycles() {
	errs := make(chan error, 2)
	for range cap(errs) {
		go func() {
			_, err := l.mill.cycle.Cycle(l.ctx)
			errs <- err
		}()
	}
	won := 0
	for range cap(errs) {
		if err := <-errs; err == nil {
			won++
		} else if !errors.Is(err, store.ErrExist) {
			l.Fatal(err)
		}
	}
	if won == 0 {
		l.Fatal("neither of two cycles won")
	}
}

// drop lets the log forget what lies below the frontier: Parquet stands in for it.
func (l *law) drop() {
	r, err := l.mill.cycle.Plan(l.ctx)
	l.must(err)
	if r.Previous == nil {
		return
	}
	start, _, err := l.mill.log.Offsets(l.ctx, "t")
	l.must(err)
	for _, p := range r.Previous.Frontier.Partitions() {
		if to := r.Previous.Frontier[p]; to > start[p] {
			l.must(l.mill.forget(l.ctx, p, rapid.Int64Range(start[p], to).Draw(l.T, "forgotten")))
			l.dropped = true
		}
	}
}
