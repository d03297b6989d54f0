package decode

import (
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// blob reads DuckDB's text form of a BLOB: ASCII, and \xAA for any byte.
func (n *node) blob(s []byte) ([]byte, verdict) {
	w := n.work.text[:0]
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 0x80:
			return nil, notLiteral
		case c != '\\':
			w = append(w, c)
		default:
			if i+3 >= len(s) || s[i+1] != 'x' || hexDigit(s[i+2])|hexDigit(s[i+3]) > 15 {
				return nil, notLiteral
			}
			w = append(w, hexDigit(s[i+2])<<4|hexDigit(s[i+3]))
			i += 3
		}
	}
	n.work.text = w
	return w, accepted
}

// hexDigit is the digit's value, 16 or more if it is none.
func hexDigit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}

// uuid reads 8-4-4-4-12 hexadecimal digits and returns them in lower case.
func (n *node) uuid(s []byte) ([]byte, verdict) {
	if len(s) != 36 {
		return nil, notLiteral
	}
	w := n.work.text[:0]
	for i, c := range s {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return nil, notLiteral
			}
		} else if hexDigit(c) > 15 {
			return nil, notLiteral
		} else if c <= 'F' && c >= 'A' {
			c |= 0x20
		}
		w = append(w, c)
	}
	n.work.text = w
	return w, accepted
}

func isBits(s []byte) bool {
	for _, c := range s {
		if c != '0' && c != '1' {
			return false
		}
	}
	return len(s) > 0
}

// intervalUnits are the units' months, days and microseconds.
var intervalUnits = map[string][3]int64{
	"millennium": {12000}, "millennia": {12000}, "century": {1200}, "centuries": {1200},
	"decade": {120}, "decades": {120}, "year": {12}, "years": {12}, "quarter": {3}, "quarters": {3},
	"month": {1}, "months": {1}, "week": {0, 7}, "weeks": {0, 7}, "day": {0, 1}, "days": {0, 1},
	"hour": {0, 0, 3600e6}, "hours": {0, 0, 3600e6}, "minute": {0, 0, 60e6}, "minutes": {0, 0, 60e6},
	"second": {0, 0, 1e6}, "seconds": {0, 0, 1e6},
	"millisecond": {0, 0, 1e3}, "milliseconds": {0, 0, 1e3}, "microsecond": {0, 0, 1}, "microseconds": {0, 0, 1},
}

// interval reads an INTERVAL as DuckDB prints it and returns it in months, days and microseconds.
func (n *node) interval(s []byte) ([]byte, verdict) {
	words := strings.Split(string(s), " ")
	var sum [3]int64
	for i := 0; i < len(words); i++ {
		last := i == len(words)-1
		if last && strings.ContainsRune(words[i], ':') {
			us, v := clockSpan(words[i])
			if v != accepted {
				return nil, v
			}
			var over bool
			if sum[2], over = addProduct(sum[2], us, 1); over {
				return nil, outOfRange
			}
			continue
		}
		if last || !isPlainInt(words[i]) {
			return nil, notLiteral
		}
		unit, known := intervalUnits[strings.ToLower(words[i+1])]
		if !known {
			return nil, notLiteral
		}
		count, err := strconv.ParseInt(words[i], 10, 64)
		if err != nil {
			return nil, outOfRange
		}
		for k, u := range unit {
			var over bool
			if sum[k], over = addProduct(sum[k], count, u); over {
				return nil, outOfRange
			}
		}
		i++
	}
	if sum[0] != int64(int32(sum[0])) || sum[1] != int64(int32(sum[1])) || sum[2] == math.MinInt64 {
		return nil, outOfRange
	}
	w := strconv.AppendInt(n.work.text[:0], sum[0], 10)
	w = strconv.AppendInt(append(w, " months "...), sum[1], 10)
	w = strconv.AppendInt(append(w, " days "...), sum[2], 10)
	w = append(w, " microseconds"...)
	n.work.text = w
	return w, accepted
}

func isPlainInt(s string) bool {
	s = strings.TrimPrefix(s, "-")
	for i := range len(s) {
		if s[i]-'0' > 9 {
			return false
		}
	}
	return s != ""
}

// addProduct is a + b·c and whether that overflows.
func addProduct(a, b, c int64) (int64, bool) {
	hi, lo := bits.Mul64(uint64(max(b, -b)), uint64(c))
	if hi > 0 || lo > math.MaxInt64 {
		return 0, true
	}
	p := int64(lo)
	if b < 0 {
		p = -p
	}
	sum := a + p
	return sum, (a > 0 && p > 0 && sum < 0) || (a < 0 && p < 0 && sum >= 0)
}

// clockSpan reads [-]H:MM:SS[.digits] with any number of hours, in microseconds.
func clockSpan(s string) (int64, verdict) {
	rest, neg := strings.CutPrefix(s, "-")
	hours, tail, _ := strings.Cut(rest, ":")
	if !isPlainInt(hours) || hours[0] == '-' {
		return 0, notLiteral
	}
	c, ok := parseClock([]byte("00:" + tail))
	if !ok || c.zone || strings.Count(rest, ":") > 2 {
		return 0, notLiteral
	}
	if c.rest || c.nanos%1000 != 0 {
		return 0, tooFine
	}
	h, err := strconv.ParseInt(hours, 10, 64)
	if err != nil {
		return 0, outOfRange
	}
	us, over := addProduct(int64(c.seconds)*1e6+int64(c.nanos/1000), h, 3600e6)
	if over {
		return 0, outOfRange
	}
	if neg {
		us = -us
	}
	return us, accepted
}
