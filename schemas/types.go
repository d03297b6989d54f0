package schemas

import (
	"fmt"
	"slices"
	"strings"
)

// TypeID names a DuckDB type without its parameters.
type TypeID uint8

// The types a field can have, in DuckDB's names.
const (
	Boolean TypeID = iota + 1
	TinyInt
	SmallInt
	Integer
	BigInt
	HugeInt
	UTinyInt
	USmallInt
	UInteger
	UBigInt
	UHugeInt
	BigNum
	Float
	Double
	Decimal
	Varchar
	Blob
	Bit
	UUID
	JSON
	Enum
	Date
	Time
	TimeNS
	TimeTZ
	Timestamp
	TimestampS
	TimestampMS
	TimestampNS
	TimestampTZ
	Interval
	Struct
	List
	Array
	Map
)

var typeNames = [...]string{
	Boolean: "BOOLEAN", TinyInt: "TINYINT", SmallInt: "SMALLINT", Integer: "INTEGER", BigInt: "BIGINT",
	HugeInt: "HUGEINT", UTinyInt: "UTINYINT", USmallInt: "USMALLINT", UInteger: "UINTEGER", UBigInt: "UBIGINT",
	UHugeInt: "UHUGEINT", BigNum: "BIGNUM", Float: "FLOAT", Double: "DOUBLE", Decimal: "DECIMAL",
	Varchar: "VARCHAR", Blob: "BLOB", Bit: "BIT", UUID: "UUID", JSON: "JSON", Enum: "ENUM", Date: "DATE",
	Time: "TIME", TimeNS: "TIME_NS", TimeTZ: "TIME WITH TIME ZONE", Timestamp: "TIMESTAMP",
	TimestampS: "TIMESTAMP_S", TimestampMS: "TIMESTAMP_MS", TimestampNS: "TIMESTAMP_NS",
	TimestampTZ: "TIMESTAMP WITH TIME ZONE", Interval: "INTERVAL", Struct: "STRUCT", List: "LIST",
	Array: "ARRAY", Map: "MAP",
}

func (id TypeID) String() string {
	if int(id) < len(typeNames) && typeNames[id] != "" {
		return typeNames[id]
	}
	return fmt.Sprintf("TypeID(%d)", uint8(id))
}

// Type is a DuckDB type. It is a value like its text: shared freely, never changed after it was made.
//
// Shape: Width and Scale are a DECIMAL's; Values an ENUM's, in order; Fields a STRUCT's (names and types only);
// Elem the element of a LIST or ARRAY and the value of a MAP; Key the key of a MAP; Size an ARRAY's length.
type Type struct {
	ID     TypeID
	Width  int
	Scale  int
	Size   int
	Values []string
	Fields []Field
	Key    *Type
	Elem   *Type
}

// String is the type in DuckDB's spelling; DuckDB and ParseType both read it back.
func (t *Type) String() string {
	switch t.ID {
	case Decimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Width, t.Scale)
	case Enum:
		quoted := make([]string, len(t.Values))
		for i, v := range t.Values {
			quoted[i] = "'" + strings.ReplaceAll(v, "'", "''") + "'"
		}
		return "ENUM(" + strings.Join(quoted, ", ") + ")"
	case Struct:
		fields := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			fields[i] = quoteIfNeeded(f.Name) + " " + f.Type.String()
		}
		return "STRUCT(" + strings.Join(fields, ", ") + ")"
	case List:
		return t.Elem.String() + "[]"
	case Array:
		return fmt.Sprintf("%s[%d]", t.Elem, t.Size)
	case Map:
		return "MAP(" + t.Key.String() + ", " + t.Elem.String() + ")"
	}
	return t.ID.String()
}

// MarshalText is String.
func (t *Type) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText is ParseType.
func (t *Type) UnmarshalText(b []byte) error {
	u, err := ParseType(string(b))
	if err != nil {
		return err
	}
	*t = *u
	return nil
}

// Equal says whether two types are the same.
func (t *Type) Equal(u *Type) bool { return t == u || t != nil && u != nil && t.String() == u.String() }

// Nested says whether values of the type hold other values.
func (t *Type) Nested() bool { return t.ID >= Struct }

// IsInteger says whether the type holds whole numbers only.
func (t *Type) IsInteger() bool { return t.ID >= TinyInt && t.ID <= BigNum }

// IsTimestamp says whether the type is a point in time: one of the TIMESTAMP types.
func (t *Type) IsTimestamp() bool { return t.ID >= Timestamp && t.ID <= TimestampTZ }

// Carrier is the type a value travels as in Arrow and Parquet. It is t itself where those hold it without loss;
// otherwise it is VARCHAR (or a LIST for an ARRAY), nested types carry their elements' carriers, and
// CAST(value AS t) in SQL gives the value back.
func (t *Type) Carrier() *Type {
	switch t.ID {
	case HugeInt, UHugeInt, BigNum, Interval, Bit, TimeTZ, TimeNS, UUID, Enum, JSON:
		return varcharType
	case Struct:
		fields := slices.Clone(t.Fields)
		same := true
		for i := range fields {
			fields[i].Type = t.Fields[i].Type.Carrier()
			same = same && fields[i].Type == t.Fields[i].Type
		}
		if !same {
			return &Type{ID: Struct, Fields: fields}
		}
	case List:
		if e := t.Elem.Carrier(); e != t.Elem {
			return &Type{ID: List, Elem: e}
		}
	case Array:
		return &Type{ID: List, Elem: t.Elem.Carrier()}
	case Map:
		if k, e := t.Key.Carrier(), t.Elem.Carrier(); k != t.Key || e != t.Elem {
			return &Type{ID: Map, Key: k, Elem: e}
		}
	}
	return t
}

var varcharType = &Type{ID: Varchar}
