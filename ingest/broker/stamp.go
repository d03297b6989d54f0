package broker

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The parts of a record batch's header (Kafka's message format v2, big-endian) that are read or set here.
const (
	atBaseOffset  = 0
	atLength      = 8 // bytes after this field
	atLeaderEpoch = 12
	atMagic       = 16
	atCRC         = 17 // CRC-32C of everything from atAttributes on
	atAttributes  = 21
	atLastDelta   = 23
	atFirstTime   = 27
	atMaxTime     = 35
	atProducerID  = 43
	atEpoch       = 51
	atSequence    = 53
	atCount       = 57
	headerSize    = 61

	codecBits     = 0x07
	appendTimeBit = 0x08
	txnBits       = 0x30 // transactional, control
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stamp sets every timestamp of a batch to ms. A batch that is not whole is returned as it is: kfake refuses it.
// Ownership: the batch is changed in place where its records' timestamps are all one, and copied otherwise; the
// producers of package ingest give all records one timestamp for that.
func stamp(b []byte, ms int64) []byte {
	if len(b) < headerSize || b[atMagic] != 2 || binary.BigEndian.Uint32(b[atCRC:]) != crc32.Checksum(b[atAttributes:], castagnoli) {
		return b
	}
	if binary.BigEndian.Uint32(b[atCount:]) > 1 && binary.BigEndian.Uint16(b[atAttributes:])&appendTimeBit == 0 {
		b = flatten(b)
	}
	// kfake takes the batch's own mark of append time as a reason to change the header under its checksum.
	binary.BigEndian.PutUint16(b[atAttributes:], binary.BigEndian.Uint16(b[atAttributes:])&^appendTimeBit)
	binary.BigEndian.PutUint64(b[atFirstTime:], uint64(ms))
	binary.BigEndian.PutUint64(b[atMaxTime:], uint64(ms))
	binary.BigEndian.PutUint32(b[atCRC:], crc32.Checksum(b[atAttributes:], castagnoli))
	return b
}

// flatten sets the timestamp delta of every record to zero. A batch it cannot read, or where all are zero, is returned
// as it is.
func flatten(b []byte) []byte {
	attrs := binary.BigEndian.Uint16(b[atAttributes:])
	codec := kgo.CompressionCodecType(attrs & codecBits)
	raw, err := kgo.DefaultDecompressor().Decompress(b[headerSize:], codec)
	if err != nil {
		return b
	}
	if flat(raw) {
		return b
	}
	body := make([]byte, 0, len(raw))
	for n := binary.BigEndian.Uint32(b[atCount:]); n > 0; n-- {
		size, w := binary.Varint(raw)
		if w <= 0 || size < 2 || size > int64(len(raw)-w) {
			return b
		}
		rec := raw[w : w+int(size)] // attributes, timestamp delta, the rest
		raw = raw[w+int(size):]
		_, w = binary.Varint(rec[1:])
		if w <= 0 {
			return b
		}
		rest := rec[1+w:]
		body = binary.AppendVarint(body, int64(len(rest)+2))
		body = append(body, rec[0], 0)
		body = append(body, rest...)
	}
	if len(raw) != 0 {
		return b
	}
	if c := compressor(codec); c != nil {
		body, codec = c.Compress(new(bytes.Buffer), body)
	}
	out := append(make([]byte, 0, headerSize+len(body)), b[:headerSize]...)
	out = append(out, body...)
	binary.BigEndian.PutUint16(out[atAttributes:], attrs&^codecBits|uint16(codec))
	binary.BigEndian.PutUint32(out[atLength:], uint32(len(out)-atLeaderEpoch))
	return out
}

// flat says whether no record has a timestamp delta.
func flat(raw []byte) bool {
	for len(raw) > 0 {
		size, w := binary.Varint(raw)
		if w <= 0 || size < 2 || size > int64(len(raw)-w) {
			return false
		}
		if raw[w+1] != 0 {
			return false
		}
		raw = raw[w+int(size):]
	}
	return true
}

// compressor is nil for no compression.
func compressor(t kgo.CompressionCodecType) kgo.Compressor {
	codec := kgo.NoCompression()
	switch t {
	case kgo.CodecGzip:
		codec = kgo.GzipCompression()
	case kgo.CodecSnappy:
		codec = kgo.SnappyCompression()
	case kgo.CodecLz4:
		codec = kgo.Lz4Compression()
	case kgo.CodecZstd:
		codec = kgo.ZstdCompression()
	}
	c, err := kgo.DefaultCompressor(codec)
	if err != nil {
		return nil
	}
	return c
}
