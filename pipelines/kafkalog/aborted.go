package kafkalog

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// readCommitted is the isolation level of a fetch that is answered up to the last stable offset, with a list of the
// transactions among it that were aborted.
const readCommitted = 1

// aborted knows, while the batches of one fetch are read in order, whose records are those of an aborted transaction: a
// producer's from the transaction's first offset to the marker that ends it. A nil one knows of none.
type aborted struct {
	ahead []kmsg.FetchResponseTopicPartitionAbortedTransaction // by first offset
	open  map[int64]bool                                       // producers
}

func newAborted(list []kmsg.FetchResponseTopicPartitionAbortedTransaction) *aborted {
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, func(x, y kmsg.FetchResponseTopicPartitionAbortedTransaction) int {
		return cmp.Compare(x.FirstOffset, y.FirstOffset)
	})
	return &aborted{ahead: list, open: map[int64]bool{}}
}

// drops says whether a batch that ends before next is of an aborted transaction.
func (a *aborted) drops(attrs uint16, b []byte, next int64) bool {
	if a == nil || attrs&txnBit == 0 {
		return false
	}
	for len(a.ahead) > 0 && a.ahead[0].FirstOffset < next {
		a.open[a.ahead[0].ProducerID] = true
		a.ahead = a.ahead[1:]
	}
	producer := int64(binary.BigEndian.Uint64(b[atProducer:]))
	if attrs&controlBit == 0 {
		return a.open[producer]
	}
	if isAbort(b) {
		delete(a.open, producer)
	}
	return false
}

// isAbort says whether a control batch is the marker of an abort. Its one record's key is two numbers of 16 bits: a version
// and the kind, 0 for an abort, 1 for a commit.
func isAbort(b []byte) bool {
	all := cursor{b: b[headerBytes:]}
	r := cursor{b: all.bytes()}
	r.skip(1)
	r.varint()
	r.varint()
	key := r.bytes()
	return len(key) >= 4 && binary.BigEndian.Uint16(key[2:]) == 0
}
