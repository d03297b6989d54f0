package batch

import (
	"strings"
	"testing"
)

// A record that one view's SQL cannot take must not keep the cycle from the records, nor from the other views.
func TestAViewThatFailsOnARecordLosesOnlyItself(t *testing.T) {
	b := newBed(t, "fields:\n  s: VARCHAR\n  h: HUGEINT\n", map[string]string{
		"casts":  "SELECT sum(s::INTEGER) AS n FROM events",
		"counts": "SELECT s, count(*) AS n FROM events GROUP BY s",
		"sums":   "SELECT sum(h) AS n FROM events", // each record alone fits, the partial's merge does not
	})
	big := `{"s":"1","h":"170141183460469231731687303715884105727"}`
	b.send(t, lines(big, `{"s":"word"}`, big, `{"s":3}`))
	r, err := b.Cycle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Records != 3 || r.Rejects != 1 || len(r.Failed) != 2 || r.Failed[0].View != "casts" || r.Failed[1].View != "sums" {
		t.Fatalf("%+v", r)
	}
	for _, f := range r.Failed {
		if f.Reason == "" || strings.Contains(f.Error(), "\n") {
			t.Errorf("%q", f.Error())
		}
	}
	m := b.newest(t)
	for _, p := range m.Partials {
		if failed := p.View != "counts"; (p.Failed != "") != failed || (p.Path == "") != failed {
			t.Errorf("%+v", p)
		}
	}

	// The same records fail again: nothing is missing that another cycle could make.
	again, err := b.Cycle(t.Context())
	if err != nil || again.Rebuilt != 0 || again.Manifest != r.Manifest || len(again.Failed) != 0 {
		t.Fatalf("%+v, %v", again, err)
	}
	if f, err := b.Fsck(t.Context()); err != nil || len(f.Damage) != 0 {
		t.Fatalf("%+v, %v", f, err)
	}

	// A view that comes later and fails over what is committed is told of, too; the rest of the cycle is done.
	b.Views = append(b.Views, compile(t, b.Topic, map[string]string{"late": "SELECT max(s::DATE) AS d FROM events"})...)
	b.send(t, lines(`{"s":"2024-01-01"}`))
	r, err = b.Cycle(t.Context())
	if err != nil || len(r.Failed) != 1 || r.Failed[0].View != "casts" || r.Records != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	made, err := b.CatchUp(t.Context(), Pace{})
	if err != nil || len(made) != 1 || made[0].View != "late" || made[0].Failed == "" || made[0].New != 1 {
		t.Fatalf("%s, %v", mustJSON(t, made), err)
	}
	if made, err = b.CatchUp(t.Context(), Pace{}); err != nil || len(made) != 0 {
		t.Fatalf("a second time: %s, %v", mustJSON(t, made), err)
	}
}

func lines(payloads ...string) [][]byte {
	out := make([][]byte, len(payloads))
	for i, p := range payloads {
		out[i] = []byte(p)
	}
	return out
}
