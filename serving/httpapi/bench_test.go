package httpapi_test

import (
	"testing"
)

// BenchmarkRecords appends 1,000 records a request, over one connection, to a broker in this process.
func BenchmarkRecords(b *testing.B) {
	h := open(b)
	for _, key := range []bool{false, true} {
		name := "plain"
		if key {
			name = "key"
		}
		b.Run(name, func(b *testing.B) {
			body := flightLines(1000)
			b.SetBytes(int64(len(body)))
			for i := range b.N {
				headers := []string{asNDJSON}
				if key {
					headers = append(headers, "Idempotency-Key: "+b.Name()+flight(b.N)+flight(i))
				}
				if r := h.send("POST", recordsPath, body, headers...); r.code != 200 {
					b.Fatalf("%d %s", r.code, r.body)
				}
			}
			b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkOneRecord appends one record a request.
func BenchmarkOneRecord(b *testing.B) {
	h := open(b)
	for b.Loop() {
		if r := h.send("POST", recordsPath, flight(1), asJSON); r.code != 200 {
			b.Fatalf("%d %s", r.code, r.body)
		}
	}
}

// BenchmarkQuestion asks over 10,000 raw records.
func BenchmarkQuestion(b *testing.B) {
	h := open(b)
	h.send("POST", recordsPath, flightLines(10_000), asNDJSON)
	for b.Loop() {
		if r := h.send("POST", "/v1/query", `{"sql":"SELECT origin, count(*) FROM flights GROUP BY ALL"}`); r.code != 200 {
			b.Fatalf("%d %s", r.code, r.body)
		}
	}
}
