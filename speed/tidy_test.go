package speed

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/slice"
)

// topic lists what lies on the slices' topic of a view, by partition in the order it was published, as
// "PARTITION@[FROM,TO)tTIER", with a "-" at the end of those without rows.
func (r *rig) topic(t *testing.T, v *views.View) (out []string) {
	t.Helper()
	first, end, err := r.Log.Offsets(t.Context(), slice.Topic("t"))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range first.Ranges(end) {
		if err := slicelog.Each(t.Context(), r.Log, "t", at, func(s slicelog.Message) {
			if s.Definition == v.Definition {
				out = append(out, fmt.Sprintf("%st%d%s", s.Range(), s.Tier, []string{"", "-", "-"}[s.Withheld]))
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// publish cuts what is in the log into slices of so many records as a slow stream would.
func (r *rig) publish(t *testing.T, records int) {
	t.Helper()
	r.send(t, records)
	if err := r.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Input.run(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
}

// Slices are folded in tiers as they come, and what was folded is dropped: of seventeen a question reads two, and the topic
// holds them and what was published since the oldest of them.
func TestSlicesAreFoldedInTiers(t *testing.T) {
	r := newRig(t)
	for range 17 {
		r.publish(t, 10)
		if err := r.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r.tiled(t, 170)
	for _, v := range r.Views {
		if got := len(r.slices(t, v)); got != 2*partitions {
			t.Errorf("%s: a question reads %d slices", v.Name, got)
		}
	}
	if got := strings.Join(r.topic(t, r.Views[0]), " "); got != "0@[0,160)t2 0@[160,170)t0 1@[0,160)t2 1@[160,170)t0 2@[0,160)t2 2@[160,170)t0" {
		t.Errorf("on the topic are %s", got)
	}
}

// What was not folded while it came is folded at once, by two at a time too, and a later CatchUp goes on from there.
func TestManySlicesAreFoldedAtOnce(t *testing.T) {
	r := newRig(t)
	for range 9 {
		r.publish(t, 10)
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if err := r.Tidy(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	r.tiled(t, 90)
	for _, v := range r.Views {
		if got := len(r.slices(t, v)); got != partitions {
			t.Errorf("%s: a question reads %d slices", v.Name, got)
		}
	}
	r.send(t, 20)
	if err := r.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.tiled(t, 110)
}

// What cannot be folded stays as it is: slices that do not follow on each other, one whose rows cannot be read, and those
// whose merge fails. What overlaps is folded once.
func TestWhatIsNotFolded(t *testing.T) {
	r := newRig(t)
	v := r.Views[0]
	for range 8 {
		r.publish(t, 10)
	}
	made := r.slices(t, v)[:8]
	if made[7].Partition != 0 {
		t.Fatalf("%v", made)
	}
	again := func(change func(all []named) []named) string {
		t.Helper()
		if err := r.Log.DeleteBefore(t.Context(), slice.Topic("t"), r.end(t)); err != nil {
			t.Fatal(err)
		}
		var all []named
		for _, s := range made {
			all = append(all, named{v.Name, s.Slice})
		}
		if _, err := publish(t.Context(), r.Log, "t", change(all)); err != nil {
			t.Fatal(err)
		}
		if err := r.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		return strings.Join(r.topic(t, v), " ")
	}
	for name, c := range map[string]struct {
		change func(all []named) []named
		want   string
	}{
		"a gap":    {func(all []named) []named { return append(all[:3:3], all[4:7]...) }, "0@[0,10)t0 0@[10,20)t0 0@[20,30)t0 0@[40,50)t0 0@[50,60)t0 0@[60,70)t0"},
		"twice":    {func(all []named) []named { return append(all[:5:5], all[2:5]...) }, "0@[0,50)t1"},
		"no Arrow": {func(all []named) []named { all[1].Payload = []byte("no Arrow"); return all[:4] }, "0@[0,10)t0 0@[10,20)t0 0@[20,30)t0 0@[30,40)t0"},
		"withheld": {func(all []named) []named {
			for i := range all {
				all[i].Withheld, all[i].Payload = slice.Bulky, nil
			}
			return all[:6]
		}, "0@[0,60)t1-"},
		"some withheld": {func(all []named) []named { all[2].Withheld, all[2].Payload = slice.Bulky, nil; return all[:6] }, "0@[0,10)t0 0@[10,20)t0 0@[20,30)t0- 0@[30,40)t0 0@[40,50)t0 0@[50,60)t0"},
	} {
		if got := again(c.change); got != c.want {
			t.Errorf("%s: on the topic are %s, want %s", name, got, c.want)
		}
	}
}

func (r *rig) end(t *testing.T) schemas.Frontier {
	t.Helper()
	_, end, err := r.Log.Offsets(t.Context(), slice.Topic("t"))
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// A cycle that was planned before a fold may end within it. Parts that are young are still there then, and answer for what
// lies above its frontier; nothing is sliced again.
func TestAFrontierWithinAFold(t *testing.T) {
	r := newRig(t)
	for range 8 {
		r.publish(t, 10)
	}
	d := newTidier(r.Input, r.topicID)
	defer d.close()
	for _, frontier := range []int64{0, 50} {
		if frontier > 0 {
			r.commit(t, frontier)
		}
		if err := d.tidy(t.Context(), time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		at := schemas.Frontier{}
		for p := range int32(partitions) {
			at[p] = frontier
		}
		for _, v := range r.Views {
			use, gaps, err := slicelog.Chosen(t.Context(), r.Log, "t", r.topicID, at, r.ends(t), v.Definition)
			if err != nil || len(gaps) > 0 || len(use) != partitions*map[int64]int{0: 1, 50: 3}[frontier] {
				t.Errorf("%s above %d: %d slices, without one are %v, %v", v.Name, frontier, len(use), gaps, err)
			}
		}
		if p, err := r.Plan(t.Context()); err != nil || p.Lag != 0 {
			t.Errorf("above %d: %+v, %v", frontier, p, err)
		}
	}
	if err := r.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(r.topic(t, r.Views[0])[:3], " "); got != "0@[50,60)t0 0@[60,70)t0 0@[70,80)t0" {
		t.Errorf("on the topic are first %s", got)
	}
}

// ends is where the topic ends.
func (r *rig) ends(t *testing.T) schemas.Frontier {
	t.Helper()
	_, end, err := r.Log.Offsets(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// A slice whose rows take about the room of its records is published without them, and one whose SQL fails too: the plan
// knows that they were made, and a question reads the records. A view with few rows has its slices all the same.
func TestSlicesThatAreNotClearlySmallerAreWithheld(t *testing.T) {
	r := newRig(t)
	compiler, err := views.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer compiler.Close()
	catalog := &views.Catalog{Topics: map[string]*schemas.Topic{"t": r.Topic}}
	for name, sql := range map[string]string{"each": "SELECT k, n, count(*) AS c FROM t GROUP BY ALL", "casts": "SELECT sum(k::INTEGER) AS s FROM t"} {
		v, err := compiler.Compile(name, name+".sql", sql, catalog)
		if err != nil {
			t.Fatal(err)
		}
		r.Views = append(r.Views, v)
	}
	for i := range 2000 {
		r.producer.Produce(t.Context(), &kgo.Record{Value: fmt.Appendf(nil, `{"k":"%x","n":%d}`, sha256.Sum256([]byte{byte(i), byte(i >> 8)}), i)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := r.producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"counts": "[0@[0,2000)t0-]", "parts": "[0@[0,2000)t0]", "each": "[0@[0,2000)t0-]", "casts": "[0@[0,2000)t0-]"}
	for _, v := range r.Views {
		if got := fmt.Sprint(r.topic(t, v)); got != want[v.Name] {
			t.Errorf("%s: on the topic are %s, want %s", v.Name, got, want[v.Name])
		}
	}
	p, err := r.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if p.Lag != 0 || p.Withheld["each"] != 2000 || p.Withheld["casts"] != 2000 || p.Withheld["parts"] != 0 || p.Ranges[0].From != 2000 {
		t.Errorf("%+v", p)
	}
}

// A slice that the broker refuses for its size is published without its rows.
func TestASliceThatIsTooLargeForTheBroker(t *testing.T) {
	r := newRig(t)
	r.publish(t, 1)
	s := slice.Slice{Definition: r.Views[0].Definition, TopicID: r.topicID, To: 10, Records: 10, Payload: make([]byte, 12<<20)}
	_, _ = rand.NewChaCha8([32]byte{}).Read(s.Payload) // which does not compress
	refused, err := publish(t.Context(), r.Log, "t", []named{{"counts", s}, {"parts", slice.Slice{Definition: "d", TopicID: r.topicID, To: 10}}})
	if err != nil || fmt.Sprint(refused) != "[0]" {
		t.Fatalf("%v, %v", refused, err)
	}
	o := &Published{}
	fn := &sliceFn{log: r.Log, work: work{Spec: spec(r.Input)}}
	if err := fn.append(t.Context(), o, []named{{"counts", s}}); err != nil || o.Withheld != 1 || o.Slices != 0 {
		t.Fatalf("%+v, %v", o, err)
	}
	if got := fmt.Sprint(r.topic(t, r.Views[0])[1:2]); got != "[0@[0,10)t0-]" {
		t.Errorf("on the topic is %s", got)
	}
}

// State that is larger than the engine's memory is spilled, and the slice of it is withheld.
func TestStateLargerThanMemory(t *testing.T) {
	r := newRig(t)
	r.Memory, r.Scratch = "64MiB", t.TempDir()
	for i := range 300_000 {
		r.producer.Produce(t.Context(), &kgo.Record{Value: fmt.Appendf(nil, `{"k":"%0250d","n":%d}`, i, i)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := r.producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := r.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if p.Lag != 0 || p.Withheld["counts"] != 300_000 || p.Withheld["parts"] != 0 {
		t.Errorf("%+v", p)
	}
}
