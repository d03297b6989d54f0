package schemas_test

import (
	"testing"

	"github.com/millrace/millrace/schemas"
)

func TestParseType(t *testing.T) {
	for _, c := range []struct{ text, want, carrier string }{
		{"bool", "BOOLEAN", "BOOLEAN"}, {"Int8", "BIGINT", "BIGINT"}, {"int1", "TINYINT", "TINYINT"},
		{"real", "FLOAT", "FLOAT"}, {"double  precision", "DOUBLE", "DOUBLE"}, {"DECIMAL", "DECIMAL(18,3)", "DECIMAL(18,3)"},
		{"numeric( 5 )", "DECIMAL(5,0)", "DECIMAL(5,0)"}, {"text", "VARCHAR", "VARCHAR"}, {"varchar(20)", "VARCHAR", "VARCHAR"},
		{"character varying", "VARCHAR", "VARCHAR"}, {"bytea", "BLOB", "BLOB"}, {"hugeint", "HUGEINT", "VARCHAR"}, {"uuid", "UUID", "VARCHAR"},
		{"timestamp with time zone", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE"}, {"timestamptz", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE"},
		{"datetime", "TIMESTAMP", "TIMESTAMP"}, {"timestamp(3)", "TIMESTAMP_MS", "TIMESTAMP_MS"}, {"time with time zone", "TIME WITH TIME ZONE", "VARCHAR"},
		{"json", "JSON", "VARCHAR"}, {"enum('a','it''s')", "ENUM('a', 'it''s')", "VARCHAR"},
		{"int[]", "INTEGER[]", "INTEGER[]"}, {"uuid[3][]", "UUID[3][]", "VARCHAR[][]"}, {"int array[3]", "INTEGER[3]", "INTEGER[]"}, {"LIST(int)", "INTEGER[]", "INTEGER[]"},
		{`struct("a b" int, "select" date, Cc text)`, `STRUCT("a b" INTEGER, "select" DATE, Cc VARCHAR)`, `STRUCT("a b" INTEGER, "select" DATE, Cc VARCHAR)`},
		{`STRUCT(a UUID, b INTEGER)[]`, `STRUCT(a UUID, b INTEGER)[]`, `STRUCT(a VARCHAR, b INTEGER)[]`},
		{"map(varchar, map(uuid, bit[]))", "MAP(VARCHAR, MAP(UUID, BIT[]))", "MAP(VARCHAR, MAP(VARCHAR, VARCHAR[]))"},
	} {
		typ, err := schemas.ParseType(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if typ.String() != c.want || typ.Carrier().String() != c.carrier || typ.Arrow() == nil {
			t.Errorf("%s: %s carried by %s, want %s by %s", c.text, typ, typ.Carrier(), c.want, c.carrier)
		}
		if again, err := schemas.ParseType(typ.String()); err != nil || !again.Equal(typ) {
			t.Errorf("%s does not read back: %v", typ, err)
		}
		if c.want == c.carrier && typ.Carrier() != typ {
			t.Errorf("%s is its own carrier and should be the same value", typ)
		}
	}
}

func TestParseTypeErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "a type is missing"},
		{"INTEGR", "unknown type INTEGR: did you mean INTEGER?"},
		{"wibble", "unknown type wibble: see DuckDB's data types"},
		{"UNION(a INTEGER)", "UNION cannot be a field's type: no JSON value decodes into it; JSON takes any value"},
		{"DECIMAL(39,1)", "a DECIMAL's width is 1 to 38, not 39"},
		{"DECIMAL(3,4)", "a DECIMAL's scale (4) cannot be greater than its width (3)"},
		{"INTEGER(3)", "INTEGER does not take these parameters: [3]"},
		{"INTEGER[", "] is missing after [: found the end"},
		{"INTEGER[0]", "an array's length is 1 to 100000, not 0"},
		{"INTEGER VARCHAR", `"VARCHAR" stands after the type INTEGER`},
		{"STRUCT()", `")" stands where STRUCT( takes a field's name`},
		{"STRUCT(a INTEGER, A DATE)", "the STRUCT has the field A twice (letter case does not count in SQL)"},
		{"STRUCT(a INTEGR)", "STRUCT field a: unknown type INTEGR: did you mean INTEGER?"},
		{"STRUCT(a INTEGER", ") is missing after the STRUCT's field a: found the end"},
		{"MAP(INTEGER)", `, is missing after the MAP's key INTEGER: found ")"`},
		{"MAP(INTEGER[], INTEGER)", "a MAP's key cannot be INTEGER[]: it is written as an object's name in JSON"},
		{"MAP(INTERVAL, INTEGER)", "a MAP's key cannot be INTERVAL: two of its texts can be one value (1 month, 30 days)"},
		{"ENUM('a', 'a')", "the ENUM has the value 'a' twice"},
		{"ENUM('a", "the quote ' is not closed"},
	} {
		if _, err := schemas.ParseType(c.text); err == nil || err.Error() != c.want {
			t.Errorf("%q: %v\nwant %s", c.text, err, c.want)
		}
	}
}

// A type that was read is written and read back as itself.
func FuzzParseType(f *testing.F) {
	for _, s := range []string{"INTEGER", `STRUCT("a""b" INTEGER[3], c ENUM('x', 'it''s'))[]`, "MAP(VARCHAR, DECIMAL(3,1))", "TIMESTAMP WITH TIME ZONE"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		typ, err := schemas.ParseType(text)
		if err != nil {
			return
		}
		again, err := schemas.ParseType(typ.String())
		if err != nil || again.String() != typ.String() {
			t.Fatalf("%q reads as %s, which reads as %v, %v", text, typ, again, err)
		}
	})
}
