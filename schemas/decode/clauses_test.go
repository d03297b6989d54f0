package decode_test

import (
	"strings"
	"testing"
)

// refusals lists, for a field `v` of the type, values that are refused and the reason a person reads.
var refusals = []struct{ field, value, reason string }{
	// A JSON number counts by its value.
	{"v: INTEGER", `5.5`, "5.5 is not a whole number, so INTEGER cannot hold it"},
	{"v: INTEGER", `1e-1`, "1e-1 is not a whole number, so INTEGER cannot hold it"},
	{"v: INTEGER", `2147483648`, "2147483648 is out of range for INTEGER (-2147483648 to 2147483647)"},
	{"v: INTEGER", `1e999999999999999999999`, "1e999999999999999999999 is out of range for INTEGER (-2147483648 to 2147483647)"},
	{"v: UTINYINT", `-1`, "-1 is out of range for UTINYINT (0 to 255)"},
	{"v: BIGINT", `9223372036854775808`, "9223372036854775808 is out of range for BIGINT (-9223372036854775808 to 9223372036854775807)"},
	{"v: UBIGINT", `18446744073709551616`, "18446744073709551616 is out of range for UBIGINT (0 to 18446744073709551615)"},
	{"v: HUGEINT", `170141183460469231731687303715884105728`, "170141183460469231731687303715884105728 is out of range for HUGEINT"},
	{"v: UHUGEINT", `-1`, "-1 is out of range for UHUGEINT"},
	{"v: BIGNUM", `1e1000000000`, "1e1000000000 is out of range for BIGNUM"},
	{"v: DECIMAL(3,1)", `1.25`, "1.25 has more digits after the point than DECIMAL(3,1) holds"},
	{"v: DECIMAL(3,1)", `100`, "100 is out of range for DECIMAL(3,1)"},
	{"v: DOUBLE", `1e309`, "1e309 is out of range for DOUBLE"},
	{"v: FLOAT", `3.5e38`, "3.5e38 is out of range for FLOAT"},
	// A string is taken only if it is wholly a plain literal of the type.
	{"v: INTEGER", `" 12 "`, `" 12 " is no plain literal of INTEGER`},
	{"v: INTEGER", `"1_000"`, `"1_000" is no plain literal of INTEGER`},
	{"v: INTEGER", `"+1"`, `"+1" is no plain literal of INTEGER`},
	{"v: INTEGER", `"012"`, `"012" is no plain literal of INTEGER`},
	{"v: INTEGER", `"0x10"`, `"0x10" is no plain literal of INTEGER`},
	{"v: INTEGER", `""`, `"" is no plain literal of INTEGER`},
	{"v: DOUBLE", `"NaN"`, `"NaN" is no plain literal of DOUBLE`},
	{"v: DOUBLE", `"Infinity"`, `"Infinity" is no plain literal of DOUBLE`},
	{"v: INTEGER", `true`, "INTEGER expected, not true"},
	{"v: INTEGER", `[1]`, "INTEGER expected, not an array"},
	{"v: VARCHAR", `5`, "VARCHAR expected, not the number 5"},
	{"v: VARCHAR", `{}`, "VARCHAR expected, not an object"},
	{"v: BOOLEAN", `1`, "BOOLEAN expected, not the number 1"},
	{"v: BOOLEAN", `"TRUE"`, `"TRUE" is no plain literal of BOOLEAN`},
	// Times are ISO 8601 text, or integers with a unit.
	{"v: TIMESTAMP", `1700000000000`, "1700000000000 is a number, and the field declares no unit: TIMESTAMP is ISO 8601 text without one"},
	{"v: DATE", `1`, "1 is a number; DATE is ISO 8601 text"},
	{"v: {type: TIMESTAMP, unit: ms}", `1.5`, "1.5 is not a whole number, so TIMESTAMP cannot hold it"},
	{"v: {type: TIMESTAMP_S, unit: ms}", `1500`, "1500 has more digits of a second than TIMESTAMP_S holds"},
	{"v: TIMESTAMP", `"2001-02-29T00:00:00"`, `"2001-02-29T00:00:00" is no plain literal of TIMESTAMP`},
	{"v: TIMESTAMP", `"2001-01-10T18"`, `"2001-01-10T18" is no plain literal of TIMESTAMP`},
	{"v: TIMESTAMP", `"2001-01-10T23:59:60"`, `"2001-01-10T23:59:60" is no plain literal of TIMESTAMP`},
	{"v: TIMESTAMP", `"2001-01-10T18:20:00 Europe/Paris"`, `"2001-01-10T18:20:00 Europe/Paris" is no plain literal of TIMESTAMP`},
	{"v: TIMESTAMP", `"infinity"`, `"infinity" is no plain literal of TIMESTAMP`},
	{"v: TIMESTAMP", `"2001-01-10T18:20:00.1234567"`, `"2001-01-10T18:20:00.1234567" has more digits of a second than TIMESTAMP holds`},
	{"v: TIMESTAMP", `"294247-01-10T04:00:54.775807"`, `"294247-01-10T04:00:54.775807" is out of range for TIMESTAMP`},
	{"v: DATE", `"5881580-07-11"`, `"5881580-07-11" is out of range for DATE`},
	{"v: DATE", `"2001-01-10T18:20:00"`, `"2001-01-10T18:20:00" has a time of day, which DATE would lose`},
	{"v: TIME", `"12:30:00Z"`, `"12:30:00Z" has an offset, which TIME would lose`},
	{"v: TIMETZ", `"12:30:00+16"`, `"12:30:00+16" is out of range for TIME WITH TIME ZONE`},
	{"v: INTERVAL", `"1.5 days"`, `"1.5 days" is no plain literal of INTERVAL`},
	{"v: INTERVAL", `"2147483648 days"`, `"2147483648 days" is out of range for INTERVAL`},
	// The other scalar types.
	{"v: BLOB", `"é"`, `"é" is no plain literal of BLOB`},
	{"v: BLOB", `"\\n"`, `"\\n" is no plain literal of BLOB`},
	{"v: UUID", `"550e8400e29b41d4a716446655440000"`, `"550e8400e29b41d4a716446655440000" is no plain literal of UUID`},
	{"v: BIT", `"012"`, `"012" is no plain literal of BIT`},
	{"v: ENUM('a', 'b')", `"A"`, `"A" is none of ENUM('a', 'b')`},
	// Nested types name the place.
	{"v: INTEGER[]", `[1,"x"]`, `v[1]: "x" is no plain literal of INTEGER`},
	{"v: INTEGER[]", `{}`, "INTEGER[] expected, not an object"},
	{"v: INTEGER[2]", `[1,2,3]`, "3 elements, and INTEGER[2] has exactly 2"},
	{"v: STRUCT(a INTEGER)[]", `[{"a":1},{"a":false}]`, "v[1].a: INTEGER expected, not false"},
	{"v: STRUCT(a INTEGER)", `{"a":1,"b":2}`, `STRUCT(a INTEGER) has no field "b", and nothing may be lost`},
	{"v: STRUCT(a INTEGER)", `{"A":1}`, `STRUCT(a INTEGER) has no field "A", and nothing may be lost`},
	{"v: MAP(INTEGER, INTEGER)", `{"1":1,"x":2}`, `the key "x" is no plain literal of INTEGER`},
	{"v: MAP(INTEGER, INTEGER)", `{"1":1,"1.0":2}`, `the key "1.0" has the value of an earlier one`},
	{"v: MAP(DOUBLE, INTEGER)", `{"0":1,"-0":2}`, `the key "-0" has the value of an earlier one`},
	{"v: MAP(VARCHAR, INTEGER)", `{"k":"x"}`, `v["k"]: "x" is no plain literal of INTEGER`},
	{"v: VARCHAR NOT NULL", `null`, "is null, and the field is declared NOT NULL"},
}

func TestARefusedValueSaysWhy(t *testing.T) {
	for _, c := range refusals {
		line := c.field
		if typ, ok := strings.CutPrefix(line, "v: "); ok && !strings.HasPrefix(typ, "{") {
			line = `v: "` + typ + `"`
		}
		topic := topicOf(t, line, "w: INTEGER")
		for _, want := range [][]string{{"v", "w"}, {"w"}, nil} {
			d := decoderOf(t, topic, want...)
			bad := d.Append(record(`{"w":1,"v":` + c.value + `}`))
			switch {
			case bad == nil:
				t.Errorf("%s with %s was accepted", c.field, c.value)
			case bad.Field != "v" || bad.Reason != c.reason:
				t.Errorf("%s with %s, wanting %v:\n got %s: %s\nwant v: %s", c.field, c.value, want, bad.Field, bad.Reason, c.reason)
			}
			if d.Len() != 0 {
				t.Errorf("%s with %s left a row", c.field, c.value)
			}
		}
	}
}

// A record as a whole can be refused.
func TestARefusedRecordSaysWhy(t *testing.T) {
	topic := topicOf(t, "a: INTEGER", "b: VARCHAR NOT NULL")
	for _, c := range []struct{ payload, field, reason string }{
		{``, "", "the record is empty"},
		{" \n", "", "the record is empty"},
		{`[1]`, "", "the record is an array, not a JSON object"},
		{`"x"`, "", "the record is a text, not a JSON object"},
		{`null`, "", "the record is null, not a JSON object"},
		{`{"a":1`, "", "not JSON: it ends too early"},
		{`{"a":1,}`, "", "not JSON: invalid character ',' at start of value, at byte 6"},
		{`{"a":01}`, "", "not JSON: invalid character '1' after object value (expecting ',' or '}'), at byte 6"},
		{`{"a":NaN}`, "", "not JSON: invalid character 'N' at start of value, at byte 5"},
		{`{"b":"x"} {}`, "", "there is more after the JSON value, at byte 10"},
		{`{"b":"x"}x`, "", "there is more after the JSON value, at byte 9"},
		{"{\"b\":\"\xff\"}", "", "not JSON: invalid UTF-8, at byte 6"},
		{`{"b":"\ud800"}`, "", "not JSON: invalid surrogate pair `\\ud800\"}` in string, at byte 6"},
		{"{\"b\":\"a\tb\"}", "", "not JSON: invalid character '\\t' in string (expecting non-control character), at byte 7"},
		{`{"b":"x","b":"x"}`, "b", `the name "b" comes twice`},
		{`{"b":"x","\u0062":"y"}`, "b", `the name "b" comes twice`},
		{`{"b":"x","c":1,"c":1}`, "", `the name "c" comes twice`},
		{`{"b":"x","c":{"d":[{"e":1,"e":2}]}}`, "", `the name "e" comes twice in /c/d/0`},
		{`{"a":1}`, "b", "is missing, and the field is declared NOT NULL"},
		{`{"B":"x"}`, "b", "is missing, and the field is declared NOT NULL"},
		{`{"a":"x","b":null}`, "a", `"x" is no plain literal of INTEGER`},
	} {
		for _, want := range [][]string{{"a", "b", "_extra"}, {"a"}, nil} {
			bad := decoderOf(t, topic, want...).Append(record(c.payload))
			if bad == nil || bad.Field != c.field || bad.Reason != c.reason {
				t.Errorf("%q, wanting %v:\n got %+v\nwant %s: %s", c.payload, want, bad, c.field, c.reason)
			}
		}
	}
	r := record("")
	r.Value = nil
	if bad := decoderOf(t, topic).Append(r); bad == nil || bad.Reason != "the record has no value" {
		t.Errorf("a null value: %+v", bad)
	}
}

// Unknown names are kept in _extra, in their order and as they were written, without white space; names match by case.
func TestUnknownFieldsAreKept(t *testing.T) {
	d := decoderOf(t, topicOf(t, "a: INTEGER", "null: JSON"), "_extra", "a")
	for _, p := range []string{
		`{"a":1}`,
		`{"A":1.50, "b" : {"c": [ 1 , "x y" ]},"a":2}`,
		`{"é\n":null,"z":"\u00e9"}`,
	} {
		if bad := d.Append(record(p)); bad != nil {
			t.Fatal(bad.Reason)
		}
	}
	batch := d.Batch()
	defer batch.Release()
	want := `_extra=[(null) "{\"A\":1.50,\"b\":{\"c\":[1,\"x y\"]}}" "{\"é\\n\":null,\"z\":\"\\u00e9\"}"]` + "\na=[1 2 (null)]\n"
	if got := rowsOf(batch); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
