package serving

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/millrace/millrace/schemas"
)

// Whatever is given as a moment is one, or is its giver's fault; and a certificate that is one says the same when it is written again.
func FuzzAsOf(f *testing.F) {
	for _, seed := range []string{"2026-01-31T12:00:00Z", `"2026-01-31"`, "", `{"t":{"0":1200}}`, `{"t":{"manifest":12},"u":{"1":2}}`, `{"topics":{"t":{"id":"a","schema":"b","from":{"0":1},"to":{"0":7},"lost":[{"partition":0,"from":3,"to":4}],"manifest":3,
		"layers":{"batch":{"records":5,"rejects":1}}}},"views":{"v":"c"},"references":{"r":"d"},"as_it_was":{"r":{"t":[{"hash":"e","from":{"0":2}}]}}}`, `{"t":{"-1":9223372036854775808}}`, `{"topics":null}`, `{"t":null}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := ParseAsOf(text)
		if err != nil {
			if schemas.KindOf(err) != schemas.Usage {
				t.Errorf("%v", err)
			}
			return
		}
		if a == nil || a.Topics == nil {
			return
		}
		written := func(a *AsOf) []byte {
			text, err := json.Marshal(Certificate{Views: a.Views, Topics: a.Topics, References: a.References, AsItWas: a.AsItWas})
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		once := written(a)
		b, err := ParseAsOf(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if again := written(b); !bytes.Equal(once, again) {
			t.Errorf("%s is written again as %s", once, again)
		}
	})
}
