package project

import (
	"time"

	"github.com/robfig/cron/v3"
)

// Location is the job's time zone.
func (j *Job) Location() *time.Location { return j.location }

// Next is the first time the job is due after t, in the job's time zone; the zero time if there is none in five years.
//
// A schedule that names hours ("30 2 * * *") means the clock on the wall: a time that the clocks jump over in spring is
// due as much later as they jumped, one that comes twice in autumn is due the first time only. A schedule of every hour
// means the hours that pass: it is due in both of autumn's, and in none that is jumped over.
func (j *Job) Next(t time.Time) time.Time {
	t = t.In(j.location)
	if spec, ok := j.schedule.(*cron.SpecSchedule); !ok || spec.Hour&everyHour == everyHour {
		return j.schedule.Next(t)
	}
	var next time.Time
	for w := j.schedule.Next(wall(t).Add(-turn)); !w.IsZero() && (next.IsZero() || !w.After(wall(next))); w = j.schedule.Next(w) {
		if at := j.instant(w); at.After(t) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

const (
	everyHour = 1<<24 - 1     // the bits of all hours
	turn      = 3 * time.Hour // clocks are turned by less
)

// wall is what the clock shows at t, as if it were UTC.
func wall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// instant is the first time at which the job's clock shows w; if it never does, w by the clock before it was turned.
func (j *Job) instant(w time.Time) time.Time {
	_, before := w.Add(-24 * time.Hour).In(j.location).Zone()
	_, after := w.Add(24 * time.Hour).In(j.location).Zone()
	for _, offset := range []int{max(before, after), min(before, after)} {
		if t := w.Add(-time.Duration(offset) * time.Second).In(j.location); wall(t).Equal(w) {
			return t
		}
	}
	return w.Add(-time.Duration(before) * time.Second).In(j.location)
}

// Previous is the last time the job was due before t, the zero time if there is none in five years.
func (j *Job) Previous(t time.Time) time.Time {
	const limit = 5 * 366 * 24 * time.Hour
	for back := time.Minute; ; back = min(2*back, limit) {
		due := j.Next(t.Add(-back))
		for !due.IsZero() && due.Before(t) {
			next := j.Next(due)
			if next.IsZero() || !next.Before(t) {
				return due
			}
			due = next
		}
		if back == limit {
			return time.Time{}
		}
	}
}
