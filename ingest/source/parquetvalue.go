package source

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
)

type write = func(dst []byte, v parquet.Value) []byte

// writer is how a leaf's values become JSON, without loss: times as ISO 8601 text, decimals and integers as exact
// numbers, bytes that are no text as DuckDB's BLOB literal. What JSON has no number for (NaN, infinities) becomes text.
func writer(t parquet.Type) (w write, text bool) {
	if lt := t.LogicalType(); lt != nil && lt.Value != nil {
		switch l := lt.Value.(type) {
		case *format.StringType, *format.EnumType:
			return writeText, true
		case *format.JsonType:
			return writeRaw, true
		case *format.UUIDType:
			return writeUUID, true
		case *format.DecimalType:
			return decimal(t.Kind(), int(l.Scale)), false
		case *format.DateType:
			return func(dst []byte, v parquet.Value) []byte {
				return quotedTime(dst, time.Unix(int64(v.Int32())*86400, 0), time.DateOnly)
			}, false
		case *format.TimeType:
			return clock(t.Kind(), l.Unit.Value.Duration()), false
		case *format.TimestampType:
			return timestamp(l.Unit.Value.Duration(), l.IsAdjustedToUTC), false
		case *format.IntType:
			if !l.IsSigned {
				return unsigned(t.Kind()), false
			}
		case *format.Float16Type:
			return writeFloat16, false
		}
	}
	if ct := t.ConvertedType(); ct != nil && *ct == deprecated.Interval {
		return writeInterval, false
	}
	switch t.Kind() {
	case parquet.Boolean:
		return func(dst []byte, v parquet.Value) []byte { return strconv.AppendBool(dst, v.Boolean()) }, false
	case parquet.Int32:
		return func(dst []byte, v parquet.Value) []byte { return appendInt(dst, int64(v.Int32())) }, false
	case parquet.Int64:
		return func(dst []byte, v parquet.Value) []byte { return appendInt(dst, v.Int64()) }, false
	case parquet.Int96:
		return writeInt96, false
	case parquet.Float:
		return func(dst []byte, v parquet.Value) []byte { return appendFloat(dst, float64(v.Float()), 32) }, false
	case parquet.Double:
		return func(dst []byte, v parquet.Value) []byte { return appendFloat(dst, v.Double(), 64) }, false
	}
	return writeBytes, false
}

func writeText(dst []byte, v parquet.Value) []byte { return appendString(dst, v.ByteArray()) }

func writeRaw(dst []byte, v parquet.Value) []byte { return append(dst, v.ByteArray()...) }

// writeBytes writes bytes without a declared meaning: older writers keep text so.
func writeBytes(dst []byte, v parquet.Value) []byte {
	if b := v.ByteArray(); printable(b) {
		return appendString(dst, b)
	}
	return writeBlob(dst, v)
}

// writeBlob writes DuckDB's BLOB literal: printable ASCII as it is, other bytes as \xAB.
func writeBlob(dst []byte, v parquet.Value) []byte {
	const digits = "0123456789ABCDEF"
	dst = append(dst, '"')
	for _, c := range v.ByteArray() {
		if c >= 0x20 && c < 0x7f && c != '\\' && c != '"' && c != '\'' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '\\', '\\', 'x', digits[c>>4], digits[c&15])
		}
	}
	return append(dst, '"')
}

func writeUUID(dst []byte, v parquet.Value) []byte {
	b := v.ByteArray()
	if len(b) != 16 {
		return writeBlob(dst, v)
	}
	return fmt.Appendf(dst, `"%x-%x-%x-%x-%x"`, b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func unsigned(k parquet.Kind) write {
	if k == parquet.Int32 {
		return func(dst []byte, v parquet.Value) []byte { return strconv.AppendUint(dst, uint64(v.Uint32()), 10) }
	}
	return func(dst []byte, v parquet.Value) []byte { return strconv.AppendUint(dst, v.Uint64(), 10) }
}

func decimal(k parquet.Kind, scale int) write {
	switch k {
	case parquet.Int32:
		return func(dst []byte, v parquet.Value) []byte {
			return appendScaled(dst, strconv.Itoa(int(v.Int32())), scale)
		}
	case parquet.Int64:
		return func(dst []byte, v parquet.Value) []byte {
			return appendScaled(dst, strconv.FormatInt(v.Int64(), 10), scale)
		}
	}
	return func(dst []byte, v parquet.Value) []byte {
		b := v.ByteArray() // two's complement, big-endian
		n := new(big.Int).SetBytes(b)
		if len(b) > 0 && b[0] >= 0x80 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
		}
		return appendScaled(dst, n.String(), scale)
	}
}

// appendScaled writes digits divided by 10^scale.
func appendScaled(dst []byte, digits string, scale int) []byte {
	if digits[0] == '-' {
		dst = append(dst, '-')
		digits = digits[1:]
	}
	if scale <= 0 {
		dst = append(dst, digits...)
		for ; scale < 0 && digits != "0"; scale++ {
			dst = append(dst, '0')
		}
		return dst
	}
	for len(digits) <= scale {
		digits = "0" + digits
	}
	dst = append(dst, digits[:len(digits)-scale]...)
	return append(append(dst, '.'), digits[len(digits)-scale:]...)
}

func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, bits)
}

func writeFloat16(dst []byte, v parquet.Value) []byte {
	b := v.ByteArray()
	if len(b) != 2 {
		return writeBlob(dst, v)
	}
	h := binary.LittleEndian.Uint16(b)
	sign, exp, frac := 1.0, int(h>>10&0x1f), float64(h&0x3ff)
	if h>>15 == 1 {
		sign = -1
	}
	switch exp {
	case 0:
		return appendFloat(dst, sign*math.Ldexp(frac, -24), 32)
	case 31:
		if frac != 0 {
			return appendFloat(dst, math.NaN(), 32)
		}
		return appendFloat(dst, math.Inf(int(sign)), 32)
	}
	return appendFloat(dst, sign*math.Ldexp(1+frac/1024, exp-15), 32)
}

const isoTime = "2006-01-02T15:04:05.999999999"

// timestamp writes times since 1970: with Z where the file says they are instants, without where they are local.
func timestamp(unit time.Duration, utc bool) write {
	perSecond := int64(time.Second / unit)
	layout := isoTime
	if utc {
		layout += "Z"
	}
	return func(dst []byte, v parquet.Value) []byte {
		s, frac := v.Int64()/perSecond, v.Int64()%perSecond
		return quotedTime(dst, time.Unix(s, frac*int64(unit)), layout)
	}
}

func quotedTime(dst []byte, t time.Time, layout string) []byte {
	dst = append(dst, '"')
	return append(t.UTC().AppendFormat(dst, layout), '"')
}

func clock(k parquet.Kind, unit time.Duration) write {
	return func(dst []byte, v parquet.Value) []byte {
		n := v.Int64()
		if k == parquet.Int32 {
			n = int64(v.Int32())
		}
		return quotedTime(dst, time.Unix(0, n*int64(unit)), "15:04:05.999999999")
	}
}

// writeInt96 writes the old timestamp of Impala and Spark: nanoseconds of the day, then the Julian day.
func writeInt96(dst []byte, v parquet.Value) []byte {
	const julianEpoch = 2440588
	i := v.Int96()
	nanos := int64(uint64(i[1])<<32 | uint64(i[0]))
	return quotedTime(dst, time.Unix((int64(i[2])-julianEpoch)*86400, nanos), isoTime)
}

func writeInterval(dst []byte, v parquet.Value) []byte {
	b := v.ByteArray()
	if len(b) != 12 {
		return writeBlob(dst, v)
	}
	months, days, ms := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
	return quoted(dst, fmt.Sprintf("%d months %d days %d milliseconds", months, days, ms))
}
