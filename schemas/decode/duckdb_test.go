package decode_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"
	"github.com/duckdb/duckdb-go/v2"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/decode"
)

// roundTrip lists values of every type: what the JSON holds and the SQL literal DuckDB itself reads.
var roundTrip = []struct {
	typ   string // the field's type, and a unit after ; where it has one
	pairs [][2]string
}{
	{"BOOLEAN", [][2]string{{`true`, `true`}, {`"false"`, `false`}, {`null`, `NULL`}}},
	{"TINYINT", [][2]string{{`-128`, `-128`}, {`127.0`, `127`}, {`"12"`, `12`}, {`null`, `NULL`}}},
	{"SMALLINT", [][2]string{{`-32768`, `-32768`}, {`32767`, `32767`}}},
	{"INTEGER", [][2]string{{`-2147483648`, `-2147483648`}, {`2147483647`, `2147483647`}, {`1e2`, `100`}, {`1200e-2`, `12`}, {`-0`, `0`}}},
	{"BIGINT", [][2]string{{`-9223372036854775808`, `-9223372036854775808`}, {`9223372036854775807`, `9223372036854775807`}}},
	{"UTINYINT", [][2]string{{`255`, `255`}, {`0`, `0`}}},
	{"USMALLINT", [][2]string{{`65535`, `65535`}}},
	{"UINTEGER", [][2]string{{`4294967295`, `4294967295`}}},
	{"UBIGINT", [][2]string{{`18446744073709551615`, `18446744073709551615`}, {`1.8446744073709551615e19`, `18446744073709551615`}}},
	{"HUGEINT", [][2]string{{`170141183460469231731687303715884105727`, `'170141183460469231731687303715884105727'`},
		{`-170141183460469231731687303715884105728`, `'-170141183460469231731687303715884105728'`}, {`1e20`, `100000000000000000000`}, {`-0`, `0`}}},
	{"UHUGEINT", [][2]string{{`340282366920938463463374607431768211455`, `'340282366920938463463374607431768211455'`}}},
	{"BIGNUM", [][2]string{{`123456789012345678901234567890123456789012345678901234567890`, `'123456789012345678901234567890123456789012345678901234567890'`}, {`-5e3`, `'-5000'`}}},
	{"FLOAT", [][2]string{{`1.5`, `1.5`}, {`16777217`, `16777217::DOUBLE`}, {`-0.1`, `'-0.1'`}, {`1e-50`, `0`}}},
	{"DOUBLE", [][2]string{{`0.1`, `0.1`}, {`1e308`, `1e308`}, {`9007199254740993`, `'9007199254740993'`}, {`5e-324`, `5e-324`}}},
	{"DECIMAL(4,1)", [][2]string{{`1.5`, `1.5`}, {`-999.9`, `-999.9`}, {`1.50`, `1.5`}, {`"2e2"`, `200`}, {`null`, `NULL`}}},
	{"DECIMAL(18,3)", [][2]string{{`123456789012345.678`, `123456789012345.678`}}},
	{"DECIMAL(38,0)", [][2]string{{`99999999999999999999999999999999999999`, `'99999999999999999999999999999999999999'`},
		{`-99999999999999999999999999999999999999`, `'-99999999999999999999999999999999999999'`}}},
	{"DECIMAL(38,38)", [][2]string{{`0.00000000000000000000000000000000000001`, `'0.00000000000000000000000000000000000001'`}}},
	{"VARCHAR", [][2]string{{`"plain"`, `'plain'`}, {`""`, `''`}, {`"é\n\u00e9\"𝄞"`, `'é' || chr(10) || 'é"𝄞'`}, {`"a\u0000b"`, `'a' || chr(0) || 'b'`},
		{`"a text longer than twelve bytes"`, `'a text longer than twelve bytes'`}, {`null`, `NULL`}}},
	{"BLOB", [][2]string{{`"ab\\xAA\\x5c"`, `'ab\xAA\x5c'`}, {`""`, `''`}}},
	{"BIT", [][2]string{{`"0101"`, `'0101'`}}},
	{"UUID", [][2]string{{`"550E8400-e29b-41d4-a716-446655440000"`, `'550e8400-e29b-41d4-a716-446655440000'`}, {`null`, `NULL`}}},
	{"JSON", [][2]string{{`{"a": [1, 2.50,  "x y"], "b": null}`, `'{"a":[1,2.50,"x y"],"b":null}'`}, {`5`, `'5'`}, {`"x"`, `'"x"'`}, {`null`, `NULL`}}},
	{"ENUM('a', 'it''s')", [][2]string{{`"a"`, `'a'`}, {`"it's"`, `'it''s'`}}},
	{"DATE", [][2]string{{`"2001-01-10"`, `'2001-01-10'`}, {`"1969-12-31"`, `'1969-12-31'`}, {`"0000-03-01"`, `'0000-03-01'`}, {`"-0044-03-15"`, `'-0044-03-15'`},
		{`"5881580-07-10"`, `'5881580-07-10'`}, {`"2001-01-10T00:00:00Z"`, `'2001-01-10'`}, {`"2000-02-29"`, `'2000-02-29'`}}},
	{"TIME", [][2]string{{`"12:30"`, `'12:30:00'`}, {`"23:59:59.999999"`, `'23:59:59.999999'`}, {`"24:00:00"`, `'24:00:00'`}}},
	{"TIME_NS", [][2]string{{`"12:30:00.123456789"`, `'12:30:00.123456789'`}}},
	{"TIMETZ", [][2]string{{`"12:30:00+02"`, `'12:30:00+02'`}, {`"12:30:00.5-15:59:59"`, `'12:30:00.5-15:59:59'`}, {`"12:30:00Z"`, `'12:30:00+00'`}}},
	{"TIMESTAMP", [][2]string{{`"2001-01-10T18:20:00"`, `'2001-01-10 18:20:00'`}, {`"2001-01-10"`, `'2001-01-10 00:00:00'`}, {`"2001-01-10 18:20:00.123456"`, `'2001-01-10 18:20:00.123456'`},
		{`"1969-12-31T23:59:59.999999"`, `'1969-12-31 23:59:59.999999'`}, {`"2001-01-10T24:00:00"`, `'2001-01-11'`}, {`"294247-01-10T04:00:54.775806Z"`, `'294247-01-10 04:00:54.775806'`},
		{`"-290308-12-22T00:00:00"`, `'-290308-12-22'`}}},
	{"TIMESTAMP_S", [][2]string{{`"2001-01-10T18:20:07.000Z"`, `'2001-01-10 18:20:07'`}}},
	{"TIMESTAMP_MS", [][2]string{{`"2001-01-10T18:20:07.123Z"`, `'2001-01-10 18:20:07.123'`}, {`"1969-12-31T23:59:59.999"`, `'1969-12-31 23:59:59.999'`}}},
	{"TIMESTAMP_NS", [][2]string{{`"2001-01-10T18:20:07.123456789Z"`, `'2001-01-10 18:20:07.123456789'`}, {`"2262-04-11T23:47:16.854775806Z"`, `'2262-04-11 23:47:16.854775806'`}}},
	{"TIMESTAMPTZ", [][2]string{{`"2001-01-10T18:20:00+05:30"`, `'2001-01-10 12:50:00+00'`}, {`"2001-01-10T18:20:00-0830"`, `'2001-01-11 02:50:00+00'`}, {`"2001-01-10"`, `'2001-01-10 00:00:00+00'`}}},
	{"TIMESTAMP; ms", [][2]string{{`1700000000123`, `'2023-11-14 22:13:20.123'`}, {`-1`, `'1969-12-31 23:59:59.999'`}, {`"1700000000123"`, `'2023-11-14 22:13:20.123'`}, {`"2001-01-10"`, `'2001-01-10'`}, {`1.7e12`, `'2023-11-14 22:13:20'`}}},
	{"TIMESTAMP_NS; ns", [][2]string{{`1700000000123456789`, `'2023-11-14 22:13:20.123456789'`}}},
	{"TIMESTAMPTZ; s", [][2]string{{`1700000000`, `'2023-11-14 22:13:20+00'`}}},
	{"INTERVAL", [][2]string{{`"1 year 2 months -3 days 04:05:06.789"`, `'1 year 2 months -3 days 04:05:06.789'`}, {`"-00:00:01"`, `'-00:00:01'`}, {`"2 weeks"`, `'14 days'`}, {`"100:00:00"`, `'100 hours'`}}},
	{"INTEGER[]", [][2]string{{`[1, 2,null]`, `[1,2,NULL]`}, {`[]`, `[]`}, {`null`, `NULL`}}},
	{"VARCHAR[][]", [][2]string{{`[["a"],[],null,["b",null]]`, `[['a'],[],NULL,['b',NULL]]`}}},
	{"INTEGER[3]", [][2]string{{`[1,2,3]`, `[1,2,3]`}, {`null`, `NULL`}}},
	{"UUID[2]", [][2]string{{`["550e8400-e29b-41d4-a716-446655440000",null]`, `['550e8400-e29b-41d4-a716-446655440000',NULL]`}}},
	{"INTEGER[1][]", [][2]string{{`[[1],null,[2]]`, `[[1],NULL,[2]]`}}},
	{`STRUCT(a INTEGER, "b c" VARCHAR[], u UUID)`, [][2]string{{`{"b c":["x"],"a":1}`, `{'a':1,'b c':['x'],'u':NULL}`}, {`{}`, `{'a':NULL,'b c':NULL,'u':NULL}`}, {`null`, `NULL`},
		{`{"u":"550e8400-e29b-41d4-a716-446655440000","a":null}`, `{'a':NULL,'b c':NULL,'u':'550e8400-e29b-41d4-a716-446655440000'}`}}},
	{"STRUCT(t TIMETZ, d DECIMAL(5,2), j JSON)[]", [][2]string{{`[{"t":"01:00:00Z","d":1.25,"j":[1, 2]}]`, `[{'t':'01:00:00+00','d':1.25,'j':'[1,2]'}]`}}},
	{"MAP(VARCHAR, INTEGER)", [][2]string{{`{"a":1,"b":null}`, `MAP{'a':1,'b':NULL}`}, {`{}`, `MAP{}`}, {`null`, `NULL`}}},
	{"MAP(INTEGER, UUID[])", [][2]string{{`{"1":[],"2e1":["550e8400-e29b-41d4-a716-446655440000"]}`, `MAP{1:[],20:['550e8400-e29b-41d4-a716-446655440000']}`}}},
	{"MAP(UUID, STRUCT(b BIT))", [][2]string{{`{"550e8400-e29b-41d4-a716-446655440000":{"b":"01"}}`, `MAP{'550e8400-e29b-41d4-a716-446655440000':{'b':'01'}}`}}},
	{"MAP(DATE, BOOLEAN)[]", [][2]string{{`[{"2001-01-10":true},{}]`, `[MAP{DATE '2001-01-10':true},MAP{}]`}}},
}

// TestDuckDBReadsBackWhatWasDecoded hands the Arrow batch to DuckDB, casts carriers back and compares every value
// with DuckDB's own reading of a literal.
func TestDuckDBReadsBackWhatWasDecoded(t *testing.T) {
	connector, err := duckdb.NewConnector("", nil)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "SET TimeZone='UTC'"); err != nil {
		t.Fatal(err)
	}
	for _, c := range roundTrip {
		t.Run(c.typ, func(t *testing.T) {
			typ, unit, _ := strings.Cut(c.typ, "; ")
			line := fmt.Sprintf("v: {type: %q}", typ)
			if unit != "" {
				line = fmt.Sprintf("v: {type: %q, unit: %s}", typ, unit)
			}
			topic := topicOf(t, line)
			var payloads, literals []string
			for _, p := range c.pairs {
				payloads = append(payloads, `{"v":`+p[0]+`}`, "{ \"v\" : "+p[0]+"\n}", `{"\u0076":`+p[0]+`}`)
				for range 3 {
					literals = append(literals, p[1])
				}
			}
			batch := decodeAll(t, topic, payloads)
			defer batch.Release()
			got := throughDuckDB(t, conn, batch, topic.Fields[0].Type)
			for i, literal := range literals {
				var want, typeName string
				q := fmt.Sprintf("SELECT coalesce(CAST((%s)::%s AS VARCHAR), 'NULL'), typeof((%s)::%s)", literal, typ, literal, typ)
				if err := conn.QueryRowContext(t.Context(), q).Scan(&want, &typeName); err != nil {
					t.Fatal(q, err)
				}
				if got[i] != want+" "+typeName {
					t.Errorf("%s: DuckDB reads %s, want %s %s", payloads[i], got[i], want, typeName)
				}
				if typeName != topic.Fields[0].Type.String() {
					t.Errorf("DuckDB calls the type %s, millrace %s", typeName, topic.Fields[0].Type)
				}
			}
		})
	}
}

func decodeAll(t *testing.T, topic *schemas.Topic, payloads []string) arrow.RecordBatch {
	t.Helper()
	d, err := decode.New(topic, columnsOf(topic), mallocator.NewMallocator())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, p := range payloads {
		if bad := d.Append(record(p)); bad != nil {
			t.Fatalf("%s: %s: %s", p, bad.Field, bad.Reason)
		}
	}
	return d.Batch()
}

// throughDuckDB is the first column's values and type as DuckDB shows them.
func throughDuckDB(t *testing.T, conn *sql.Conn, batch arrow.RecordBatch, typ *schemas.Type) []string {
	t.Helper()
	reader, err := array.NewRecordReader(batch.Schema(), []arrow.RecordBatch{batch})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	var release func()
	err = conn.Raw(func(driver any) error {
		a, err := duckdb.NewArrowFromConn(driver.(*duckdb.Conn))
		if err != nil {
			return err
		}
		release, err = a.RegisterView(reader, "decoded")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	q := fmt.Sprintf("SELECT coalesce(CAST(CAST(v AS %s) AS VARCHAR), 'NULL') || ' ' || typeof(CAST(v AS %s)) FROM decoded", typ, typ)
	rows, err := conn.QueryContext(context.Background(), q)
	if err != nil {
		t.Fatal(q, err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
