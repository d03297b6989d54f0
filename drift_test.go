package millrace_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
	"github.com/millrace/millrace/schemas/slice"
	"github.com/millrace/millrace/serving"
)

// watched is a mill of one partition with a few records a cycle.
func watched(t *testing.T, sql map[string]string) *mill {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte("fields: {k: VARCHAR, n: BIGINT, f: DOUBLE}"))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	m := newMill(must, t.Cleanup, t.TempDir(), 1, topic, "")
	must(m.open(sql, 0))
	return m
}

func sendNumbers(t *testing.T, m *mill, n int) {
	t.Helper()
	for i := range n {
		if err := m.send(t.Context(), &kgo.Record{Value: fmt.Appendf(nil, `{"k":"%c","n":%d,"f":%g}`, 'a'+i%3, i, []float64{1e15, 0.1, -1e15, 0.7}[i%4])}); err != nil {
			t.Fatal(err)
		}
	}
}

// falsify changes a partial so that no checksum tells: its file holds what a query makes of its rows, and a new manifest says so.
func falsify(ctx context.Context, m *mill, which func(manifest.Partial) bool, rows string) error {
	root, newest, err := newestOf(ctx, m)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(newest.Partials, which)
	if at < 0 {
		return fmt.Errorf("there is no such partial in %+v", newest.Partials)
	}
	p := &newest.Partials[at]
	if err := change(ctx, m, root+p.Path, rows); err != nil {
		return err
	}
	data, err := m.store.Get(ctx, root+p.Path)
	if err != nil {
		return err
	}
	p.Bytes, p.CRC32C = int64(len(data)), manifest.Checksum(data)
	newest.Sequence++
	return dataset.Commit(ctx, m.store, root, newest)
}

func newestOf(ctx context.Context, m *mill) (root string, newest *manifest.Manifest, err error) {
	info, err := m.log.Topic(ctx, m.topic.Name)
	if err != nil {
		return "", nil, err
	}
	root = manifest.Root(m.topic.Name, info.ID, m.topic.Hash())
	newest, err = dataset.Newest(ctx, m.store, root)
	return root, newest, err
}

// change puts what a query makes of a partial's rows in its place. A fold still names its parts.
func change(ctx context.Context, m *mill, name, rows string) error {
	path, err := m.store.Local(ctx, name)
	if err != nil {
		return err
	}
	s, err := kernel.OpenSession(ctx, kernel.Limits{})
	if err != nil {
		return err
	}
	defer s.Close()
	var parts string
	found, err := s.Query(ctx, fmt.Sprintf("SELECT decode(value) FROM parquet_kv_metadata(%s) WHERE decode(key) = %s", schemas.QuoteText(path), schemas.QuoteText(manifest.PartsKey)))
	if err != nil {
		return err
	}
	for found.Next() {
		if err := found.Scan(&parts); err != nil {
			return err
		}
	}
	if err := errors.Join(found.Err(), found.Close()); err != nil {
		return err
	}
	changed, more := filepath.Join(m.dir, "changed.parquet"), ""
	if parts != "" {
		more = fmt.Sprintf(", KV_METADATA {%q: %s}", manifest.PartsKey, schemas.QuoteText(parts))
	}
	if err := s.Exec(ctx, fmt.Sprintf("COPY (SELECT * REPLACE (%s) FROM read_parquet(%s)) TO %s (FORMAT parquet%s)", rows, schemas.QuoteText(path), schemas.QuoteText(changed), more)); err != nil {
		return err
	}
	return m.store.PutFile(ctx, name, changed)
}

// look samples a view until the records of a range have been read again from all of the origins, or something is wrong there.
func look(t *testing.T, m *mill, view string, r schemas.Range, origins ...serving.Origin) *serving.Drift {
	t.Helper()
	dice, seen := rand.New(rand.NewPCG(1, 2)), map[serving.Origin]bool{}
	for len(seen) < len(origins) {
		s, err := m.server.Sample(t.Context(), m.defs, m.defs.Views[view], dice.IntN)
		switch {
		case err != nil:
			t.Fatal(err)
		case s == nil || s.Range != r:
		case s.Drift != nil:
			return s.Drift
		case s.Why != "":
			t.Fatal(s.Why)
		default:
			seen[s.Against] = true
		}
	}
	return nil
}

// What no checksum finds, a sample does: a count that is wrong in a partial, in a fold and in a slice, with the first key that
// differs, what is stored for it and what should be.
func TestASampleFindsWhatIsWrong(t *testing.T) {
	m := watched(t, map[string]string{"v": "SELECT k, count(*) AS c, sum(n) AS s FROM t GROUP BY k", "rows": "SELECT k, n FROM t WHERE n > 1", "floats": "SELECT k, sum(f) AS f FROM t GROUP BY k"})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	m.cycle.FoldAt = 3
	for range 4 {
		sendNumbers(t, m, 10)
		_, err := m.cycle.Cycle(ctx)
		must(err)
	}
	ofView := func(name string, tier int, from int64) func(manifest.Partial) bool {
		return func(p manifest.Partial) bool { return p.View == name && p.Tier == tier && p.From == from }
	}
	for _, c := range []struct {
		view, rows    string
		tier          int
		r             schemas.Range
		has, should   string
		key           string
		differs, rowN int64
	}{
		{"v", "CASE WHEN k0 = 'b' THEN s0 + 1 ELSE s0 END AS s0", 0, schemas.Range{From: 30, To: 40}, `"c":4`, `"c":3`, `{"k":"b"}`, 1, 3},
		{"v", "CASE WHEN k0 = 'b' THEN 'x' ELSE k0 END AS k0", 1, schemas.Range{From: 0, To: 30}, "null", `"c":9`, `{"k":"b"}`, 2, 4},
		{"rows", "s1 + 1 AS s1", 0, schemas.Range{From: 30, To: 40}, `{"k":"a","n":4}`, `{"k":"a","n":3}`, "null", 8, 8},
		{"floats", "CASE WHEN k0 = 'c' THEN s0 + 1e6 ELSE s0 END AS s0", 1, schemas.Range{From: 0, To: 30}, `"f":`, `"f":`, `{"k":"c"}`, 1, 3},
	} {
		if found := look(t, m, c.view, c.r, serving.FromLog, serving.FromFiles); found != nil {
			t.Errorf("a false alarm: %s", found.Problem())
		}
		must(falsify(ctx, m, ofView(c.view, c.tier, c.r.From), c.rows))
		fsck, err := m.cycle.Fsck(ctx)
		must(err)
		if len(fsck.Damage) > 0 {
			t.Errorf("fsck finds it too: %v", fsck.Damage)
		}
		found := look(t, m, c.view, c.r, serving.FromLog, serving.FromFiles)
		if found == nil {
			t.Errorf("%s over %s: nothing was found", c.view, c.r)
			continue
		}
		if string(found.Key) != c.key || !strings.Contains(string(found.Has), c.has) || !strings.Contains(string(found.Should), c.should) || found.Differing != c.differs ||
			found.Rows != c.rowN || !strings.Contains(found.Next, "millrace rebuild "+c.view) {
			t.Errorf("%s\n%+v", found.Problem(), found)
		}
	}
}

// Neither a view that was edited meanwhile nor records that are gone from log and store are a difference.
func TestWhatCannotBeComparedIsNoDrift(t *testing.T) {
	m := watched(t, map[string]string{"v": "SELECT k, count(*) AS c FROM t GROUP BY k"})
	ctx := t.Context()
	sendNumbers(t, m, 10)
	if _, err := m.cycle.Cycle(ctx); err != nil {
		t.Fatal(err)
	}
	all := schemas.Range{From: 0, To: 10}
	if err := falsify(ctx, m, func(manifest.Partial) bool { return true }, "s0 + 1 AS s0"); err != nil {
		t.Fatal(err)
	}
	found := look(t, m, "v", all, serving.FromLog, serving.FromFiles)
	if found == nil {
		t.Fatal("nothing was found")
	}
	root, newest, err := newestOf(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.forget(ctx, 0, 10), m.store.Delete(ctx, root+newest.Files[0].Path)); err != nil {
		t.Fatal(err)
	}
	first := func(int) int { return 0 }
	s, err := m.server.Sample(ctx, m.defs, m.defs.Views["v"], first)
	if err != nil || s == nil || s.Drift != nil || !strings.Contains(s.Why, "no such file") {
		t.Errorf("without the records: %+v, %v", s, err)
	}
	if s, err := m.server.Again(ctx, m.defs, m.defs.Views["v"], found, first); err != nil || s == nil || s.Drift != nil || s.Why == "" {
		t.Errorf("looked at again without the records: %+v, %v", s, err)
	}
	if err := m.open(map[string]string{"v": "SELECT k, count(*) AS c, 1 AS one FROM t GROUP BY k"}, 0); err != nil {
		t.Fatal(err)
	}
	if s, err := m.server.Sample(ctx, m.defs, m.defs.Views["v"], first); s != nil || err != nil {
		t.Errorf("a sample of an edited view: %+v, %v", s, err)
	}
	if s, err := m.server.Again(ctx, m.defs, m.defs.Views["v"], found, first); s != nil || err != nil {
		t.Errorf("looked at again after an edit: %+v, %v", s, err)
	}
}

// Parts of folds are looked at too, the last one among them, and a file that is damaged is said to be.
func TestASampleFindsADamagedPart(t *testing.T) {
	m := watched(t, map[string]string{"v": "SELECT k, sum(n) AS s FROM t GROUP BY k"})
	ctx := t.Context()
	m.cycle.FoldAt = 2
	for range 3 {
		sendNumbers(t, m, 10)
		if _, err := m.cycle.Cycle(ctx); err != nil {
			t.Fatal(err)
		}
	}
	root, newest, err := newestOf(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	last := schemas.Range{From: 10, To: 20}
	if slices.ContainsFunc(newest.Partials, func(p manifest.Partial) bool { return p.Range() == last }) {
		t.Fatal("it is no part of a fold")
	}
	name := fmt.Sprintf("%s%s0/%020d-%020d.parquet", root, manifest.Folder("v", m.defs.Views["v"].Definition), last.From, last.To)
	if err := change(ctx, m, name, "CAST(CAST(s0 AS HUGEINT) + 2 AS VARCHAR) AS s0"); err != nil {
		t.Fatal(err)
	}
	there := &serving.Drift{Range: last}
	found, err := m.server.Again(ctx, m.defs, m.defs.Views["v"], there, func(int) int { return 0 })
	if err != nil || found == nil || found.Drift != nil || !strings.Contains(found.Why, name) {
		t.Errorf("%+v, %v", found, err)
	}
	if _, err := m.cycle.Repair(ctx, time.Now()); err != nil {
		t.Fatal(err)
	}
	if s, err := m.server.Again(ctx, m.defs, m.defs.Views["v"], there, func(int) int { return 0 }); s != nil || err != nil {
		t.Errorf("after the repair: %+v, %v", s, err)
	}
}

// A slice whose rows are not what its records come to is found, and gone when a cycle has taken its place.
func TestASampleFindsAWrongSlice(t *testing.T) {
	m := watched(t, map[string]string{"v": "SELECT k, count(*) AS c FROM t GROUP BY k"})
	ctx := t.Context()
	sendNumbers(t, m, 20)
	right, err := m.slice(ctx, schemas.Range{From: 0, To: 10})
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := m.slice(ctx, schemas.Range{From: 10, To: 20})
	if err != nil {
		t.Fatal(err)
	}
	of, err := slice.Decode(wrong[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	if of.Payload, err = withoutARow(of.Payload, m.defs.Views["v"]); err != nil {
		t.Fatal(err)
	}
	wrong[0].Value = slice.Encode(of)
	if err := m.publish(ctx, append(right, wrong...)); err != nil {
		t.Fatal(err)
	}
	if found := look(t, m, "v", schemas.Range{From: 0, To: 10}, serving.FromLog); found != nil {
		t.Errorf("a false alarm: %s", found.Problem())
	}
	found := look(t, m, "v", schemas.Range{From: 10, To: 20}, serving.FromLog)
	if found == nil {
		t.Fatal("nothing was found")
	}
	if string(found.Key) != `{"k":"a"}` || string(found.Has) != "null" || string(found.Should) != `{"k":"a","c":3}` || found.Stored != "a slice" || !strings.Contains(found.Next, "millrace batch t") {
		t.Errorf("%s", found.Problem())
	}
	again := func() *serving.Sample {
		s, err := m.server.Again(ctx, m.defs, m.defs.Views["v"], found, func(int) int { return 0 })
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := again(); s == nil || s.Drift == nil {
		t.Error("looked at again it is right")
	}
	if _, err := m.cycle.Cycle(ctx); err != nil {
		t.Fatal(err)
	}
	if s := again(); s != nil {
		t.Errorf("after a cycle: %+v", s)
	}
}

// withoutARow is a slice's payload without its first row.
func withoutARow(payload []byte, v *views.View) ([]byte, error) {
	s, err := kernel.OpenSession(context.Background(), kernel.Limits{})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	schema, err := s.StateSchema(context.Background(), v)
	if err != nil {
		return nil, err
	}
	rows, err := slicelog.DecodeRows(payload, schema)
	if err != nil {
		return nil, err
	}
	defer slicelog.ReleaseRows(rows)
	longest := slices.MaxFunc(rows, func(a, b arrow.RecordBatch) int { return cmp.Compare(a.NumRows(), b.NumRows()) })
	rest := longest.NewSlice(1, longest.NumRows())
	defer rest.Release()
	return slicelog.EncodeRows(rest)
}

// roundedViews are over the law's topic and keep what rounds, what is kept as it is, and states of many kinds.
var roundedViews = map[string]string{
	"moments":  "SELECT k, var_samp(f), stddev_pop(f), skewness(f), kurtosis(f), corr(f, n), covar_pop(f, d), regr_slope(f, d), regr_intercept(f, d), sem(f) FROM t WHERE abs(f) < 1e9 GROUP BY k",
	"averages": "SELECT k, avg(f), fsum(f), favg(f), kahan_sum(f), geomean(abs(f) + 1), wavg(f, abs(d) + 1) FROM t GROUP BY k",
	"products": "SELECT k, product(1 + f / 1e16), sum(f) FILTER (WHERE n > 0), sum(DISTINCT f) FROM t GROUP BY k",
	"sketches": "SELECT k, approx_count_distinct(n), approx_quantile(f, 0.5) FROM t GROUP BY k",
	"values":   "SELECT k, median(f), quantile_cont(f, [0.1, 0.9]), mode(n), list(f ORDER BY ts, _partition, _offset), histogram(n % 3), mad(f) FROM t GROUP BY k",
	"best":     "SELECT k, arg_max(f, ts, 3), max(f, 2), arg_min(f, n), first(f), max_by(s, ts) FROM t GROUP BY k",
	"floating": "SELECT round(f) AS r, count(*), sum(f) FROM t GROUP BY r",
	"kept":     "SELECT k, f * 3 AS f3, n FROM t WHERE n > 2",
	"top":      "SELECT k, f, n FROM t ORDER BY n DESC, _partition, _offset LIMIT 3",
	"rolled":   "SELECT k, date_trunc('day', ts) AS day, sum(f), count(*), grouping(k) FROM t GROUP BY ROLLUP (day, k)",
	"ranked":   "SELECT k, sum(f) AS s, rank() OVER (ORDER BY count(*) DESC, k) AS r FROM t GROUP BY k QUALIFY r <= 2",
	"two":      "WITH a AS (SELECT k, sum(f) AS s FROM t GROUP BY k), b AS (SELECT count(*) AS n, avg(f) AS m FROM t) SELECT a.k, a.s, b.n, b.m FROM a, b",
	"both":     "SELECT k, sum(f) AS v FROM t GROUP BY k UNION ALL SELECT 'all', avg(f) FROM t",
	"sessions": "SELECT k, session(ts, INTERVAL '30 minutes') AS start, count(*) AS c, sum(f) AS f FROM t GROUP BY ALL",
	"having":   "SELECT k, sum(f) AS s FROM t GROUP BY k HAVING sum(f) > 0.1",
	"failing":  "SELECT k, sum(CAST(tags[1] AS INTEGER)) FROM t GROUP BY k",
	"pivoted":  "PIVOT (SELECT k, f, n % 2 AS odd FROM t) ON odd IN (0, 1) USING sum(f) GROUP BY k",
}

// However a healthy log was sliced, committed and folded, no sample of it differs from its records: moments, sums that cancel,
// sketches, values that are kept, sessions, rows without a key, and a view whose SQL fails.
func TestNoFalseAlarm(t *testing.T) {
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte(lawTopic))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	sampled := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		if rapid.IntRange(0, 9).Draw(t, "one of ten") > 0 {
			return
		}
		l := &law{T: t, ctx: t.Context(), fate: &fate{}, of: roundedViews, took: map[string]int{}}
		dir, err := os.MkdirTemp("", "millrace-watch-")
		l.must(err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		l.mill = newMill(l.must, t.Cleanup, dir, 1, topic, lawReference)
		l.open()
		for range rapid.IntRange(1, 2).Draw(t, "rounds") {
			l.cycles()
			for range rapid.IntRange(1, 4).Draw(t, "bundles") {
				l.sendSome()
				l.must(lawWorks(*l.mill, time.Now())["slices"](l.ctx))
			}
			l.must(l.mill.tidy(l.ctx))
			for range 3 {
				l.watch()
			}
		}
		for of, n := range l.took {
			sampled[of] += n
		}
	})
	t.Logf("samples were %v", sampled)
	if len(sampled) < 3 {
		t.Error("something was never compared")
	}
}
