package decode_test

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/decode"
)

func adEvents() [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	kinds := []string{"view", "click", "purchase"}
	out := make([][]byte, 20000)
	for i := range out {
		out[i] = fmt.Appendf(nil, `{"user_id":"%08x-8e5d-4a3c-9b1f-%012x","page_id":"%08x-8e5d-4a3c-9b1f-%012x","ad_id":"ad-%04d","ad_type":"banner78","event_type":"%s","event_time":"%d","ip_address":"1.2.3.4"}`,
			r.Uint32(), r.Int64N(1<<40), r.Uint32(), r.Int64N(1<<40), r.IntN(1000), kinds[r.IntN(3)], 1700000000000+int64(i/100))
	}
	return out
}

func flights() [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	airports := []string{"BOS", "DCA", "SFO", "ATL", "ORD"}
	out := make([][]byte, 20000)
	for i := range out {
		out[i] = fmt.Appendf(nil, `{"date":"2001-%02d-%02dT%02d:%02d:00","delay":%d,"distance":%d,"origin":"%s","destination":"%s"}`,
			1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(300)-60, r.IntN(3000), airports[r.IntN(5)], airports[r.IntN(5)])
	}
	return out
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

func benchmark(b *testing.B, topic *schemas.Topic, payloads [][]byte, want ...string) {
	alloc := mallocator.NewMallocator()
	d, err := decode.New(topic, want, alloc)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	size := 0
	for _, p := range payloads {
		size += len(p)
	}
	b.SetBytes(int64(size / len(payloads)))
	b.ReportAllocs()
	began := cpuSeconds()
	r := schemas.Record{}
	for i := 0; b.Loop(); i++ {
		r.Value = payloads[i%len(payloads)]
		r.Offset = int64(i)
		if bad := d.Append(&r); bad != nil {
			b.Fatal(bad.Reason)
		}
		if d.Len() == 16384 {
			d.Batch().Release()
		}
	}
	b.ReportMetric(float64(b.N)/(cpuSeconds()-began), "records/cpu-s")
}

var adFields = []string{"user_id: VARCHAR", "page_id: VARCHAR", "ad_id: VARCHAR", "ad_type: VARCHAR",
	"event_type: VARCHAR", "event_time: VARCHAR", "ip_address: VARCHAR"}

var flightFields = []string{"date: TIMESTAMP NOT NULL", "delay: INTEGER", "distance: INTEGER", "origin: VARCHAR NOT NULL", "destination: VARCHAR"}

func BenchmarkAdEvents(b *testing.B) {
	benchmark(b, topicOf(b, adFields...), adEvents(), "ad_id", "event_type", "event_time")
}

func BenchmarkFlights(b *testing.B) {
	topic := topicOf(b, flightFields...)
	benchmark(b, topic, flights(), columnsOf(topic)...)
}
