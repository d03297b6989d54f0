package millrace_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/speed"
)

// world is a way in which the same records come into one answer.
type world struct {
	partitions int32
	spread     func(i int, n int32) int32 // the partition of the i-th record
	fetch      int                        // bytes of a chunk; 0 is the log's default
	cycle      int                        // records from one cycle to the next; 0: there is none
	foldAt     int                        // partials of a fold; 0: the default
	speed      string                     // "prism", "kernel": slices without a pipeline; empty: there is no speed layer
	slice      int                        // records from one slice, or run of a pipeline, to the next
	restart    int                        // records from one restart to the next, each with other views known; 0: none
	forgets    bool                       // Kafka drops what cycles have read
	memory     string
}

func inTurnOf(i int, n int32) int32 { return int32(i) % n }

func together(int, int32) int32 { return 0 }

func inRuns(i int, n int32) int32 { return int32(i/17) % n }

// The same records give the same answers, floating ones to 1e-12 of the magnitudes that went in, in whatever partitions and chunks
// they come, with any cycles, folds and slices, over restarts, with and without a pipeline, and after Kafka has dropped them.
func TestTheSameRecordsInEveryWorld(t *testing.T) {
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte(lawTopic))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	views := maps.Clone(lawViews)
	delete(views, "places")                                                                                 // it tells of partitions and offsets
	views["rows"] = "SELECT k, n, row_number() OVER (PARTITION BY k ORDER BY ts, _timestamp) AS nth FROM t" // partitions decide nothing
	views["refused"] = "SELECT count(*) AS n, count(_extra) AS extra, min(_timestamp), max(_timestamp) FROM t"
	var events [][]byte
	for i := range 150 {
		events = append(events, aFloat.ReplaceAll(event().Example(i), fmt.Appendf(nil, `"f":%v`, float64(i*37%200)/7-14)))
	}
	worlds := map[string]world{
		"chunks of a few records":     {partitions: 3, spread: inTurnOf, fetch: 300},
		"many partitions":             {partitions: 7, spread: inTurnOf, cycle: 50},
		"one full, the others empty":  {partitions: 4, spread: together, cycle: 60, speed: "kernel", slice: 25},
		"cycles of a few records":     {partitions: 2, spread: inRuns, cycle: 15, foldAt: 2},
		"cycles that are not folded":  {partitions: 2, spread: inRuns, cycle: 30, foldAt: 1000},
		"one cycle over all":          {partitions: 3, spread: inTurnOf, cycle: 150, memory: "64MiB"},
		"slices alone":                {partitions: 3, spread: inTurnOf, speed: "kernel", slice: 15},
		"slices of a pipeline":        {partitions: 3, spread: inRuns, speed: "prism", slice: 50, restart: 100},
		"both layers":                 {partitions: 3, spread: inTurnOf, cycle: 100, speed: "prism", slice: 25, restart: 70},
		"restarts with other views":   {partitions: 2, spread: inTurnOf, cycle: 40, foldAt: 3, speed: "kernel", slice: 30, restart: 35},
		"after Kafka has dropped all": {partitions: 3, spread: inTurnOf, cycle: 50, foldAt: 2, forgets: true},
	}
	want := answers(t, topic, views, events, world{partitions: 1, spread: together})
	for _, name := range slices.Sorted(maps.Keys(worlds)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := answers(t, topic, views, events, worlds[name])
			for _, view := range slices.Sorted(maps.Keys(want)) {
				if problem := otherwise(want[view], got[view]); problem != "" {
					t.Errorf("%s: %s", view, problem)
				}
			}
		})
	}
}

// answers are the rows of every view, in order, when the records have come in.
func answers(t *testing.T, topic *schemas.Topic, views map[string]string, events [][]byte, w world) map[string][]string {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	m := newMill(must, t.Cleanup, t.TempDir(), w.partitions, topic, lawReference)
	m.memory = w.memory
	open := func(some map[string]string) {
		must(m.open(some, w.fetch))
		if w.foldAt > 0 {
			m.cycle.FoldAt = w.foldAt
		}
	}
	open(views)
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	sliced := schemas.Frontier{}
	for i, e := range events {
		must(m.send(t.Context(), &kgo.Record{Partition: w.spread(i, w.partitions), Value: e, Timestamp: began.Add(time.Duration(i) * time.Millisecond)}))
		due := func(every int) bool { return every > 0 && (i+1)%every == 0 }
		if due(w.restart) {
			some := maps.Clone(views)
			maps.DeleteFunc(some, func(name, _ string) bool { return len(name)%3 == i/w.restart%3 })
			open(some)
		}
		if w.speed == "kernel" && due(w.slice) {
			_, end, err := m.log.Offsets(t.Context(), topic.Name)
			must(err)
			for _, r := range sliced.Ranges(end) {
				messages, err := m.slice(t.Context(), r)
				must(err)
				must(m.publish(t.Context(), messages))
			}
			sliced = end
			must(m.tidy(t.Context()))
		}
		if w.speed == "prism" && due(w.slice) {
			in := speed.Input{Log: m.log, Store: m.store, Topic: topic, Views: m.cycle.Views, References: m.refs, Scratch: m.dir, Logger: slog.Default()}
			must(in.CatchUp(t.Context()))
		}
		if due(w.cycle) {
			r, err := m.cycle.Cycle(t.Context())
			must(err)
			for p, below := range r.To {
				if w.forgets {
					must(m.forget(t.Context(), p, below))
				}
			}
		}
	}
	open(views)
	if w.restart > 0 && w.cycle > 0 {
		_, err := m.cycle.CatchUp(t.Context(), batch.Pace{})
		must(err)
	}
	out, batched, sliceCount := map[string][]string{}, int64(0), 0
	for name := range views {
		a, err := m.server.Query(t.Context(), serving.Request{SQL: "SELECT * FROM " + schemas.QuoteIdent(name), Sorted: true})
		must(err)
		out[name], err = rowsOf(t.Context(), a)
		must(err)
		l := a.Certificate.Topics[topic.Name].Layers
		batched, sliceCount = batched+l.Batch.Records, sliceCount+l.Speed.Slices
		a.Close()
	}
	if (w.cycle > 0) != (batched > 0) || (w.speed != "") != (sliceCount > 0) {
		t.Errorf("the answers are made of %d records in batch and %d slices", batched, sliceCount)
	}
	var err error
	out["its rejects"], err = rows(t.Context(), m.server, serving.Request{SQL: "SELECT * EXCLUDE (_partition, _offset) FROM rejects.t", Sorted: true})
	must(err)
	return out
}

// aFloat is the floating field of an event.
var aFloat = regexp.MustCompile(`"f":[^,}]*`)

// magnitude is no less than the sum of the magnitudes of what goes into a floating answer.
const magnitude = 150 * 15

// otherwise says in what rows differ; empty: in nothing.
func otherwise(want, got []string) string {
	if len(want) != len(got) {
		return fmt.Sprintf("%d rows, want %d", len(got), len(want))
	}
	for i := range want {
		var a, b []any
		for _, row := range []struct {
			text string
			into *[]any
		}{{want[i], &a}, {got[i], &b}} {
			d := json.NewDecoder(strings.NewReader(row.text))
			d.UseNumber()
			if err := d.Decode(row.into); err != nil {
				return err.Error()
			}
		}
		for c := range a {
			x, ok := a[c].(json.Number)
			y, both := b[c].(json.Number)
			if ok && both && strings.ContainsAny(x.String()+y.String(), ".eE") {
				v, _ := x.Float64()
				u, _ := y.Float64()
				if math.Abs(u-v) <= 1e-12*max(magnitude, math.Abs(u), math.Abs(v)) {
					continue
				}
			}
			if fmt.Sprint(a[c]) != fmt.Sprint(b[c]) {
				return fmt.Sprintf("row %d is %s, want %s", i, got[i], want[i])
			}
		}
	}
	return ""
}
