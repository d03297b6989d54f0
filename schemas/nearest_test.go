package schemas

import "testing"

func TestNearest(t *testing.T) {
	known := []string{"store", "listen", "brokers", "a"}
	for word, want := range map[string]string{"stroe": "store", "Store": "store", "stor": "store", "lisen": "listen", "broker": "brokers", "borkers": "brokers", "b": "a", "xyz": ""} {
		if got := Nearest(word, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
