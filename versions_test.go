package millrace_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/serving"
)

// tables is a mill whose one reference table is joined as it was, and what its views must answer, by a model of its own:
// each record has the version that was in force when it was sent, and another comes into force when a cycle has run.
type tables struct {
	*rapid.T
	mill  *mill
	ctx   context.Context
	force int      // the version in force; -1: no cycle has run, and that of now counts
	now   int      // the file's version
	texts []string // versions: a CSV each
	sent  []joined
	asked []asked
}

// joined is a record as the model has it.
type joined struct {
	k       string
	version int // -1: it came before the first cycle
}

// asked is an answer and its certificate.
type asked struct {
	answer string
	asOf   []byte
}

var tablesViews = map[string]string{
	"counts": "SELECT name, count(*) AS n FROM t LEFT JOIN r USING (k) GROUP BY name",
	"sums":   "SELECT name, k, sum(w) AS w, max(_offset) AS last FROM t JOIN r USING (k) GROUP BY ALL",
}

// However versions come, records are sliced and committed, and partials are made, lost and made anew: every view joins each
// record with the version of its time, and a certificate is answered as it was given.
func TestTablesAsTheyWere(t *testing.T) {
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte("fields: {k: VARCHAR}"))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	rapid.Check(t, func(t *rapid.T) {
		if rapid.IntRange(0, 2).Draw(t, "one of three") > 0 {
			return // one takes as long as three of the law's
		}
		l := &tables{T: t, ctx: context.Background(), force: -1, texts: []string{"k,name,w\na,Anna,1\nb,Bert,2\n"}}
		dir, err := os.MkdirTemp("", "millrace-tables-")
		l.must(err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		l.mill = newMill(l.must, t.Cleanup, dir, 2, topic, l.texts[0])
		l.open()
		steps := map[string]func(){"send": l.send, "slice": l.slice, "edit": l.edit, "cycle": l.cycle, "history": l.history, "ask": l.ask, "restart": l.open, "watch": l.watch}
		for range rapid.IntRange(4, 14).Draw(t, "steps") {
			steps[rapid.SampledFrom([]string{"send", "send", "slice", "edit", "edit", "cycle", "cycle", "history", "ask", "restart", "watch"}).Draw(t, "step")]()
		}
		l.ask()
		l.watch()
		for _, a := range l.asked {
			asOf, err := serving.ParseAsOf(a.asOf)
			l.must(err)
			if got, _ := l.answer(asOf); got != a.answer {
				t.Fatalf("with the certificate %s\n%s\nit was\n%s", a.asOf, got, a.answer)
			}
		}
	})
}

func (l *tables) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// open starts every layer anew, with the file as it is.
func (l *tables) open() {
	l.must(l.mill.open(tablesViews, 0))
	path := filepath.Join(l.mill.dir, "r.csv")
	r, err := views.LoadReference("r", path, nil)
	l.must(err)
	kept, err := versions.Keep(l.ctx, l.mill.store, r, path, l.mill.dir)
	l.must(err)
	kept.AsItWas = true
	l.mill.refs["r"] = kept
	l.must(l.mill.open(tablesViews, 0))
	l.mill.cycle.History = versions.NewHistory(l.mill.store, l.mill.compiler, l.mill.defs.Catalog)
}

func (l *tables) send() {
	for range rapid.IntRange(1, 4).Draw(l.T, "records") {
		k := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(l.T, "k")
		l.must(l.mill.send(l.ctx, &kgo.Record{Partition: rapid.Int32Range(0, 1).Draw(l.T, "partition"), Value: fmt.Appendf(nil, `{"k":%q}`, k)}))
		l.sent = append(l.sent, joined{k, l.force})
	}
}

// watch compares something stored of each view with its records, each joined with the version of its time.
func (l *tables) watch() {
	for _, v := range l.mill.cycle.Views {
		s, err := l.mill.server.Sample(l.ctx, l.mill.defs, v, func(n int) int { return rapid.IntRange(0, n-1).Draw(l.T, "pick") })
		l.must(err)
		if s != nil && s.Drift != nil {
			l.Fatal(s.Drift.Problem())
		}
		if s != nil && s.Why != "" {
			l.Fatalf("%s over %s could not be sampled: %s", s.View, s.Range, s.Why)
		}
	}
}

// edit gives the table another content, or one that it had before.
func (l *tables) edit() {
	l.now = rapid.IntRange(0, len(l.texts)).Draw(l.T, "version")
	if l.now == len(l.texts) {
		text := "k,name,w\n"
		for _, k := range []string{"a", "b", "c"} {
			if rapid.Bool().Draw(l.T, k) {
				text += fmt.Sprintf("%s,%s%d,%d\n", k, k, l.now, rapid.IntRange(1, 9).Draw(l.T, "w"))
			}
		}
		l.texts = append(l.texts, text+"z,Zoe,1\n")
	}
	l.must(os.WriteFile(filepath.Join(l.mill.dir, "r.csv"), []byte(l.texts[l.now]), 0o600))
	l.open()
}

func (l *tables) cycle() {
	_, err := l.mill.cycle.Cycle(l.ctx)
	l.must(err)
	for i := range l.sent {
		if l.sent[i].version < 0 {
			l.sent[i].version = l.now
		}
	}
	l.force = l.now
}

// slice publishes slices of what is above the frontier, made with the version in force, or by a process that does not know
// it yet or any more.
func (l *tables) slice() {
	m := *l.mill
	now, err := m.cycle.InForce(l.ctx)
	l.must(err)
	if rapid.Bool().Draw(l.T, "stale") {
		now = m.cycle
	}
	m.cycle, m.refs = now, now.References
	_, end, err := m.log.Offsets(l.ctx, "t")
	l.must(err)
	for p, to := range end {
		if from := rapid.Int64Range(0, to).Draw(l.T, "from"); from < to {
			messages, err := m.slice(l.ctx, schemas.Range{Partition: p, From: from, To: to})
			l.must(err)
			l.must(m.publish(l.ctx, messages))
		}
	}
}

// history makes what is missing, or everything anew.
func (l *tables) history() {
	_, err := l.mill.cycle.CatchUp(l.ctx, batch.Pace{})
	l.must(err)
	made, err := l.mill.cycle.Rebuild(l.ctx, l.mill.cycle.Views, batch.Pace{})
	l.must(err)
	for _, r := range made {
		if len(r.Differed) > 0 || r.New > 0 {
			l.Fatalf("%s: %+v", r.View, r)
		}
	}
}

// answer is what the view counts answers.
func (l *tables) answer(asOf *serving.AsOf) (string, *serving.Certificate) {
	a, err := l.mill.server.Query(l.ctx, serving.Request{SQL: "SELECT name, n FROM counts ORDER BY ALL", AsOf: asOf})
	l.must(err)
	defer a.Close()
	var out []string
	l.must(a.Text(l.ctx, func(cells []*string) error {
		name := "NULL"
		if cells[0] != nil {
			name = *cells[0]
		}
		out = append(out, name+" "+*cells[1])
		return nil
	}))
	slices.Sort(out)
	return strings.Join(out, ", "), a.Certificate
}

// ask compares the answers with the model's, and the merged ones with a recompute.
func (l *tables) ask() {
	counts := map[string]int{}
	for _, r := range l.sent {
		version := r.version
		if version < 0 {
			version = l.now
		}
		name := "NULL"
		for line := range strings.Lines(l.texts[version]) {
			if cells := strings.Split(strings.TrimSpace(line), ","); cells[0] == r.k {
				name = cells[1]
			}
		}
		counts[name]++
	}
	var want []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		want = append(want, fmt.Sprintf("%s %d", name, counts[name]))
	}
	slices.Sort(want)
	got, certificate := l.answer(nil)
	if got != strings.Join(want, ", ") {
		l.Fatalf("counts are %s, want %s", got, strings.Join(want, ", "))
	}
	l.must(l.mill.check(l.ctx, nil))
	l.asked = append(l.asked, asked{got, mustMarshal(l.T, certificate)})
}

func mustMarshal(t *rapid.T, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
