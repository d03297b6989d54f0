package ingest

import (
	"github.com/millrace/millrace/pipelines/kafkalog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// BenchmarkRun sends a file of flights lines to a broker in a process of its own. cpu-ns/op is this process' processor
// time a line: reading, the decoder's check, the key, the producer; the broker's is not in it.
func BenchmarkRun(b *testing.B) {
	_, addr := brokerProcess(b, b.TempDir())
	for _, c := range []struct{ name, id, compression string }{{"none", "", ""}, {"snappy", "", "snappy"}, {"id", "bench", ""}} {
		b.Run(c.name, func(b *testing.B) {
			path := linesFile(b, b.N)
			topic := flights()
			topic.Name = "bench-" + c.name
			b.SetBytes(int64(len(line(1000))))
			cpu := cpuTime()
			b.ResetTimer()
			o := Options{Topic: topic, Kafka: kafkalog.Config{Brokers: []string{addr}, Compression: c.compression}, Files: []string{path}}
			if c.id != "" {
				o.ID = c.id + time.Now().Format("150405.000000")
			}
			res, err := Run(b.Context(), o)
			if err != nil || res.Rejects != 0 {
				b.Fatal(res, err)
			}
			b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}

func linesFile(b *testing.B, n int) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "in.ndjson")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var buf []byte
	for i := range n {
		if buf = append(append(buf, line(i)...), '\n'); len(buf) > 1<<20 || i == n-1 {
			if _, err := f.Write(buf); err != nil {
				b.Fatal(err)
			}
			buf = buf[:0]
		}
	}
	return path
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
