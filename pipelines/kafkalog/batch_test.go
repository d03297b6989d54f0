package kafkalog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/schemas"
)

// batch makes a record batch of n values "0", "1", ... from a base offset, as a producer would.
func batch(base int64, n int, change func(*kmsg.RecordBatch)) []byte {
	b := kmsg.RecordBatch{FirstOffset: base, Magic: 2, LastOffsetDelta: int32(n - 1), FirstTimestamp: 100, MaxTimestamp: 200, NumRecords: int32(n)}
	for i := range n {
		var body []byte
		body = append(body, 0)
		body = kbin.AppendVarint(body, int32(i)) // timestamp delta
		body = kbin.AppendVarint(body, int32(i)) // offset delta
		body = kbin.AppendVarintBytes(body, nil)
		body = kbin.AppendVarintBytes(body, []byte{'0' + byte(i)})
		body = kbin.AppendVarint(body, 0)
		b.Records = append(kbin.AppendVarint(b.Records, int32(len(body))), body...)
	}
	if change != nil {
		change(&b)
	}
	out := b.AppendTo(nil)
	binary.BigEndian.PutUint32(out[atLength:], uint32(len(out)-afterLength))
	binary.BigEndian.PutUint32(out[atCRC:], crc32.Checksum(out[atAttrs:], castagnoli))
	return out
}

func drained(b []byte, from, to int64) (*Chunk, error) {
	c := &Chunk{Range: schemas.Range{From: from, To: from}}
	return c, drain(b, to, Everything, nil, c)
}

// A broker's answer may begin before what was asked for, hold no records, end in the middle of a batch, or be marked
// with the broker's time.
func TestWhatAFetchMayHold(t *testing.T) {
	two := append(batch(0, 5, nil), batch(5, 5, nil)...)
	control := append(batch(0, 2, func(b *kmsg.RecordBatch) { b.Attributes = controlBit }), batch(2, 2, nil)...)
	stamped := batch(0, 2, func(b *kmsg.RecordBatch) { b.Attributes = appendTimeBit })
	hollow := append(batch(0, 0, func(b *kmsg.RecordBatch) { b.LastOffsetDelta = 4 }), batch(5, 2, nil)...)
	for name, c := range map[string]struct {
		bytes     []byte
		from, to  int64
		first, n  int64
		end, time int64
	}{
		"all":                {two, 0, 10, 0, 10, 10, 100},
		"from within":        {two, 3, 10, 3, 7, 10, 103},
		"to within":          {two, 0, 7, 0, 7, 7, 100},
		"cut off":            {two[:len(two)-1], 0, 10, 0, 5, 5, 100},
		"control records":    {control, 0, 10, 2, 2, 4, 100},
		"the broker's time":  {stamped, 0, 10, 0, 2, 2, 200},
		"an empty batch":     {hollow, 0, 10, 5, 2, 7, 100},
		"only empty ones":    {hollow[:61], 0, 10, 0, 0, 5, 0},
		"nothing new":        {two, 10, 12, 0, 0, 10, 0},
		"only a batch' head": {two[:70], 0, 10, 0, 0, 0, 0},
	} {
		got, err := drained(c.bytes, c.from, c.to)
		if err != nil || int64(len(got.Records)) != c.n || got.To != c.end {
			t.Errorf("%s: %d records to %d, %v", name, len(got.Records), got.To, err)
			continue
		}
		if c.n > 0 && (got.Records[0].Offset != c.first || got.Records[0].Timestamp != c.time || got.Records[0].Key != nil || len(got.Records[0].Value) != 1) {
			t.Errorf("%s: begins with %+v", name, got.Records[0])
		}
	}
}

// Of interleaved transactions the aborted ones are left out, from the first offset the list names to the producer's marker,
// and holes and markers are consumed. The list comes in any order.
func TestAbortedTransactions(t *testing.T) {
	of := func(producer int64, bits int16) func(*kmsg.RecordBatch) {
		return func(b *kmsg.RecordBatch) { b.ProducerID, b.Attributes = producer, txnBit|bits }
	}
	marker := func(base, producer int64, kind byte) []byte {
		return batch(base, 1, func(b *kmsg.RecordBatch) {
			b.ProducerID, b.Attributes = producer, txnBit|controlBit
			b.Records = kbin.AppendVarint(nil, 13)
			b.Records = append(b.Records, 0, 0, 0)
			b.Records = append(kbin.AppendVarint(b.Records, 4), 0, 0, 0, kind)
			b.Records = append(kbin.AppendVarint(b.Records, 1), 0)
			b.Records[0] = byte(2 * (len(b.Records) - 1))
		})
	}
	log := slices.Concat(
		batch(0, 2, of(7, 0)), // aborted at 6
		batch(2, 2, of(8, 0)), // committed at 7
		batch(4, 2, nil),      // of no transaction, though its producer id is 7
		marker(6, 7, 0), marker(7, 8, 1),
		batch(8, 2, of(7, 0)),  // committed at 10
		marker(10, 7, 1),       // and
		batch(12, 2, of(7, 0)), // aborted at 14, behind a hole
		marker(14, 7, 0),
		batch(15, 0, func(b *kmsg.RecordBatch) { b.LastOffsetDelta = 1 }), // what a cleaner leaves of a batch
		batch(17, 1, of(9, 0)),
	)
	list := []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 7, FirstOffset: 12}, {ProducerID: 7, FirstOffset: 0}}
	for _, c := range []struct {
		from, to int64
		want     string
	}{{0, 20, "[2 3 4 5 8 9 17]"}, {1, 13, "[2 3 4 5 8 9]"}, {12, 17, "[]"}, {14, 15, "[]"}, {9, 10, "[9]"}} {
		got := &Chunk{Range: schemas.Range{From: c.from, To: c.from}}
		if err := drain(log, c.to, 0, newAborted(slices.Clone(list)), got); err != nil {
			t.Fatal(err)
		}
		offsets := []int64{}
		for _, r := range got.Records {
			offsets = append(offsets, r.Offset)
		}
		if fmt.Sprint(offsets) != c.want || got.To != min(c.to, 18) {
			t.Errorf("[%d, %d): %v up to %d, want %s", c.from, c.to, offsets, got.To, c.want)
		}
	}
}

// What is damaged is said to be, and what came before it is kept.
func TestADamagedBatch(t *testing.T) {
	damaged := map[string][]byte{
		"count":  batch(5, 2, func(b *kmsg.RecordBatch) { b.NumRecords = 1 << 30 }),
		"length": batch(5, 2, func(b *kmsg.RecordBatch) { b.Records[0] = 0x7e }),
		"format": batch(5, 2, func(b *kmsg.RecordBatch) { b.Magic = 1 }),
		"codec":  batch(5, 2, func(b *kmsg.RecordBatch) { b.Attributes = 4 }),
	}
	good := batch(5, 5, nil)
	for at := atMagic; at < len(good); at++ {
		bad := append([]byte(nil), good...)
		bad[at] ^= 0xff
		damaged[fmt.Sprintf("byte %d turned", at)] = bad
	}
	for name, bad := range damaged {
		c, err := drained(append(batch(0, 5, nil), bad...), 0, 10)
		if !errors.Is(err, errDamaged) || c.To != 5 {
			t.Errorf("%s: read to %d, %v", name, c.To, err)
		}
	}
}

func FuzzDrain(f *testing.F) {
	f.Add(batch(0, 5, nil)[headerBytes:], int32(5))
	f.Fuzz(func(t *testing.T, records []byte, n int32) {
		b := batch(0, 0, func(b *kmsg.RecordBatch) { b.Records, b.NumRecords, b.LastOffsetDelta = records, n, max(n, 1)-1 })
		c, err := drained(b, 0, 1<<40)
		if err != nil && !errors.Is(err, errDamaged) {
			t.Fatal(err)
		}
		for _, r := range c.Records {
			if r.Offset < 0 {
				t.Fatalf("offset %d", r.Offset)
			}
		}
	})
}
