package millrace_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/ingest"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/speed"
)

// deaths is a mill whose processes die.
type deaths struct {
	*testing.T
	*mill
	fate   *fate
	died   map[string]int // how often at each effect
	edits  int
	inputs int // files that were put in
	input  string
	harmed bool // what is stored is damaged until somebody has mended it
}

// what a process does that has lasting effects. Each is done by processes that die at the first effect, at the second and so on,
// before it and after it, until one comes to its end.
var doings = map[string]struct {
	ready func(*deaths) // makes something to do
	do    func(*deaths, context.Context) error
	done  func(*deaths) // what must be so when one has come to its end, beside what goOn wants
}{
	"a batch cycle": {(*deaths).sendSome, (*deaths).cycleOnce, nil},
	"the speed layer": {(*deaths).sendSome, func(d *deaths, ctx context.Context) error {
		in := speed.Input{Log: d.log, Store: d.store, Topic: d.topic, Views: d.cycle.Views, References: d.refs, Scratch: d.dir}
		return in.CatchUp(ctx)
	}, nil},
	"partials over history": {(*deaths).edit, func(d *deaths, ctx context.Context) error {
		_, err := d.cycle.CatchUp(ctx, batch.Pace{})
		return err
	}, nil},
	"a rebuild": {(*deaths).harmPartial, func(d *deaths, ctx context.Context) error {
		_, err := d.cycle.Rebuild(ctx, d.cycle.Views, batch.Pace{})
		return err
	}, nil},
	"collecting what no view has": {(*deaths).editWhatIsMade, func(d *deaths, ctx context.Context) error {
		d.cycle.Keep = time.Millisecond
		for at := range 4 { // noted, dropped, removed
			if _, err := d.cycle.Collect(ctx, time.Now().Add(time.Duration(at)*time.Hour)); err != nil {
				return err
			}
		}
		return nil
	}, nil},
	"a repair": {(*deaths).harmAll, func(d *deaths, ctx context.Context) error {
		_, err := d.cycle.Repair(ctx, time.Now().Add(2*time.Hour))
		return err
	}, nil},
	"keeping a reference table": {(*deaths).editReference, func(d *deaths, ctx context.Context) error {
		r := d.refs["r"]
		_, err := versions.Keep(ctx, d.store, r, filepath.Join(d.dir, "r.csv"), d.dir)
		return err
	}, nil},
	"an ingest with an id": {(*deaths).nextInput, func(d *deaths, ctx context.Context) error {
		_, err := ingest.Run(ctx, ingest.Options{Kafka: kafkalog.Config{Brokers: d.brokers}, Topic: d.topic, Files: []string{d.input}, ID: filepath.Base(d.input), Timeout: 4 * time.Second, Settle: 10 * time.Millisecond})
		return err
	}, (*deaths).counted},
	"a request with a key": {(*deaths).nextInput, (*deaths).request, (*deaths).counted},
}

// lasting are the effects that a process of millrace can die at; ARCHITECTURE.md says what each leaves.
var lasting = []string{
	"append records", "write a note to _millrace.ingest", "write a note to _millrace.requests", "publish slices", "drop slices", "make a topic", "commit a hint of offsets",
	"put a data file", "put rejects", "put a partial", "put a manifest", "add partitions", "put a reference's content", "put a reference's note", "put the fence",
	"delete a partial",
}

// Whenever a process dies, before an effect or after it, the next one goes on: every merged answer is its recompute, store and log
// are whole, what was put in is there once. What mends damage has mended it when one comes to its end.
func TestEveryDeath(t *testing.T) {
	useS3(t)
	t.Setenv("AWS_MAX_ATTEMPTS", "1") // the dead need not try again
	var mu sync.Mutex
	died := map[string]int{}
	t.Run("of", func(t *testing.T) {
		for _, name := range slices.Sorted(maps.Keys(doings)) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				d := openDeaths(t)
				d.dieEverywhere(doings[name].ready, doings[name].do, doings[name].done)
				mu.Lock()
				defer mu.Unlock()
				for effect, n := range d.died {
					died[effect] += n
				}
			})
		}
	})
	for _, effect := range lasting {
		if died[effect] == 0 {
			t.Errorf("no process died at %q", effect)
		}
		delete(died, effect)
	}
	for effect := range died {
		t.Errorf("%q has lasting effects and is not in the list", effect)
	}
}

// dieEverywhere does something by processes that die later and later, until one comes to its end.
func (d *deaths) dieEverywhere(ready func(*deaths), do func(*deaths, context.Context) error, done func(*deaths)) {
	for _, when := range []stage{before, torn, after} {
		for n := 1; ; n++ {
			ready(d)
			at, err := d.fate.live(d.Context(), n, when, func(ctx context.Context) error { return do(d, ctx) })
			d.must(err)
			if at == "" {
				break
			}
			if d.died[at]++; !d.harmed {
				d.goOn(fmt.Sprintf("death %d at %q, %v it", n, at, when))
			}
		}
		d.harmed = false
		d.goOn("the end")
		if done != nil {
			done(d)
		}
	}
}

func openDeaths(t *testing.T) *deaths {
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte(lawTopic))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	d := &deaths{T: t, fate: &fate{}, died: map[string]int{}}
	d.mill = newMill(d.must, t.Cleanup, t.TempDir(), 2, topic, lawReference, kfake.ListenFn(d.fate.listen))
	d.fate.watch(d.broker)
	d.at = newS3(d.must, t.Cleanup, d.fate.storing)
	d.open()
	d.cycle.FoldAt = 2
	for range 2 { // something is there, above the frontier and below
		d.sendSome()
		d.must(d.cycleOnce(t.Context()))
	}
	d.sendSome()
	return d
}

func (d *deaths) must(err error) {
	if err != nil {
		d.Helper()
		d.Fatal(err)
	}
}

// open starts the layers, with a view that every edit changes. Those before have died and close nothing.
func (d *deaths) open() {
	d.Helper()
	if dead := d.log; dead != nil {
		d.log = nil
		go dead.Close()
	}
	d.must(d.mill.open(map[string]string{"joined": lawViews["joined"], "changing": fmt.Sprintf("SELECT k, count(*) + %d AS n, count(DISTINCT d) AS ds FROM t GROUP BY k", d.edits)}, 0))
	d.cycle.FoldAt = 2
}

// goOn is the next process: it finds every answer right and everything whole.
func (d *deaths) goOn(after string) {
	d.Helper()
	d.open()
	_, end, err := d.log.Offsets(d.Context(), "t")
	d.must(err)
	d.sent = 0
	for _, to := range end {
		d.sent += to
	}
	if err := d.check(d.Context(), nil); err != nil {
		d.Fatalf("%s: %v", after, err)
	}
	f, err := d.cycle.Fsck(d.Context())
	d.must(err)
	if len(f.Damage) > 0 {
		d.Fatalf("%s: %v", after, f.Damage)
	}
}

func (d *deaths) sendSome() {
	for i := range 6 {
		text := fmt.Sprintf(`{"k":"%c","n":%d,"d":%d.5,"f":0.1,"ts":"2020-01-0%d"}`, 'a'+i%3, d.sent, i%4, 1+i%3)
		if i == 5 {
			text = "{"
		}
		d.must(d.send(d.Context(), &kgo.Record{Partition: int32(i % 2), Value: []byte(text)}))
	}
}

func (d *deaths) cycleOnce(ctx context.Context) error {
	_, err := d.cycle.Cycle(ctx)
	return err
}

// edit gives a view another definition, which lacks partials.
func (d *deaths) edit() {
	d.edits++
	d.open()
}

// editWhatIsMade gives a view that has all its partials another definition: they are no view's.
func (d *deaths) editWhatIsMade() {
	_, err := d.cycle.CatchUp(d.Context(), batch.Pace{})
	d.must(err)
	d.edit()
}

func (d *deaths) editReference() {
	d.edits++
	d.must(d.refer(lawReference + fmt.Sprintf("more,%d,4\n", d.edits)))
	d.open()
}

// harmPartial flips a bit in a partial.
func (d *deaths) harmPartial() {
	d.open()
	name := d.first("/partials/")
	text, err := d.store.Get(d.Context(), name)
	d.must(err)
	text[len(text)/2] ^= 1
	d.must(d.store.Put(d.Context(), name, text))
	d.harmed = true
}

// harmAll removes a data file, too, that the log can stand in for.
func (d *deaths) harmAll() {
	d.harmPartial()
	d.must(d.store.Delete(d.Context(), d.first("/data/")))
}

// first is the first stored file in a folder of that name.
func (d *deaths) first(folder string) string {
	files, err := d.store.List(d.Context(), "topics/")
	d.must(err)
	i := slices.IndexFunc(files, func(f store.Info) bool { return strings.Contains(f.Name, folder) })
	if i < 0 {
		d.Fatalf("there is nothing in %s", folder)
	}
	return files[i].Name
}

// inputLines is how many lines a file has.
const inputLines = 40

// nextInput is a file to put in, the one before if it is not in yet.
func (d *deaths) nextInput() {
	if d.input != "" {
		return
	}
	d.inputs++
	d.input = filepath.Join(d.dir, fmt.Sprintf("input-%d.ndjson", d.inputs))
	var text strings.Builder
	for i := range inputLines {
		fmt.Fprintf(&text, `{"k":"a","n":%d,"ts":"2020-01-01","input":%d}`+"\n", i, d.inputs)
	}
	d.must(os.WriteFile(d.input, []byte(text.String()), 0o600))
}

func (d *deaths) request(ctx context.Context) error {
	text, err := os.ReadFile(d.input)
	d.must(err)
	p, err := ingest.NewProducer(ingest.ProducerOptions{Kafka: kafkalog.Config{Brokers: d.brokers}, Timeout: 4 * time.Second})
	if err != nil {
		return err
	}
	defer p.Close()
	var payloads [][]byte
	for line := range strings.Lines(string(text)) {
		payloads = append(payloads, []byte(strings.TrimSpace(line)))
	}
	_, _, err = p.AppendOnce(ctx, d.topic, filepath.Base(d.input), payloads)
	return err
}

// counted wants each line of the file to be in the log once, and goes on with the next file.
func (d *deaths) counted() {
	d.Helper()
	got, err := rows(d.Context(), d.server, serving.Request{SQL: fmt.Sprintf("SELECT count(*) AS n, count(DISTINCT n) AS ns FROM t WHERE _extra->>'$.input' = '%d'", d.inputs)})
	d.must(err)
	if want := fmt.Sprintf(`[%d,%d]`, inputLines, inputLines); len(got) != 1 || got[0] != want {
		d.Errorf("of %s there is %v, want %s", d.input, got, want)
	}
	d.input = ""
}
