package kafkalog

import "testing"

// BenchmarkDrain is a record batch of ten records an operation, with its checksum.
func BenchmarkDrain(b *testing.B) {
	bytes := batch(0, 10, nil)
	c := &Chunk{}
	b.SetBytes(int64(len(bytes)))
	b.ReportAllocs()
	for b.Loop() {
		c.Records, c.From, c.To = c.Records[:0], 0, 0
		if err := drain(bytes, 10, 0, nil, c); err != nil || len(c.Records) != 10 {
			b.Fatal(len(c.Records), err)
		}
	}
	b.ReportMetric(10*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
