package kernel_test

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// BenchmarkAdd is a chunk of 10,000 records an operation: decoded, filtered, grouped; the state is flushed at the end.
// `millrace bench kernel` puts the same work, with a join, beside DuckDB's.
func BenchmarkAdd(b *testing.B) {
	topic, problems := schemas.ParseTopic("ads", "ads.yaml", []byte("fields:\n  user: VARCHAR\n  page: VARCHAR\n  ad: VARCHAR\n  kind: VARCHAR\n  ts: BIGINT\n"))
	if len(problems) > 0 {
		b.Fatal(problems[0])
	}
	r := rand.New(rand.NewPCG(1, 2))
	chunk := &kafkalog.Chunk{Topic: topic.Name}
	size := 0
	for i := range 10_000 {
		v := fmt.Appendf(nil, `{"user":"%032x","page":"%032x","ad":"ad-%03d","kind":"%s","ts":"%d"}`, r.Uint64(), r.Uint64(), r.IntN(1000), []string{"view", "click", "buy"}[r.IntN(3)], 1_700_000_000_000+i)
		chunk.Records = append(chunk.Records, schemas.Record{Offset: int64(i), Value: v})
		size += len(v)
	}
	compiler, err := views.Open()
	if err != nil {
		b.Fatal(err)
	}
	defer compiler.Close()
	catalog := &views.Catalog{Topics: map[string]*schemas.Topic{topic.Name: topic}}
	for name, sql := range map[string]string{
		"count":   "SELECT ad, time_bucket(INTERVAL '10 seconds', epoch_ms(ts)) AS start, count(*) AS n FROM ads WHERE kind = 'view' GROUP BY ALL",
		"arg_max": "SELECT ad, arg_max(page, ts) AS page FROM ads GROUP BY ad",
	} {
		b.Run(name, func(b *testing.B) {
			v, err := compiler.Compile(name, "", sql, catalog)
			if err != nil {
				b.Fatal(err)
			}
			k, err := kernel.New(b.Context(), kernel.Spec{Topic: topic, Views: []*views.View{v}, Together: true})
			if err != nil {
				b.Fatal(err)
			}
			defer k.Close()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			began := cpuSeconds()
			n := 0
			for b.Loop() {
				if rejects, err := k.Add(b.Context(), chunk); err != nil || len(rejects) > 0 {
					b.Fatal(rejects, err)
				}
				n += len(chunk.Records)
			}
			partials, err := k.Flush(b.Context())
			if err != nil || len(partials) != 1 || partials[0].Rows.NumRows() < 900 {
				b.Fatal(partials, err)
			}
			partials[0].Rows.Release()
			b.ReportMetric(float64(n)/(cpuSeconds()-began), "records/cpu-s")
		})
	}
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}
