package millrace_test

import (
	"math"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/serving"
)

// Records as other producers may leave them: without key or value, with headers of one name twice, empty, null and no text, and with
// times that go back, lie far off or are none. Each is in every answer once, from the log, from slices and from files, now and as of
// any time and offset.
func TestOddRecords(t *testing.T) {
	m, fail := openLaw(t, 1, lawViews["sums"])
	fail(m.open(map[string]string{"sums": lawViews["sums"], "places": lawViews["places"],
		"times": "SELECT k, min(_timestamp), max(_timestamp), count(_key), sum(len(_headers)), arg_max(n, _timestamp) FROM t GROUP BY k"}, 0))
	good := []byte(`{"k":"a","n":1,"ts":"2020-01-01"}`)
	headers := []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte{0, 0xff}}, {Key: "", Value: []byte{}}, {Key: "\xff", Value: nil}}
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	records := []kgo.Record{
		{Value: good, Timestamp: at(1_700_000_000_000)},
		{Timestamp: at(1_600_000_000_000)}, // neither key nor value
		{Key: []byte{}, Value: []byte{}, Timestamp: at(1)},
		{Key: []byte{0xff}, Value: good, Headers: headers, Timestamp: at(0)},
		{Value: good, Timestamp: at(-1)},
		{Value: good, Timestamp: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
		{Value: good, Headers: headers, Timestamp: at(1_500_000_000_000)},
		{Value: good, Timestamp: at(math.MaxInt64 / 2_000_000)},
	}
	moments := func() {
		t.Helper()
		for _, i := range []int{1, 4, 5} {
			fail(m.check(t.Context(), &serving.AsOf{Time: records[i].Timestamp}))
		}
	}
	everywhere := func() {
		t.Helper()
		fail(m.check(t.Context(), nil))
		fail(m.sameRows(t.Context()))
		for _, to := range []int64{2, 5} {
			fail(m.check(t.Context(), &serving.AsOf{Offsets: map[string]schemas.Frontier{"t": {0: to}}}))
		}
		moments()
	}
	for _, r := range records {
		fail(m.send(t.Context(), &r))
	}
	everywhere()
	for _, cycle := range []bool{false, true} {
		if cycle {
			_, err := m.cycle.Cycle(t.Context())
			fail(err)
		} else {
			messages, err := m.slice(t.Context(), schemas.Range{To: m.sent})
			fail(err)
			fail(m.publish(t.Context(), messages))
		}
		everywhere()
	}
	fail(m.forget(t.Context(), 0, 3)) // moments are found in the files then
	moments()
	if m.used.Speed.Slices == 0 || m.used.Batch.Records == 0 || m.used.Raw.Records == 0 {
		t.Errorf("not every layer was asked: %+v", m.used)
	}
}
