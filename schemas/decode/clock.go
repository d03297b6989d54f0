package decode

import (
	"math"

	"github.com/millrace/millrace/schemas"
)

// DuckDB's finite bounds. The ends of int64 stand for the infinities there and are no values.
const (
	minMicros, maxMicros = -9223372022400000000, math.MaxInt64 - 1
	minNanos, maxNanos   = -9223286400000000000, math.MaxInt64 - 1
	minDays, maxDays     = -math.MaxInt32 + 1, math.MaxInt32 - 1
	minSeconds           = minMicros / 1_000_000
	maxSeconds           = maxMicros / 1_000_000
	secondsADay          = 86400
)

// digits2 reads two decimal digits, 255 or more if they are none.
func digits2(s []byte, i int) int {
	a, b := s[i]-'0', s[i+1]-'0'
	if a > 9 || b > 9 {
		return 1 << 16
	}
	return int(a)*10 + int(b)
}

// daysOf is the days from 1970-01-01 in the proleptic Gregorian calendar.
func daysOf(y, m, d int) int {
	if m <= 2 {
		y--
		m += 12
	}
	era := y / 400
	if y < 0 {
		era = (y - 399) / 400
	}
	yoe := y - era*400
	doy := (153*(m-3)+2)/5 + d - 1
	return era*146097 + yoe*365 + yoe/4 - yoe/100 + doy - 719468
}

func daysIn(y, m int) int {
	switch m {
	case 2:
		if y%4 == 0 && (y%100 != 0 || y%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// parseDate reads a date at the start of s and says where it ends.
func parseDate(s []byte) (days, end int, ok bool) {
	i, y := 0, 0
	if len(s) >= 10 && s[4] == '-' && s[0] != '-' {
		a, b := digits2(s, 0), digits2(s, 2)
		y, i = a*100+b, 4
		if a|b >= 1<<16 {
			return 0, 0, false
		}
	} else {
		neg := false
		if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
			neg, i = s[0] == '-', 1
		}
		first := i
		for i < len(s) && i-first < 8 && s[i]-'0' <= 9 {
			y = y*10 + int(s[i]-'0')
			i++
		}
		if i-first < 4 || i-first > 7 || neg && y == 0 {
			return 0, 0, false
		}
		if neg {
			y = -y
		}
	}
	if len(s) < i+6 || s[i] != '-' || s[i+3] != '-' {
		return 0, 0, false
	}
	m, d := digits2(s, i+1), digits2(s, i+4)
	if m < 1 || m > 12 || d < 1 || d > 28 && (d > 31 || d > daysIn(y, m)) {
		return 0, 0, false
	}
	return daysOf(y, m, d), i + 6, true
}

// clock is a time of day. zone says whether an offset was written; offset is its seconds east of UTC.
type clock struct {
	seconds, nanos int
	rest           bool // digits beyond nanoseconds that are not zeros
	zone           bool
	offset         int
}

// parseClock reads all of s as HH:MM[:SS[.digits]] and an offset.
func parseClock(s []byte) (c clock, ok bool) {
	if len(s) < 5 || s[2] != ':' {
		return c, false
	}
	h, m, sec := digits2(s, 0), digits2(s, 3), 0
	i := 5
	if len(s) >= 8 && s[5] == ':' {
		sec = digits2(s, 6)
		i = 8
		if i < len(s) && s[i] == '.' {
			scale := 100_000_000
			first := i + 1
			for i = first; i < len(s) && s[i]-'0' <= 9; i++ {
				d := int(s[i] - '0')
				c.nanos += d * scale
				c.rest = c.rest || scale == 0 && d > 0
				scale /= 10
			}
			if i == first {
				return c, false
			}
		}
	}
	if h > 24 || m > 59 || sec > 59 || h == 24 && (m|sec|c.nanos > 0 || c.rest) {
		return c, false
	}
	c.seconds = h*3600 + m*60 + sec
	if i < len(s) {
		c.zone = true
		c.offset, ok = parseOffset(s[i:])
		return c, ok
	}
	return c, true
}

// parseOffset reads Z, ±HH, ±HHMM, ±HH:MM or DuckDB's ±HH:MM:SS, in seconds east of UTC.
func parseOffset(s []byte) (int, bool) {
	if len(s) == 1 && s[0] == 'Z' {
		return 0, true
	}
	if len(s) < 3 || s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	h, m, sec := digits2(s, 1), 0, 0
	switch {
	case len(s) == 3:
	case len(s) == 5:
		m = digits2(s, 3)
	case len(s) == 6 && s[3] == ':':
		m = digits2(s, 4)
	case len(s) == 9 && s[3] == ':' && s[6] == ':':
		m, sec = digits2(s, 4), digits2(s, 7)
	default:
		return 0, false
	}
	if h > 23 || m > 59 || sec > 59 {
		return 0, false
	}
	v := h*3600 + m*60 + sec
	if s[0] == '-' {
		v = -v
	}
	return v, true
}

// parseMoment reads a date, or a date and time, as seconds since 1970 UTC and nanoseconds.
func parseMoment(s []byte) (seconds, nanos int, rest, ok bool) {
	days, end, ok := parseDate(s)
	if !ok {
		return 0, 0, false, false
	}
	seconds = days * secondsADay
	if end == len(s) {
		return seconds, 0, false, true
	}
	if s[end] != 'T' && s[end] != ' ' {
		return 0, 0, false, false
	}
	c, ok := parseClock(s[end+1:])
	return seconds + c.seconds - c.offset, c.nanos, c.rest, ok
}

// moment reads ISO 8601 text for a DATE or a TIMESTAMP, in the type's own unit.
func (n *node) moment(s []byte) (int64, verdict) {
	sec, nanos, rest, ok := parseMoment(s)
	if !ok {
		return 0, notLiteral
	}
	if rest {
		return 0, tooFine
	}
	return n.inUnit(int64(sec), int64(nanos))
}

// inUnit converts seconds and nanoseconds since 1970 to the type's unit and checks DuckDB's bounds.
func (n *node) inUnit(sec, nanos int64) (int64, verdict) {
	if n.id == schemas.Date {
		days := sec / secondsADay
		if sec%secondsADay != 0 || nanos != 0 {
			return 0, timeOfDay
		}
		if days < minDays || days > maxDays {
			return 0, outOfRange
		}
		return days, accepted
	}
	if sec < minSeconds || sec > maxSeconds {
		return 0, outOfRange
	}
	switch n.id {
	case schemas.TimestampS:
		if nanos != 0 {
			return 0, tooFine
		}
		return sec, accepted
	case schemas.TimestampMS:
		if nanos%1_000_000 != 0 {
			return 0, tooFine
		}
		return sec*1000 + nanos/1_000_000, accepted
	case schemas.TimestampNS:
		if sec < minNanos/1_000_000_000 || sec > maxNanos/1_000_000_000 {
			return 0, outOfRange
		}
		v := sec*1_000_000_000 + nanos
		if sec > 0 && v < 0 || v > maxNanos {
			return 0, outOfRange
		}
		return v, accepted
	}
	if nanos%1000 != 0 {
		return 0, tooFine
	}
	v := sec*1_000_000 + nanos/1000
	if sec > 0 && v < 0 || v > maxMicros {
		return 0, outOfRange
	}
	return v, accepted
}

var unitsASecond = map[string]int64{"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}

// sinceEpoch reads an integer of n.perSecond units since 1970.
func (n *node) sinceEpoch(s []byte) (int64, verdict) {
	if n.perSecond == 0 {
		return 0, needsUnit
	}
	v, bad := n.integer64(s)
	if bad != accepted {
		return 0, bad
	}
	sec, part := v/n.perSecond, v%n.perSecond
	if part < 0 {
		sec, part = sec-1, part+n.perSecond
	}
	return n.inUnit(sec, part*(1_000_000_000/n.perSecond))
}

// timeOf reads a TIME as microseconds of the day.
func (n *node) timeOf(s []byte) (int64, verdict) {
	c, ok := parseClock(s)
	switch {
	case !ok:
		return 0, notLiteral
	case c.zone:
		return 0, hasOffset
	case c.rest || c.nanos%1000 != 0:
		return 0, tooFine
	}
	return int64(c.seconds)*1_000_000 + int64(c.nanos/1000), accepted
}

// timeText reads a TIMETZ or TIME_NS and returns it as DuckDB casts it back.
func (n *node) timeText(s []byte) ([]byte, verdict) {
	c, ok := parseClock(s)
	if !ok {
		return nil, notLiteral
	}
	w := n.work.text[:0]
	w = append2(w, c.seconds/3600, ':')
	w = append2(w, c.seconds/60%60, ':')
	w = append2(w, c.seconds%60, '.')
	if n.id == schemas.TimeNS {
		if c.zone {
			return nil, hasOffset
		}
		if c.rest {
			return nil, tooFine
		}
		w = appendDigits(w, c.nanos, 9)
		n.work.text = w
		return w, accepted
	}
	if c.rest || c.nanos%1000 != 0 {
		return nil, tooFine
	}
	w = appendDigits(w, c.nanos/1000, 6)
	off, sign := c.offset, byte('+')
	if off < 0 {
		off, sign = -off, '-'
	}
	if off >= 16*3600 {
		return nil, outOfRange
	}
	w = append(w, sign)
	w = append2(w, off/3600, ':')
	w = append2(w, off/60%60, ':')
	w = appendDigits(w, off%60, 2)
	n.work.text = w
	return w, accepted
}

func append2(w []byte, v int, after byte) []byte {
	return append(w, byte('0'+v/10), byte('0'+v%10), after)
}

func appendDigits(w []byte, v, places int) []byte {
	for p := places; p > 0; p-- {
		w = append(w, '0')
	}
	for i := len(w) - 1; v > 0; i-- {
		w[i] += byte(v % 10)
		v /= 10
	}
	return w
}
