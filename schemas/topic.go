package schemas

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Topic is a topic file: what its records must look like. Its JSON gives back the same Topic.
type Topic struct {
	Name       string     `json:"name"`
	Format     string     `json:"format"`               // "json"
	Partitions int        `json:"partitions"`           // at least; 0: the file has none, and Kafka's are taken as they are
	Key        string     `json:"key,omitempty"`        // the field that becomes the message key
	EventTime  *EventTime `json:"event_time,omitempty"` // nil: none declared
	MaxRecord  int64      `json:"max_record"`           // bytes
	Fields     []Field    `json:"fields"`               // in the file's order
}

// EventTime says which field holds a record's event time. Unit is empty for a DATE or a TIMESTAMP, and s, ms, us or
// ns for a field of integers since 1970.
type EventTime struct {
	Field string `json:"field"`
	Unit  string `json:"unit,omitempty"`
}

// Field is one declared field. Unit (s, ms, us or ns) allows integers since 1970 for a TIMESTAMP.
type Field struct {
	Name    string `json:"name"`
	Type    *Type  `json:"type"`
	NotNull bool   `json:"not_null,omitempty"`
	Unit    string `json:"unit,omitempty"`
}

const (
	// DefaultMaxRecord is a topic's max_record where its file has none.
	DefaultMaxRecord = 10 << 20
	// DefaultPartitions is the number of partitions that a topic is made with where its file has none.
	DefaultPartitions = 1

	// decoderVersion is raised when the decoder's verdict or value changes for any record, for then a topic's
	// Parquet files and partials are another data set.
	decoderVersion = 1
)

// Field finds a declared field by its exact name.
func (t *Topic) Field(name string) (Field, bool) {
	i := slices.IndexFunc(t.Fields, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return Field{}, false
	}
	return t.Fields[i], true
}

// Hash names what decides how a record is decoded: format, fields with their types, NOT NULL and units, and the
// decoder's version. Shape: 64 hexadecimal digits of a SHA-256. Two topics with one hash decode alike; partitions,
// key, max_record and event_time take no part.
func (t *Topic) Hash() string {
	var b strings.Builder
	fmt.Fprintf(&b, "decoder %d\nformat %s\n", decoderVersion, t.Format)
	for _, f := range t.Fields {
		fmt.Fprintf(&b, "field %q %q %t %q\n", f.Name, f.Type.String(), f.NotNull, f.Unit)
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}

// SystemFields are the columns every topic's table has beside its declared fields, in order.
func SystemFields() []Field {
	headers := &Type{ID: List, Elem: &Type{ID: Struct, Fields: []Field{
		{Name: "key", Type: &Type{ID: Varchar}},
		{Name: "value", Type: &Type{ID: Blob}},
	}}}
	return []Field{
		{Name: "_partition", Type: &Type{ID: Integer}, NotNull: true},
		{Name: "_offset", Type: &Type{ID: BigInt}, NotNull: true},
		{Name: "_timestamp", Type: &Type{ID: TimestampTZ}, NotNull: true},
		{Name: "_key", Type: &Type{ID: Blob}},
		{Name: "_headers", Type: headers, NotNull: true},
		{Name: "_extra", Type: &Type{ID: JSON}},
	}
}
