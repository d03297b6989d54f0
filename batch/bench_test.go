package batch

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/testdata"
)

// The benchmarks' two shapes: the Yahoo Streaming Benchmark's events, and the flights of the example. Each is measured
// as Build does it, broker -> Parquet and partials, and beside it as DuckDB alone writes the same columns from an NDJSON
// file with one thread. rows/cpu-s counts the CPU of the whole process; Build's has the broker in it, and Fetch says how
// much of it is fetching.
const (
	adTopic = "fields: {user_id: VARCHAR, page_id: VARCHAR, ad_id: VARCHAR, ad_type: VARCHAR, event_type: VARCHAR, event_time: VARCHAR, ip_address: VARCHAR}"
	adView  = "SELECT ad_id, time_bucket(INTERVAL '10 seconds', make_timestamp(event_time::BIGINT * 1000)) AS w, count(*) AS n FROM events WHERE event_type = 'view' GROUP BY ALL"

	flightTopic = "event_time: date\nfields: {date: TIMESTAMP NOT NULL, delay: INTEGER, distance: INTEGER, origin: VARCHAR NOT NULL, destination: VARCHAR NOT NULL}"
	flightView  = "SELECT origin, count(*) AS n, avg(delay) AS delay FROM events GROUP BY origin"

	benchRows = 600_000
)

func adEvents(testing.TB) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	kinds := []string{"view", "click", "purchase"}
	out := make([][]byte, benchRows)
	for i := range out {
		out[i] = fmt.Appendf(nil, `{"user_id":"%08x-8e5d-4a3c-9b1f-%012x","page_id":"%08x-8e5d-4a3c-9b1f-%012x","ad_id":"ad-%04d","ad_type":"banner78","event_type":"%s","event_time":"%d","ip_address":"1.2.3.4"}`,
			r.Uint32(), r.Int64N(1<<40), r.Uint32(), r.Int64N(1<<40), r.IntN(1000), kinds[r.IntN(3)], 1700000000000+int64(i/100))
	}
	return out
}

func flights(t testing.TB) [][]byte {
	lines, err := testdata.Flights()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for len(out) < benchRows {
		out = append(out, lines...)
	}
	return out[:benchRows]
}

var shapes = []struct {
	name, topic, view string
	payloads          func(testing.TB) [][]byte
}{{"ads", adTopic, adView, adEvents}, {"flights", flightTopic, flightView, flights}}

func BenchmarkBuild(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			in := newBed(b, s.topic, map[string]string{"v": s.view})
			end := in.sendWith(b, s.payloads(b), benchRows)
			measure(b, func() {
				if _, err := in.Build(b.Context(), "root/", schemas.Range{To: end}); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

func BenchmarkFetch(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			in := newBed(b, s.topic, nil)
			end := in.sendWith(b, s.payloads(b), benchRows)
			measure(b, func() {
				reader := in.Log.Read(in.Topic.Name, schemas.Range{To: end}, kafkalog.ReadOptions{Want: kafkalog.Everything})
				defer reader.Close()
				for at := int64(0); at < end; {
					c, err := reader.Next(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					at = c.To
					c.Release()
				}
			})
		})
	}
}

func BenchmarkDuckDBAlone(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			topic, problems := schemas.ParseTopic("events", "events.yaml", []byte(s.topic))
			if len(problems) > 0 {
				b.Fatal(problems[0])
			}
			dir := b.TempDir()
			source, to := filepath.Join(dir, "events.ndjson"), filepath.Join(dir, "events.parquet")
			if err := os.WriteFile(source, bytes.Join(s.payloads(b), []byte("\n")), 0o600); err != nil {
				b.Fatal(err)
			}
			list, columns := "", ""
			for _, f := range topic.Fields {
				list += schemas.QuoteIdent(f.Name) + ", "
				columns += fmt.Sprintf("%s: '%s', ", schemas.QuoteIdent(f.Name), f.Type)
			}
			measure(b, func() {
				session, err := kernel.OpenSession(b.Context(), kernel.Limits{})
				if err != nil {
					b.Fatal(err)
				}
				defer session.Close()
				if err := session.Exec(b.Context(), fmt.Sprintf(`COPY (SELECT %s 0::INTEGER AS _partition, row_number() OVER () - 1 AS _offset, TIMESTAMPTZ '2020-01-01' AS _timestamp,
					NULL::BLOB AS _key, []::STRUCT(key VARCHAR, value BLOB)[] AS _headers, NULL::VARCHAR AS _extra
					FROM read_json(%s, format = 'newline_delimited', columns = {%s})) TO %s (%s)`, list, schemas.QuoteText(source), columns, schemas.QuoteText(to), parquetOptions)); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

// measure runs f, which works benchRows records, and reports rows a second and rows a second of CPU.
func measure(b *testing.B, f func()) {
	b.ReportAllocs()
	began, cpu := time.Now(), cpuSeconds()
	for b.Loop() {
		f()
	}
	rows := float64(b.N) * benchRows
	b.ReportMetric(rows/time.Since(began).Seconds(), "rows/s")
	b.ReportMetric(rows/(cpuSeconds()-cpu), "rows/cpu-s")
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
