package views

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// span is a length of time, in months or in microseconds.
type span struct {
	months int
	micros int64
}

// after is so many spans later; a day that the month does not have is its last, as in SQL.
func (s span) after(t time.Time, times int) time.Time {
	if s.months > 0 {
		first := time.Date(t.Year(), t.Month()+time.Month(times*s.months), 1, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
		last := first.AddDate(0, 1, -1).Day()
		return first.AddDate(0, 0, min(t.Day(), last)-1)
	}
	return t.Add(time.Duration(times) * time.Duration(s.micros) * time.Microsecond)
}

func (s span) String() string {
	if s.months > 0 {
		return fmt.Sprintf("INTERVAL '%d MONTHS'", s.months)
	}
	return fmt.Sprintf("INTERVAL '%d MICROSECONDS'", s.micros)
}

// origin is where time_bucket begins to count.
func (s span) origin() time.Time {
	if s.months > 0 {
		return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return time.Date(2000, 1, 3, 0, 0, 0, 0, time.UTC)
}

// bucket is the start of the window of one span that holds t.
func (s span) bucket(t time.Time) time.Time {
	k := int(t.Sub(s.origin()) / (time.Duration(s.micros)*time.Microsecond + time.Duration(s.months)*31*24*time.Hour))
	for k += 2; s.after(s.origin(), k).After(t); k-- {
	}
	for !s.after(s.origin(), k+1).After(t) {
		k++
	}
	return s.after(s.origin(), k)
}

func hoppingByHand(ts time.Time, size, hop span) []time.Time {
	var out []time.Time
	last := hop.bucket(ts)
	for k := 0; size.after(hop.after(last, -k), 1).After(ts); k++ {
		out = append(out, hop.after(last, -k))
	}
	slices.Reverse(out)
	return out
}

func cumulatingByHand(ts time.Time, size, step span) []time.Time {
	var out []time.Time
	start := size.bucket(ts)
	full := size.after(start, 1)
	for k := 1; ; k++ {
		end := step.after(start, k)
		if !end.Before(full) {
			return append(out, full)
		}
		if end.After(ts) {
			out = append(out, end)
		}
	}
}

// Windows by hopping and cumulating are those found by counting: at their edges, before 1970, for either type of
// timestamp, and when sizes are no multiples.
func TestWindows(t *testing.T) {
	c, cat, d := openCompiler(t), corpusCatalog(t), newTruth(t)
	const hour = int64(3600e6)
	spans := []span{{0, 1}, {0, 7}, {0, hour / 12}, {0, hour}, {0, 90 * hour / 60}, {0, 24 * hour}, {0, 7 * 24 * hour}, {1, 0}, {3, 0}, {12, 0}}
	counted := map[string]func(time.Time, span, span) []time.Time{"hopping": hoppingByHand, "cumulating": cumulatingByHand}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"hopping", "cumulating"}).Draw(t, "name")
		size, step := rapid.SampledFrom(spans).Draw(t, "size"), rapid.SampledFrom(spans).Draw(t, "step")
		if size.months > 0 && step.micros > 0 && step.micros < 24*hour || size.micros > 2000*step.micros && step.months == 0 {
			t.Skip("too many windows")
		}
		at := rapid.SampledFrom([]time.Time{{}, time.Date(1900, 2, 28, 23, 59, 59, 999999000, time.UTC), time.Date(1969, 12, 31, 12, 0, 0, 0, time.UTC), time.Unix(0, 0), time.Date(2024, 2, 29, 0, 0, 0, 1000, time.UTC), time.Date(2100, 3, 31, 1, 2, 3, 0, time.UTC)}).Draw(t, "near")
		if at.IsZero() {
			at = time.UnixMicro(rapid.Int64Range(-2e15, 4e15).Draw(t, "at"))
		}
		if rapid.Bool().Draw(t, "edge") {
			at = step.bucket(at).Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "off")) * time.Microsecond)
		}
		at = at.UTC()
		kind := rapid.SampledFrom([]string{"TIMESTAMP", "TIMESTAMPTZ"}).Draw(t, "type")
		v, err := c.Compile("v", "v.sql", fmt.Sprintf("SELECT %s(%s '%s', %s, %s) AS w, count(*) FROM flights", name, kind, at.Format("2006-01-02 15:04:05.999999+00"), size, step), cat)
		if err != nil {
			t.Fatal(err)
		}
		var text, of string
		if err := d.db.QueryRow("SELECT w::VARCHAR, typeof(w) FROM ("+v.SQL+")").Scan(&text, &of); err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, w := range counted[name](at, size, step) {
			one := w.Format("2006-01-02 15:04:05.999999")
			if kind == "TIMESTAMPTZ" {
				one += "+00"
			}
			want = append(want, quoted(one))
		}
		if got := strings.Trim(text, "[]"); got != strings.Join(want, ", ") {
			t.Fatalf("%s(%s %s, %s, %s)\n got %s\nwant %s", name, kind, at, size, step, got, strings.Join(want, ", "))
		}
		if want := map[string]string{"TIMESTAMP": "TIMESTAMP[]", "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE[]"}[kind]; of != want {
			t.Fatalf("%s gives %s", kind, of)
		}
	})
}

// quoted is a timestamp as a list's text has it.
func quoted(s string) string { return "'" + s + "'" }
