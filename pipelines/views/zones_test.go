package views

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// turns are instants of twelve years: around every turn of the zone's clocks, at the edges of days, and any.
func turns(zone *time.Location) []time.Time {
	rng := rand.New(rand.NewPCG(1, 2))
	start, end := time.Date(2014, 12, 30, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC)
	var out []time.Time
	for t := start; t.Before(end); t = t.Add(30 * time.Minute) {
		_, before := t.In(zone).Zone()
		_, after := t.Add(30 * time.Minute).In(zone).Zone()
		if before != after {
			for k := -52; k <= 52; k++ {
				out = append(out, t.Add(time.Duration(k)*30*time.Minute), t.Add(time.Duration(k)*30*time.Minute-time.Microsecond))
			}
		}
		if local := t.In(zone); local.Hour() == 0 && local.Minute() == 0 && rng.IntN(20) == 0 {
			out = append(out, t, t.Add(-time.Microsecond))
		}
	}
	for range 500 {
		out = append(out, start.Add(time.Duration(rng.Int64N(int64(end.Sub(start)))).Truncate(time.Microsecond)))
	}
	return out
}

// Days, weeks, months and years of a time zone are those of its clocks, by Go's time zone database, and views that group
// by them are merged.
func TestTimeZones(t *testing.T) {
	c, cat, d := openCompiler(t), corpusCatalog(t), newTruth(t)
	for _, name := range []string{"UTC", "Europe/Paris", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		at := turns(zone)
		var values []string
		for _, m := range at {
			values = append(values, fmt.Sprintf("(make_timestamptz(%d))", m.UnixMicro()))
		}
		d.exec(t, "CREATE OR REPLACE TABLE events AS SELECT m AS _timestamp FROM (VALUES "+strings.Join(values, ", ")+") AS v(m)")
		local := fmt.Sprintf("_timestamp AT TIME ZONE '%s'", name)
		v, err := c.Compile("v", "v.sql", fmt.Sprintf(`SELECT epoch_us(_timestamp) AS at, date_trunc('day', %[1]s)::VARCHAR AS day, date_trunc('week', %[1]s)::VARCHAR AS week,
			date_trunc('month', %[1]s)::VARCHAR AS month, year(%[1]s) AS year, hour(%[1]s) AS hour, isodow(%[1]s) AS weekday, week(%[1]s) AS number,
			epoch_us(time_bucket(INTERVAL 1 DAY, _timestamp, '%[2]s')) AS day_at, epoch_us(time_bucket(INTERVAL 1 MONTH, _timestamp, '%[2]s')) AS month_at, count(*) FROM events GROUP BY ALL`, local, name), cat)
		if err != nil {
			t.Fatal(err)
		}
		if v.Class != Merged {
			t.Errorf("%s: %s %v", name, v.Class, v.Reasons)
		}
		rows, err := d.db.Query(v.SQL)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[int64]bool{}
		for rows.Next() {
			var when, dayAt, monthAt int64
			var day, week, month string
			var year, hour, weekday, number, n int
			if err := rows.Scan(&when, &day, &week, &month, &year, &hour, &weekday, &number, &dayAt, &monthAt, &n); err != nil {
				t.Fatal(err)
			}
			seen[when] = true
			m := time.UnixMicro(when).In(zone)
			midnight := time.Date(m.Year(), m.Month(), m.Day(), 0, 0, 0, 0, time.UTC)
			_, isoWeek := m.ISOWeek()
			got := fmt.Sprint(day, week, month, year, hour, weekday, number)
			want := fmt.Sprint(midnight.Format(time.DateTime), midnight.AddDate(0, 0, -(int(m.Weekday())+6)%7).Format(time.DateTime),
				midnight.AddDate(0, 0, 1-m.Day()).Format(time.DateTime), m.Year(), m.Hour(), (int(m.Weekday())+6)%7+1, isoWeek)
			if got != want {
				t.Errorf("%s %s\n got %s\nwant %s", name, m, got, want)
			}
			for got, first := range map[int64]time.Time{dayAt: time.Date(m.Year(), m.Month(), m.Day(), 0, 0, 0, 0, zone), monthAt: time.Date(m.Year(), m.Month(), 1, 0, 0, 0, 0, zone)} {
				if first.Hour() == 0 && first.UnixMicro() != got { // a midnight that the clocks jump over is at no instant
					t.Errorf("%s %s: begins at %s, want %s", name, m, time.UnixMicro(got).In(zone), first)
				}
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		for _, m := range at {
			if !seen[m.UnixMicro()] {
				t.Fatalf("%s: %s is missing", name, m)
			}
		}
	}
}
