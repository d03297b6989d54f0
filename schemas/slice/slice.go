// Package slice is the wire format of a slice: the state rows of one view over one range, as the value of a Kafka message
// on the topic _millrace.slices.TOPIC, in the partition of the range. The message's key is the view's name.
//
// # Bytes
//
// All integers are little-endian and of fixed width; a text is its length in bytes as uint16, then UTF-8.
//
//	offset  size  field
//	0       4     magic "MRSL"
//	4       1     version, 2
//	5       4     CRC-32C (Castagnoli) of everything from offset 9 to the end
//	9       4     partition, int32
//	13      8     from, int64: first offset of the range
//	21      8     to, int64: first offset after it
//	29      8     records, int64: accepted records of the range
//	37      8     rejects, int64
//	45      1     tier: 0 if it is made of records, n+1 if it is merged of slices of tier n
//	46      1     withheld: 0, or why it has no rows: 1 they are not clearly smaller than the records, 2 the view's SQL
//	              fails on the records
//	47      ...   definition, text: the view's definition hash
//	...     ...   topic id, text
//	...     rest  payload: an Arrow IPC stream of the view's State columns, buffers as they are or in LZ4, to the end of the
//	              value; empty if withheld
//
// For example, version 2 of partition 3, offsets [16, 18), two records, definition "d", topic id "t", withheld:
//
//	4d 52 53 4c 02 <crc:4> 03000000 1000000000000000 1200000000000000 0200000000000000 0000000000000000 00 01 0100 64 0100 74
package slice

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/millrace/millrace/schemas"
)

// Version of the format that Encode writes and Decode reads.
const Version = 2

const (
	magic  = "MRSL"
	summed = 9  // offset of the first byte under the checksum
	fixed  = 47 // offset of the first text
)

// ErrCorrupt: the bytes are not a whole slice of a known version.
var ErrCorrupt = errors.New("corrupt slice")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Withheld says why a slice has no rows: the records stand in for them.
type Withheld uint8

// The reasons.
const (
	Given  Withheld = iota // it has its rows
	Bulky                  // they would take about the room that the records take, or more than a message may
	Failed                 // the view's SQL fails on the records
)

// Slice is a partial of one view as the speed layer publishes it.
type Slice struct {
	Definition string
	TopicID    string
	Partition  int32
	From, To   int64
	Records    int64 // accepted
	Rejects    int64 // refused
	Tier       uint8 // how often it was folded
	Withheld   Withheld
	Payload    []byte // Arrow IPC stream; after Decode it points into the decoded bytes
}

// Range is what the slice covers.
func (s *Slice) Range() schemas.Range {
	return schemas.Range{Partition: s.Partition, From: s.From, To: s.To}
}

// Topic is the Kafka topic of a topic's slices.
func Topic(topic string) string { return "_millrace.slices." + topic }

// Encode writes a slice.
func Encode(s *Slice) []byte {
	b := make([]byte, 0, fixed+4+len(s.Definition)+len(s.TopicID)+len(s.Payload))
	b = append(b, magic...)
	b = append(b, Version, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(s.Partition))
	for _, n := range []int64{s.From, s.To, s.Records, s.Rejects} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	b = append(b, s.Tier, byte(s.Withheld))
	for _, text := range []string{s.Definition, s.TopicID} {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(text)))
		b = append(b, text...)
	}
	b = append(b, s.Payload...)
	binary.LittleEndian.PutUint32(b[5:], crc32.Checksum(b[summed:], castagnoli))
	return b
}

// Decode reads a slice. Errors: ErrCorrupt, with what is wrong.
func Decode(b []byte) (*Slice, error) {
	if len(b) < fixed || string(b[:4]) != magic {
		return nil, fmt.Errorf("%w: no magic, or shorter than %d bytes", ErrCorrupt, fixed)
	}
	if b[4] != Version {
		return nil, fmt.Errorf("%w: version %d, this program reads %d", ErrCorrupt, b[4], Version)
	}
	if got, want := crc32.Checksum(b[summed:], castagnoli), binary.LittleEndian.Uint32(b[5:]); got != want {
		return nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, got, want)
	}
	number := func(at int) int64 { return int64(binary.LittleEndian.Uint64(b[at:])) }
	s := &Slice{Partition: int32(binary.LittleEndian.Uint32(b[9:])), From: number(13), To: number(21), Records: number(29), Rejects: number(37), Tier: b[45], Withheld: Withheld(b[46])}
	rest := b[fixed:]
	for _, text := range []*string{&s.Definition, &s.TopicID} {
		if len(rest) < 2 || len(rest) < 2+int(binary.LittleEndian.Uint16(rest)) {
			return nil, fmt.Errorf("%w: a text is cut short", ErrCorrupt)
		}
		n := 2 + int(binary.LittleEndian.Uint16(rest))
		*text, rest = string(rest[2:n]), rest[n:]
	}
	s.Payload = rest
	if s.From < 0 || s.To <= s.From || s.Records < 0 || s.Rejects < 0 || s.Records+s.Rejects > s.To-s.From {
		return nil, fmt.Errorf("%w: range %s with %d records and %d rejects", ErrCorrupt, s.Range(), s.Records, s.Rejects)
	}
	if s.Withheld > Failed || s.Withheld != Given && len(s.Payload) > 0 {
		return nil, fmt.Errorf("%w: withheld for reason %d, with %d bytes of rows", ErrCorrupt, s.Withheld, len(s.Payload))
	}
	return s, nil
}
