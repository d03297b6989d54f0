package kafkalog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// Where things lie in the header of a record batch (Kafka's message format 2, big-endian).
const (
	atLength    = 8 // bytes after this field
	atMagic     = 16
	atCRC       = 17 // CRC-32C of everything after it
	atAttrs     = 21
	atLastDelta = 23
	atFirstTime = 27
	atMaxTime   = 35
	atProducer  = 43
	atCount     = 57
	headerBytes = 61
	afterLength = 12

	codecBits     = 0x07
	appendTimeBit = 0x08
	txnBit        = 0x10
	controlBit    = 0x20
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errDamaged = errors.New("a record batch cannot be read")
	unpack     = kgo.DefaultDecompressor()
)

// drain appends the records of a fetch that lie in [c.To, to) to the chunk and moves its end. What the broker cut off at
// the fetch's end is left for the next, and what transactions of the list aborted is passed over. Ownership: the records point into b, or into what b was decompressed to.
func drain(b []byte, to int64, want Want, a *aborted, c *Chunk) error {
	c.Records = slices.Grow(c.Records, count(b))
	for len(b) >= headerBytes && c.To < to {
		n := afterLength + int(int32(binary.BigEndian.Uint32(b[atLength:])))
		if n > len(b) {
			return nil
		}
		if n < headerBytes {
			return fmt.Errorf("%w: it is too short", errDamaged)
		}
		if err := drainBatch(b[:n:n], to, want, a, c); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// count is how many records a fetch holds at most. A batch cannot hold more than bytes, were its count wrong.
func count(b []byte) (n int) {
	for len(b) >= headerBytes {
		size := afterLength + int(int32(binary.BigEndian.Uint32(b[atLength:])))
		if size < headerBytes || size > len(b) {
			break
		}
		n += min(max(0, int(int32(binary.BigEndian.Uint32(b[atCount:])))), size)
		b = b[size:]
	}
	return n
}

func drainBatch(b []byte, to int64, want Want, a *aborted, c *Chunk) error {
	if b[atMagic] != 2 {
		return fmt.Errorf("%w: it is of message format %d, not 2, that of Kafka 0.11 and later", errDamaged, b[atMagic])
	}
	if binary.BigEndian.Uint32(b[atCRC:]) != crc32.Checksum(b[atAttrs:], castagnoli) {
		return fmt.Errorf("%w: its checksum is wrong", errDamaged)
	}
	base := int64(binary.BigEndian.Uint64(b))
	next := base + int64(int32(binary.BigEndian.Uint32(b[atLastDelta:]))) + 1
	attrs := binary.BigEndian.Uint16(b[atAttrs:])
	dropped := a.drops(attrs, b, next)
	if next <= c.To { // a broker sends whole batches, and may begin before what was asked for
		return nil
	}
	if attrs&controlBit == 0 && !dropped {
		body := b[headerBytes:]
		if codec := kgo.CompressionCodecType(attrs & codecBits); codec != kgo.CodecNone {
			var err error
			if body, err = unpack.Decompress(body, codec); err != nil {
				return fmt.Errorf("%w: %w", errDamaged, err)
			}
		}
		if err := drainRecords(b, body, base, to, want, c); err != nil {
			return err
		}
	}
	c.To = min(next, to)
	return nil
}

// drainRecords reads a batch's records; the header is read for what they share.
func drainRecords(header, body []byte, base, to int64, want Want, c *Chunk) error {
	first, step := int64(binary.BigEndian.Uint64(header[atFirstTime:])), int64(1)
	if binary.BigEndian.Uint16(header[atAttrs:])&appendTimeBit != 0 {
		first, step = int64(binary.BigEndian.Uint64(header[atMaxTime:])), 0
	}
	from := c.To
	all := cursor{b: body}
	for range int32(binary.BigEndian.Uint32(header[atCount:])) {
		r := cursor{b: all.bytes()}
		r.skip(1) // attributes, of which there are none
		timestamp := first + step*r.varint()
		rec := schemas.Record{Partition: c.Partition, Offset: base + r.varint()}
		key := r.bytes()
		rec.Value = r.bytes()
		if want&Keys != 0 {
			rec.Key = key
		}
		if want&Timestamps != 0 {
			rec.Timestamp = timestamp
		}
		if want&Headers != 0 {
			rec.Headers = r.headers()
		}
		if all.bad || r.bad {
			return fmt.Errorf("%w: a field does not fit its record", errDamaged)
		}
		if rec.Offset >= from && rec.Offset < to {
			c.Records = append(c.Records, rec)
		}
	}
	return nil
}

// cursor reads a record's fields. After a field that does not fit, bad is set and everything is empty.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) varint() int64 {
	if len(c.b) > 0 && c.b[0] < 0x80 {
		v := int64(c.b[0])
		c.b = c.b[1:]
		return v>>1 ^ -(v & 1)
	}
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.b, c.bad = nil, true
		return 0
	}
	c.b = c.b[n:]
	return v
}

// bytes is a length and that many bytes; nil for a length below 0, which is null.
func (c *cursor) bytes() []byte {
	n := c.varint()
	if n < 0 {
		return nil
	}
	return c.skip(n)
}

func (c *cursor) skip(n int64) []byte {
	if n > int64(len(c.b)) {
		c.b, c.bad = nil, true
		return nil
	}
	out := c.b[:n:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) headers() []schemas.Header {
	n := c.varint()
	if n <= 0 || n > int64(len(c.b)) {
		c.bad = c.bad || n != 0
		return nil
	}
	out := make([]schemas.Header, n)
	for i := range out {
		out[i] = schemas.Header{Key: string(c.bytes()), Value: c.bytes()}
	}
	return out
}
