package kafkaio

import (
	"encoding/binary"
	"errors"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// A chunk on its way from one worker to another: topic, partition, from, to and count, then of each record offset,
// timestamp, key, value and headers; integers are varints, bytes have their length plus one before them, 0 for null. A
// DoFn fused to the source gets the chunk itself, but Beam encodes some elements also there, to learn their size.

var errShort = errors.New("a chunk's bytes end too early")

func encodeChunk(c *kafkalog.Chunk) ([]byte, error) {
	size := 64 + len(c.Topic)
	for i := range c.Records {
		size += 32 + len(c.Records[i].Key) + len(c.Records[i].Value)
	}
	b := appendBytes(make([]byte, 0, size), []byte(c.Topic))
	for _, n := range []int64{int64(c.Partition), c.From, c.To, int64(len(c.Records))} {
		b = binary.AppendVarint(b, n)
	}
	for i := range c.Records {
		r := &c.Records[i]
		b = binary.AppendVarint(binary.AppendVarint(b, r.Offset), r.Timestamp)
		b = binary.AppendVarint(appendBytes(appendBytes(b, r.Key), r.Value), int64(len(r.Headers)))
		for _, h := range r.Headers {
			b = appendBytes(appendBytes(b, []byte(h.Key)), h.Value)
		}
	}
	return b, nil
}

func appendBytes(b, v []byte) []byte {
	if v == nil {
		return append(b, 0)
	}
	return append(binary.AppendUvarint(b, uint64(len(v))+1), v...)
}

// decodeChunk copies b: Beam may use its memory again.
func decodeChunk(b []byte) (*kafkalog.Chunk, error) {
	w := wire{b: append([]byte(nil), b...)}
	c := &kafkalog.Chunk{Topic: string(w.bytes())}
	c.Partition, c.From, c.To = int32(w.varint()), w.varint(), w.varint()
	for n := w.varint(); n > 0 && !w.short; n-- {
		r := schemas.Record{Partition: c.Partition, Offset: w.varint(), Timestamp: w.varint(), Key: w.bytes(), Value: w.bytes()}
		for h := w.varint(); h > 0 && !w.short; h-- {
			r.Headers = append(r.Headers, schemas.Header{Key: string(w.bytes()), Value: w.bytes()})
		}
		c.Records = append(c.Records, r)
	}
	if w.short {
		return nil, errShort
	}
	return c, nil
}

// wire reads what encodeChunk wrote. After bytes that are not there, short is set and everything is empty.
type wire struct {
	b     []byte
	short bool
}

func (w *wire) varint() int64 {
	v, n := binary.Varint(w.b)
	w.skip(n)
	return v
}

func (w *wire) bytes() []byte {
	n, size := binary.Uvarint(w.b)
	w.skip(size)
	if n == 0 || n-1 > uint64(len(w.b)) {
		w.short = w.short || n > 0
		return nil
	}
	v := w.b[: n-1 : n-1]
	w.b = w.b[n-1:]
	return v
}

func (w *wire) skip(n int) {
	if n <= 0 {
		w.b, w.short = nil, true
		return
	}
	w.b = w.b[n:]
}
