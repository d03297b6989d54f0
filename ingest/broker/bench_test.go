package broker

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkProduce is one producer process' share and the broker's together: records of 100 bytes over 4 partitions,
// acknowledged. cpu-ns/op is both sides' processor time.
func BenchmarkProduce(b *testing.B) {
	for _, sync := range []bool{true, false} {
		for _, codec := range []struct {
			name string
			c    kgo.CompressionCodec
		}{{"none", kgo.NoCompression()}, {"lz4", kgo.Lz4Compression()}, {"snappy", kgo.SnappyCompression()}, {"zstd", kgo.ZstdCompression()}} {
			b.Run(fmt.Sprintf("sync=%v/%s", sync, codec.name), func(b *testing.B) {
				br, err := Open(b.Context(), Options{Dir: b.TempDir(), NoSync: !sync, Log: quiet()})
				if err != nil {
					b.Fatal(err)
				}
				defer br.Close()
				cl := client(b, br.Addr(), kgo.ProducerBatchCompression(codec.c), kgo.MaxBufferedRecords(200_000), kgo.ProducerLinger(5*time.Millisecond))
				createTopic(b, cl, "t", 4)
				ts := time.UnixMilli(1)
				values := make([][]byte, 10_000)
				for i := range values {
					values[i] = fmt.Appendf(nil, `{"date":"2001-01-%02dT%02d:%02d:00","delay":%d,"distance":%d,"origin":"S%02d","destination":"L%02d"}`, i%28+1, i%24, i%60, i%97-20, i*7919%3000, i%89, i*31%97)
				}
				b.SetBytes(int64(len(values[0])))
				cpu := cpuTime()
				b.ResetTimer()
				for i := range b.N {
					cl.Produce(b.Context(), &kgo.Record{Topic: "t", Partition: int32(i / 256 % 4), Timestamp: ts, Value: values[i%len(values)]}, func(_ *kgo.Record, err error) {
						if err != nil {
							b.Error(err)
						}
					})
				}
				if err := cl.Flush(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			})
		}
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
