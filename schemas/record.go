package schemas

import "time"

// Header is one Kafka header.
type Header struct {
	Key   string
	Value []byte
}

// Record is one Kafka message. Ownership: Key, Value and Headers may point into the buffer of the chunk the record
// came with and are valid as long as that chunk is.
type Record struct {
	Partition int32
	Offset    int64
	Timestamp int64  // append time, milliseconds since 1970 UTC, given by the broker
	Key       []byte // nil: null
	Value     []byte // nil: null
	Headers   []Header
}

// AppendTime is the record's timestamp.
func (r *Record) AppendTime() time.Time { return time.UnixMilli(r.Timestamp).UTC() }

// Reject is a record the decode refused. Field is the declared field at fault, empty if the payload as a whole is.
type Reject struct {
	Record
	Field  string
	Reason string
}
