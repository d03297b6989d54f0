package millrace_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/serving"
)

// harms are what may become of a file; other is another of its kind, or some bytes. nil: it is gone.
var harms = map[string]func(data, other []byte) []byte{
	"a bit flipped in its middle":     func(data, _ []byte) []byte { return flipped(data, len(data)/2) },
	"a bit flipped at its end":        func(data, _ []byte) []byte { return flipped(data, len(data)-2) },
	"cut short":                       func(data, _ []byte) []byte { return data[:len(data)-1] },
	"emptied":                         func(_, _ []byte) []byte { return []byte{} },
	"gone":                            func(_, _ []byte) []byte { return nil },
	"swapped for another of its kind": func(_, other []byte) []byte { return other },
	"foreign bytes":                   func(_, _ []byte) []byte { return []byte("what has this to do here?") },
}

func flipped(data []byte, at int) []byte {
	out := bytes.Clone(data)
	out[at] ^= 4
	return out
}

// rotting is a mill with every kind of stored file, and what it answers while all are whole.
type rotting struct {
	*mill
	*testing.T
	want map[string][]string
}

var rottingViews = map[string]string{"sums": lawViews["sums"], "joined": lawViews["joined"]}

func openRotting(t *testing.T) *rotting {
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte(lawTopic))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	r := &rotting{T: t}
	r.mill = newMill(r.must, t.Cleanup, t.TempDir(), 1, topic, lawReference)
	ref := r.refs["r"]
	r.must(r.open(rottingViews, 0))
	_, err := versions.Keep(t.Context(), r.store, ref, r.dir+"/r.csv", r.dir)
	r.must(err)
	r.cycle.FoldAt = 2
	for cycle := range 4 {
		for i := range 12 {
			text := fmt.Sprintf(`{"k":"%c","n":%d,"d":%d.5,"ts":"2020-01-01"}`, 'a'+i%3, cycle*12+i, i)
			if i == 7 {
				text = "{"
			}
			r.must(r.send(t.Context(), &kgo.Record{Value: []byte(text)}))
		}
		if cycle < 3 {
			_, err := r.cycle.Cycle(t.Context())
			r.must(err)
		}
	}
	r.want, err = r.answers()
	r.must(err)
	return r
}

func (r *rotting) must(err error) {
	if err != nil {
		r.Helper()
		r.Fatal(err)
	}
}

// answers are those to some questions, as a process gives them that has not read anything yet.
func (r *rotting) answers() (map[string][]string, error) {
	r.server.Close()
	r.server = serving.New(serving.Options{Log: r.log, Store: r.store, Compiler: r.compiler, Scratch: r.dir, Definitions: func(context.Context) (*serving.Definitions, error) { return r.defs, nil }})
	out := map[string][]string{}
	var errs []error
	for when, asOf := range map[string]*serving.AsOf{"": nil, " as of offset 20": {Offsets: map[string]schemas.Frontier{"t": {0: 20}}}, " as of manifest 2": {Offsets: map[string]schemas.Frontier{}, Manifests: map[string]int64{"t": 2}}} {
		for _, table := range []string{"sums", "joined", "t", "rejects.t"} {
			got, err := rows(r.Context(), r.server, serving.Request{SQL: "SELECT * FROM " + table, AsOf: asOf, Sorted: true})
			if err != nil {
				errs = append(errs, fmt.Errorf("%s%s: %w", table, when, err))
				continue
			}
			out[table+when] = got
		}
	}
	return out, errors.Join(errs...)
}

// kindOfStored is what a stored file is, by its name.
func kindOfStored(name string) string {
	switch {
	case strings.HasPrefix(name, "definitions/"), strings.HasPrefix(name, "references/"):
		return path.Dir(name) + path.Ext(name)
	case strings.Contains(name, "/partials/"):
		_, rest, _ := strings.Cut(name, "/partials/")
		view, _, _ := strings.Cut(rest, "-")
		return "partials of " + view
	}
	return path.Base(strings.TrimSuffix(path.Dir(name), "/0"))
}

// Whatever becomes of whatever stored file, no answer is wrong: a file that is not as it was written is done without, or named in
// an error. fsck names it, and a repair makes it again or says that it is lost.
func TestRot(t *testing.T) {
	for name, dropped := range map[string]bool{"Kafka has the records": false, "Kafka has dropped them": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := openRotting(t)
			if dropped {
				r.must(r.forget(t.Context(), 0, 36))
			}
			files, err := r.store.List(t.Context(), "")
			r.must(err)
			seen := map[string]int{}
			for _, file := range files {
				kind := kindOfStored(file.Name)
				if seen[kind]++; seen[kind] > 1 || dropped && !strings.HasPrefix(file.Name, "topics/") {
					continue
				}
				if strings.HasPrefix(kind, "partials of") { // one view's are as good as another's
					seen["partials"]++
					if seen["partials"] > 1 {
						continue
					}
				}
				for _, harm := range slices.Sorted(maps.Keys(harms)) {
					if dropped && strings.HasPrefix(harm, "a bit flipped at") { // as where Kafka has the records
						continue
					}
					r.rot(file.Name, harm, otherOf(files, file.Name), dropped)
				}
			}
			t.Logf("kinds of files, and how many of each: %v", seen)
		})
	}
}

// otherOf is another file of the same kind, the name itself if there is none.
func otherOf(files []store.Info, name string) string {
	for _, f := range files {
		if f.Name != name && kindOfStored(f.Name) == kindOfStored(name) {
			return f.Name
		}
	}
	return name
}

// rot lets a harm come to a file, and puts it back as it was.
func (r *rotting) rot(name, harm, other string, dropped bool) {
	file, err := r.store.Local(r.Context(), name)
	r.must(err)
	info, err := os.Stat(file)
	r.must(err)
	whole := map[string][]byte{}
	all, err := r.store.List(r.Context(), "")
	r.must(err)
	for _, f := range all {
		whole[f.Name], err = r.store.Get(r.Context(), f.Name)
		r.must(err)
	}
	bad := harms[harm](whole[name], whole[other])
	if bytes.Equal(bad, whole[name]) && bad != nil {
		return // there is no other of its kind
	}
	if bad == nil {
		r.must(os.Remove(file))
	} else {
		r.must(os.WriteFile(file, bad, 0o644))
		r.must(os.Chtimes(file, info.ModTime(), info.ModTime())) // rot leaves no trace
	}
	r.compare(name+", "+harm, name)
	f, err := r.cycle.Fsck(r.Context())
	_, wrong, kerr := versions.Check(r.Context(), r.store)
	r.must(kerr)
	named := fmt.Sprint(err, wrong)
	if f != nil {
		named += fmt.Sprint(f.Damage, f.Orphans)
	}
	short := path.Base(name)
	needless := bad == nil && !slices.Contains([]string{"data", "rejects", "manifests"}, kindOfStored(name)) // parts of folds, and what is kept for the past
	now, _ := r.store.Get(r.Context(), name)                                                                 // a question may have written what it keeps anew
	if !strings.Contains(named, name) && !strings.Contains(named, short[:min(12, len(short))]) && !bytes.Equal(now, whole[name]) && !needless && !strings.HasSuffix(name, "fence") {
		r.Errorf("%s, %s: fsck says %s", name, harm, named)
	}
	if strings.HasPrefix(name, "topics/") && !strings.HasSuffix(name, ".manifest") {
		f, err := r.cycle.Repair(r.Context(), time.Now())
		r.must(err)
		again, err := r.cycle.Fsck(r.Context())
		r.must(err)
		if len(again.Damage) > 0 && (!dropped || len(f.Lost) == 0) {
			r.Errorf("%s, %s: after a repair that says %+v there is %v", name, harm, f, again.Damage)
		}
		if harm == "gone" || harm == "cut short" {
			r.compare(name+", "+harm+", repaired", name)
		}
	}
	all, err = r.store.List(r.Context(), "")
	r.must(err)
	for _, f := range all {
		if _, was := whole[f.Name]; !was {
			r.must(r.store.Delete(r.Context(), f.Name))
		}
	}
	for name, data := range whole {
		r.must(r.store.Put(r.Context(), name, data))
	}
}

// compare wants right answers, and of those that are not given the file's name.
func (r *rotting) compare(when, name string) {
	got, err := r.answers()
	for table, rows := range got {
		if !slices.Equal(rows, r.want[table]) {
			r.Errorf("%s: %s is %.300s, want %.300s", when, table, rows, r.want[table])
		}
	}
	short := path.Base(name)
	if err != nil && !strings.Contains(err.Error(), name) && !strings.Contains(err.Error(), short[:min(12, len(short))]) {
		r.Errorf("%s: %v", when, err)
	}
}
