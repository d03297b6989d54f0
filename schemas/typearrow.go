package schemas

import "github.com/apache/arrow-go/v18/arrow"

var arrowTypes = [...]arrow.DataType{
	Boolean:     arrow.FixedWidthTypes.Boolean,
	TinyInt:     arrow.PrimitiveTypes.Int8,
	SmallInt:    arrow.PrimitiveTypes.Int16,
	Integer:     arrow.PrimitiveTypes.Int32,
	BigInt:      arrow.PrimitiveTypes.Int64,
	UTinyInt:    arrow.PrimitiveTypes.Uint8,
	USmallInt:   arrow.PrimitiveTypes.Uint16,
	UInteger:    arrow.PrimitiveTypes.Uint32,
	UBigInt:     arrow.PrimitiveTypes.Uint64,
	Float:       arrow.PrimitiveTypes.Float32,
	Double:      arrow.PrimitiveTypes.Float64,
	Varchar:     arrow.BinaryTypes.String,
	Blob:        arrow.BinaryTypes.Binary,
	Date:        arrow.FixedWidthTypes.Date32,
	Time:        arrow.FixedWidthTypes.Time64us,
	Timestamp:   &arrow.TimestampType{Unit: arrow.Microsecond},
	TimestampS:  &arrow.TimestampType{Unit: arrow.Second},
	TimestampMS: &arrow.TimestampType{Unit: arrow.Millisecond},
	TimestampNS: &arrow.TimestampType{Unit: arrow.Nanosecond},
	TimestampTZ: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"},
}

// Arrow is the Arrow type of the carrier, in the layout DuckDB's Arrow scan reads as that carrier.
func (t *Type) Arrow() arrow.DataType {
	c := t.Carrier()
	switch c.ID {
	case Decimal:
		return &arrow.Decimal128Type{Precision: int32(c.Width), Scale: int32(c.Scale)}
	case Struct:
		fields := make([]arrow.Field, len(c.Fields))
		for i, f := range c.Fields {
			fields[i] = arrow.Field{Name: f.Name, Type: f.Type.Arrow(), Nullable: true}
		}
		return arrow.StructOf(fields...)
	case List:
		return arrow.ListOf(c.Elem.Arrow())
	case Map:
		return arrow.MapOf(c.Key.Arrow(), c.Elem.Arrow())
	}
	return arrowTypes[c.ID]
}
