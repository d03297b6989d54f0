package decode

import (
	"strings"

	"github.com/millrace/millrace/schemas"
)

// system holds the wanted ones of the columns every topic has.
type system struct {
	partition, offset, timestamp, key, headers, extra *column
}

func (s *system) build(name string, c *column) {
	switch name {
	case "_partition":
		s.partition = c
	case "_offset":
		s.offset = c
	case "_timestamp":
		s.timestamp = c
	case "_key":
		s.key = c
	case "_headers":
		s.headers = c
	case "_extra":
		s.extra = c
	}
}

func (s *system) append(r *schemas.Record, extra []byte) {
	if s.partition != nil {
		s.partition.integer(int64(r.Partition))
	}
	if s.offset != nil {
		s.offset.integer(r.Offset)
	}
	if s.timestamp != nil {
		// A producer's clock can be any int64; DuckDB's last moment stands for what lies beyond it.
		ms := min(max(r.Timestamp, minMicros/1000), maxMicros/1000)
		s.timestamp.integer(ms * 1000)
	}
	if s.key != nil {
		bytesOrNull(s.key, r.Key)
	}
	if s.headers != nil {
		s.appendHeaders(r.Headers)
	}
	if s.extra != nil {
		if len(extra) == 0 {
			s.extra.null()
		} else {
			s.extra.text(extra)
		}
	}
}

func (s *system) appendHeaders(headers []schemas.Header) {
	row := s.headers.row()
	pair := s.headers.kids[0]
	for _, h := range headers {
		pair.row()
		// Kafka's protocol says UTF-8 but brokers do not check, and DuckDB takes nothing else.
		pair.kids[0].text([]byte(strings.ToValidUTF8(h.Key, "\uFFFD")))
		bytesOrNull(pair.kids[1], h.Value)
	}
	s.headers.endList(row)
}

func bytesOrNull(c *column, v []byte) {
	if v == nil {
		c.null()
		return
	}
	c.text(v)
}
