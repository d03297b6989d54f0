package decode

import (
	"math"
	"math/bits"
	"strconv"
	"unsafe"

	"github.com/millrace/millrace/schemas"
)

// isNumber says whether s is a number as JSON writes one.
func isNumber(s []byte) bool {
	end := scanNumber(s, 0)
	return end == len(s) && end > 0
}

// scanNumber reads JSON's number from position p and returns where it ends, p if there is none.
func scanNumber(s []byte, p int) int {
	i := p
	if i < len(s) && s[i] == '-' {
		i++
	}
	switch {
	case i == len(s) || s[i]-'0' > 9:
		return p
	case s[i] == '0':
		i++
	default:
		for i++; i < len(s) && s[i]-'0' <= 9; i++ {
		}
	}
	if i < len(s) && s[i] == '.' {
		first := i + 1
		for i = first; i < len(s) && s[i]-'0' <= 9; i++ {
		}
		if i == first {
			return p
		}
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		first := i
		for ; i < len(s) && s[i]-'0' <= 9; i++ {
		}
		if i == first {
			return p
		}
	}
	return i
}

// shortInt reads an integer of at most 18 digits and where it ends, -1 if it is anything else.
func shortInt(b []byte, p int) (v int64, end int) {
	neg := b[p] == '-'
	if neg {
		p++
	}
	i := p
	for ; i < len(b) && i < p+19; i++ {
		c := b[i] - '0'
		if c > 9 {
			break
		}
		v = v*10 + int64(c)
	}
	if i == p || i == p+19 || i == len(b) || b[p] == '0' && i > p+1 || b[i] == '.' || b[i]|0x20 == 'e' {
		return 0, -1
	}
	if neg {
		v = -v
	}
	return v, i
}

// exact is a decimal number by its value: ±digits·10^exp. digits has no zero at either end; zero has none.
type exact struct {
	neg    bool
	digits []byte
	exp    int
}

// maxExp bounds exponents: far above every type's range, far below what would overflow the sums made with it.
const maxExp = 1 << 40

// parseExact reads a number in JSON's grammar into buf, which it may grow.
func parseExact(s, buf []byte) (x exact, scratch []byte) {
	i := 0
	if s[0] == '-' {
		x.neg, i = true, 1
	}
	buf = buf[:0]
	point := false
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '.':
			point = true
			continue
		case c|0x20 == 'e':
			x.exp += parseExp(s[i+1:])
			i = len(s)
			continue
		case c != '0' || len(buf) > 0:
			buf = append(buf, c)
		}
		if point {
			x.exp--
		}
	}
	end := len(buf)
	for end > 0 && buf[end-1] == '0' {
		end--
		x.exp++
	}
	x.digits = buf[:end]
	if end == 0 {
		x.exp = 0
	}
	return x, buf
}

func parseExp(s []byte) int {
	neg := s[0] == '-'
	if neg || s[0] == '+' {
		s = s[1:]
	}
	e := 0
	for _, c := range s {
		e = min(e*10+int(c-'0'), maxExp)
	}
	if neg {
		return -e
	}
	return e
}

// whole appends the number's digits as an integer's text.
func (x exact) whole(dst []byte) []byte {
	if len(x.digits) == 0 {
		return append(dst, '0')
	}
	if x.neg {
		dst = append(dst, '-')
	}
	dst = append(dst, x.digits...)
	for range x.exp {
		dst = append(dst, '0')
	}
	return dst
}

// places is how many digits the whole number has.
func (x exact) places() int { return len(x.digits) + x.exp }

// maxBigNum bounds the digits of a BIGNUM that an exponent writes out.
const maxBigNum = 10_000

// small reads a plain integer of at most 18 digits.
func small(s []byte) (int64, bool) {
	i := 0
	neg := s[0] == '-'
	if neg {
		i = 1
	}
	if len(s)-i > 18 {
		return 0, false
	}
	var v int64
	for ; i < len(s); i++ {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		v = v*10 + int64(c)
	}
	if neg {
		v = -v
	}
	return v, true
}

// integer64 reads an integer of 64 bits by value; unsigned ones come as their bits.
func (n *node) integer64(s []byte) (int64, verdict) {
	if v, ok := small(s); ok {
		if v < n.lo || v > 0 && uint64(v) > n.hi {
			return 0, outOfRange
		}
		return v, accepted
	}
	var x exact
	x, n.work.digits = parseExact(s, n.work.digits)
	if x.exp < 0 {
		return 0, notWhole
	}
	if x.places() > 20 {
		return 0, outOfRange
	}
	var v uint64
	for i := range x.places() {
		d := uint64(0)
		if i < len(x.digits) {
			d = uint64(x.digits[i] - '0')
		}
		hi, lo := bits.Mul64(v, 10)
		sum, carry := bits.Add64(lo, d, 0)
		if hi+carry > 0 {
			return 0, outOfRange
		}
		v = sum
	}
	if x.neg {
		if v > uint64(-n.lo) { // -MinInt64 is its own bits: 1<<63
			return 0, outOfRange
		}
		return int64(-v), accepted
	}
	if v > n.hi {
		return 0, outOfRange
	}
	return int64(v), accepted
}

// bigInteger reads HUGEINT, UHUGEINT or BIGNUM and returns its canonical text.
func (n *node) bigInteger(s []byte) ([]byte, verdict) {
	var x exact
	x, n.work.digits = parseExact(s, n.work.digits)
	if x.exp < 0 {
		return nil, notWhole
	}
	if x.places() > max(len(s), maxBigNum) {
		return nil, outOfRange
	}
	w := x.whole(n.work.text[:0])
	n.work.text = w
	limit := ""
	switch {
	case n.id == schemas.BigNum:
		return w, accepted
	case n.id == schemas.UHugeInt && x.neg && len(x.digits) > 0:
		return nil, outOfRange
	case n.id == schemas.UHugeInt:
		limit = "340282366920938463463374607431768211455"
	case x.neg:
		limit = "-170141183460469231731687303715884105728"
	default:
		limit = "170141183460469231731687303715884105727"
	}
	if len(w) > len(limit) || len(w) == len(limit) && string(w) > limit {
		return nil, outOfRange
	}
	return w, accepted
}

// decimal reads a DECIMAL as its unscaled 128-bit value.
func (n *node) decimal(s []byte) (hi int64, lo uint64, v verdict) {
	width, scale := n.typ.Width, n.typ.Scale
	var x exact
	x, n.work.digits = parseExact(s, n.work.digits)
	shift := x.exp + scale
	if shift < 0 && len(x.digits) > 0 {
		return 0, 0, tooManyDigits
	}
	if len(x.digits) == 0 {
		return 0, 0, accepted
	}
	if len(x.digits)+shift > width {
		return 0, 0, outOfRange
	}
	var h, l uint64
	for i := range len(x.digits) + shift {
		d := uint64(0)
		if i < len(x.digits) {
			d = uint64(x.digits[i] - '0')
		}
		over, low := bits.Mul64(l, 10)
		h = h*10 + over
		var carry uint64
		l, carry = bits.Add64(low, d, 0)
		h += carry
	}
	if x.neg {
		var borrow uint64
		l, borrow = bits.Sub64(0, l, 0)
		h, _ = bits.Sub64(0, h, borrow)
	}
	return int64(h), l, accepted
}

// nearest reads a FLOAT or DOUBLE: the nearest one there is, none if it would be infinite.
func (n *node) nearest(s []byte) (float64, verdict) {
	size := 64
	if n.id == schemas.Float {
		size = 32
	}
	f, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(s), len(s)), size)
	if err != nil || math.IsInf(f, 0) {
		return 0, outOfRange
	}
	return f, accepted
}
