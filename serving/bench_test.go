package serving_test

import (
	"testing"

	"github.com/millrace/millrace/serving"
)

// BenchmarkQuestion asks for views over 20,000 raw records: what a question costs beside its partials. `millrace bench
// merged_query` puts questions over history and a tail beside DuckDB's.
func BenchmarkQuestion(b *testing.B) {
	h := open(b, 20_000)
	for _, sql := range []string{"SELECT * FROM delays", "SELECT * FROM weekend_hops", "SELECT count(*) FROM flights"} {
		b.Run(sql, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if rows, _ := h.ask(b, serving.Request{SQL: sql}); rows == "" {
					b.Fatal("no answer")
				}
			}
		})
	}
}
