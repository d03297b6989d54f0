package project

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func jobDue(t testing.TB, schedule, timezone string) *Job {
	t.Helper()
	f := &form{}
	j := f.parseJob("j", []byte("schedule: \""+schedule+"\"\ntimezone: "+timezone+"\nsql: SELECT 1\noutput: a.csv"))
	if len(f.problems) > 0 {
		t.Fatal(f.problems)
	}
	return j
}

// On the days clocks are turned, a time that is jumped over is due later, one that comes twice is due once, and a
// schedule of every hour is due by the hours that pass.
func TestDueWhenClocksTurn(t *testing.T) {
	for _, c := range []struct{ name, schedule, timezone, after, want string }{
		{"spring, 2:30 is not there", "30 2 * * *", "Europe/Paris", "2026-03-28T12:00:00+01:00", "03-29T03:30+02:00 03-30T02:30+02:00"},
		{"spring, every quarter of two", "*/15 2 * * *", "Europe/Paris", "2026-03-29T00:00:00+01:00", "03-29T03:00+02:00 03-29T03:15+02:00 03-29T03:30+02:00 03-29T03:45+02:00 03-30T02:00+02:00"},
		{"spring, two hours fall on one", "30 2,3 * * *", "Europe/Paris", "2026-03-29T00:00:00+01:00", "03-29T03:30+02:00 03-30T02:30+02:00"},
		{"autumn, 2:30 comes twice", "30 2 * * *", "Europe/Paris", "2026-10-24T12:00:00+02:00", "10-25T02:30+02:00 10-26T02:30+01:00"},
		{"autumn, asked in the second hour", "30 2 * * *", "Europe/Paris", "2026-10-25T02:10:00+01:00", "10-26T02:30+01:00"},
		{"autumn, every hour", "0 * * * *", "Europe/Paris", "2026-10-25T01:30:00+02:00", "10-25T02:00+02:00 10-25T02:00+01:00 10-25T03:00+01:00"},
		{"spring, every hour", "0 * * * *", "Europe/Paris", "2026-03-29T00:30:00+01:00", "03-29T01:00+01:00 03-29T03:00+02:00"},
		{"midnight is not there", "0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00-03:00", "11-04T01:00-02:00 11-05T00:00-02:00"},
		{"half an hour, Lord Howe", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00+10:30", "10-04T02:45+11:00 10-05T02:15+11:00"},
		{"a week over the turn", "0 6 * * 1", "Europe/Paris", "2026-03-23T06:00:00+01:00", "03-30T06:00+02:00"},
	} {
		j := jobDue(t, c.schedule, c.timezone)
		at, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for range strings.Fields(c.want) {
			at = j.Next(at)
			got = append(got, at.Format("01-02T15:04Z07:00"))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
}

// Next and Previous are each other's inverse, and the intervals between due times tile time.
func TestDueTimesTile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom([]string{"UTC", "Europe/Paris", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kolkata"}).Draw(t, "zone")
		schedule := rapid.SampledFrom([]string{"30 2 * * *", "*/15 2 * * *", "0 6 * * 1", "0 * * * *", "*/20 1-3 * * *", "0 0 1 * *", "15 */2 * * *"}).Draw(t, "schedule")
		f := &form{}
		j := f.parseJob("j", []byte("schedule: \""+schedule+"\"\ntimezone: "+zone+"\nsql: SELECT 1\noutput: a.csv"))
		at := time.Unix(rapid.Int64Range(1_400_000_000, 1_800_000_000).Draw(t, "at"), 0)
		next := j.Next(at)
		previous := j.Previous(next)
		if !next.After(at) || previous.After(at) || !j.Next(previous).Equal(next) {
			t.Fatalf("%s in %s after %s: next %s, previous of it %s, next of that %s", schedule, zone, at.In(j.location), next, previous, j.Next(previous))
		}
	})
}

func TestPreviousLeapDay(t *testing.T) {
	j := jobDue(t, "0 0 29 2 *", "UTC")
	if got := j.Previous(time.Date(2000, 2, 29, 0, 0, 0, 0, time.UTC)).Format(time.DateOnly); got != "1996-02-29" {
		t.Errorf("the leap day before 2000's is %s", got)
	}
}
