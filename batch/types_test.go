package batch

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/millrace/millrace/ingest/source"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/schemas"
)

// everyType lists a value of each type a field can have, what parquet-go calls the column, and how the project's own
// Parquet source, which reads with parquet-go, gives the value back.
var everyType = []struct{ typ, in, column, out string }{
	{"BOOLEAN", `true`, "BOOLEAN", `true`},
	{"TINYINT", `-128`, "INT(8,true)", `-128`},
	{"SMALLINT", `-32768`, "INT(16,true)", `-32768`},
	{"INTEGER", `2147483647`, "INT(32,true)", `2147483647`},
	{"BIGINT", `-9223372036854775808`, "INT(64,true)", `-9223372036854775808`},
	{"UTINYINT", `255`, "INT(8,false)", `255`},
	{"USMALLINT", `65535`, "INT(16,false)", `65535`},
	{"UINTEGER", `4294967295`, "INT(32,false)", `4294967295`},
	{"UBIGINT", `18446744073709551615`, "INT(64,false)", `18446744073709551615`},
	{"HUGEINT", `-170141183460469231731687303715884105728`, "STRING", `"-170141183460469231731687303715884105728"`},
	{"UHUGEINT", `340282366920938463463374607431768211455`, "STRING", `"340282366920938463463374607431768211455"`},
	{"BIGNUM", `123456789012345678901234567890123456789012345678901234567890`, "STRING", `"123456789012345678901234567890123456789012345678901234567890"`},
	{"FLOAT", `0.1`, "FLOAT", `0.1`},
	{"DOUBLE", `5e-324`, "DOUBLE", `5e-324`},
	{"DECIMAL(4,1)", `-999.9`, "DECIMAL(4,1)", `-999.9`},
	{"DECIMAL(9,2)", `1234567.89`, "DECIMAL(9,2)", `1234567.89`},
	{"DECIMAL(18,3)", `123456789012345.678`, "DECIMAL(18,3)", `123456789012345.678`},
	{"DECIMAL(38,10)", `-1234567890123456789012345678.0123456789`, "DECIMAL(38,10)", `-1234567890123456789012345678.0123456789`},
	{"VARCHAR", `"a text, é𝄞"`, "STRING", `"a text, é𝄞"`},
	{"BLOB", `"ab\\xAA\\x00"`, "BYTE_ARRAY", `"ab\\xAA\\x00"`},
	{"BIT", `"0101"`, "STRING", `"0101"`},
	{"UUID", `"550e8400-e29b-41d4-a716-446655440000"`, "STRING", `"550e8400-e29b-41d4-a716-446655440000"`},
	{"JSON", `{"a": [1, 2.50]}`, "STRING", `"{\"a\":[1,2.50]}"`},
	{"ENUM('a', 'b')", `"b"`, "STRING", `"b"`},
	{"DATE", `"1969-12-31"`, "DATE", `"1969-12-31"`},
	{"TIME", `"23:59:59.999999"`, "TIME(isAdjustedToUTC=false,unit=MICROS)", `"23:59:59.999999"`},
	{"TIME_NS", `"12:30:00.123456789"`, "STRING", `"12:30:00.123456789"`},
	{"TIMETZ", `"12:30:00+02"`, "STRING", `"12:30:00.000000+02:00:00"`},
	{"TIMESTAMP", `"2001-01-10T18:20:00.123456"`, "TIMESTAMP(isAdjustedToUTC=false,unit=MICROS)", `"2001-01-10T18:20:00.123456"`},
	{"TIMESTAMP_S", `"2001-01-10T18:20:07"`, "TIMESTAMP(isAdjustedToUTC=false,unit=MICROS)", `"2001-01-10T18:20:07"`},
	{"TIMESTAMP_MS", `"1969-12-31T23:59:59.999"`, "TIMESTAMP(isAdjustedToUTC=false,unit=MICROS)", `"1969-12-31T23:59:59.999"`},
	{"TIMESTAMP_NS", `"2001-01-10T18:20:00.123456789"`, "TIMESTAMP(isAdjustedToUTC=false,unit=NANOS)", `"2001-01-10T18:20:00.123456789"`},
	{"TIMESTAMPTZ", `"2001-01-10T18:20:00+02:00"`, "TIMESTAMP(isAdjustedToUTC=true,unit=MICROS)", `"2001-01-10T16:20:00Z"`},
	{"INTERVAL", `"1 year 2 months 3 days 04:05:06.789"`, "STRING", `"14 months 3 days 14706789000 microseconds"`},
	{"INTEGER[]", `[1,null,3]`, "LIST(group(INT(32,true)))", `[1,null,3]`},
	{"INTEGER[2]", `[1,2]`, "LIST(group(INT(32,true)))", `[1,2]`},
	{"HUGEINT[][]", `[[1],[],null]`, "LIST(group(LIST(group(STRING))))", `[["1"],[],null]`},
	{"STRUCT(a INTEGER, b TIMESTAMP_S[])", `{"a":1,"b":["2001-01-10"]}`, "group(INT(32,true), LIST(group(TIMESTAMP(isAdjustedToUTC=false,unit=MICROS))))", `{"a":1,"b":["2001-01-10T00:00:00"]}`},
	{"MAP(VARCHAR, DECIMAL(5,2))", `{"x":1.5,"y":null}`, "MAP(group(STRING, DECIMAL(5,2)))", `{"x":1.50,"y":null}`},
}

// Every type comes back from a data file through another implementation than the writer's, with the type that other
// tools will see; NULL does too, and system columns.
func TestEveryTypeIsReadBack(t *testing.T) {
	var topic, full strings.Builder
	topic.WriteString("fields:\n")
	for i, c := range everyType {
		fmt.Fprintf(&topic, "  f%d: %q\n", i, c.typ)
		fmt.Fprintf(&full, `,"f%d":%s`, i, c.in)
	}
	b := newBed(t, topic.String(), nil)
	end := b.send(t, [][]byte{[]byte("{" + full.String()[1:] + `,"u":1}`), []byte("{}")})
	built, err := b.Build(t.Context(), "root/", schemas.Range{To: end})
	if err != nil || built.Data.Records != 2 {
		t.Fatalf("%+v, %v", built, err)
	}
	path := filepath.Join(b.dir, "root", built.Data.Path)
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	pq, err := parquet.OpenFile(file, built.Data.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	src, err := source.Open(path, source.Options{Topic: b.Topic})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var rows [2]map[string]json.RawMessage
	for i := range rows {
		_, line, err := src.Next()
		if err == nil {
			err = json.Unmarshal(line, &rows[i])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range everyType {
		name := fmt.Sprint("f", i)
		if got := shape(pq.Root().Column(name)); got != c.column {
			t.Errorf("%s is %s in Parquet, want %s", c.typ, got, c.column)
		}
		if got := string(rows[0][name]); got != c.out {
			t.Errorf("%s: %s came back as %s, want %s", c.typ, c.in, got, c.out)
		}
		if got := string(rows[1][name]); got != "null" {
			t.Errorf("%s: NULL came back as %s", c.typ, got)
		}
	}
	for name, want := range map[string][2]string{
		"_partition": {"0", "0"}, "_offset": {"0", "1"}, "_key": {`"k0"`, "null"}, "_extra": {`"{\"u\":1}"`, "null"},
		"_headers": {"[{\"key\":\"h\uFFFD\",\"value\":\"\\\\x00\\\\xFF\"},{\"key\":\"null\",\"value\":null}]", "[]"},
	} {
		if got := [2]string{string(rows[0][name]), string(rows[1][name])}; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// What serving and Rebuild read from a data file is what the kernel had decoded, in the declared types.
func TestADataFileCastsBack(t *testing.T) {
	var topic, full strings.Builder
	topic.WriteString("fields:\n")
	for i, c := range everyType {
		fmt.Fprintf(&topic, "  f%d: %q\n", i, c.typ)
		fmt.Fprintf(&full, `,"f%d":%s`, i, c.in)
	}
	b := newBed(t, topic.String(), nil)
	end := b.send(t, [][]byte{[]byte("{" + full.String()[1:] + "}"), []byte("{}")})
	built, err := b.Build(t.Context(), "root/", schemas.Range{To: end})
	if err != nil {
		t.Fatal(err)
	}
	var columns []string
	for _, f := range fieldsOf(b.Topic) {
		columns = append(columns, f.Name)
	}
	k, err := kernel.New(t.Context(), kernel.Spec{Topic: b.Topic, Keep: columns})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	reader := b.Log.Read("events", schemas.Range{To: end}, kafkalog.ReadOptions{Want: kafkalog.Everything})
	defer reader.Close()
	for at := int64(0); at < end; {
		c, err := reader.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Add(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		at = c.To
	}
	must(t, k.Run(t.Context()))
	for _, c := range columns {
		q := fmt.Sprintf("SELECT count(*) FROM %s r JOIN (SELECT %s FROM read_parquet(%s)) h USING (_offset) WHERE r.%s IS NOT DISTINCT FROM h.%[4]s AND typeof(r.%[4]s) = typeof(h.%[4]s)",
			schemas.QuoteIdent(k.RowsTable()), kernel.Casts(b.Topic, columns), schemas.QuoteText(filepath.Join(b.dir, "root", built.Data.Path)), schemas.QuoteIdent(c))
		rows, err := k.Session().Query(t.Context(), q)
		if err != nil {
			t.Fatal(c, err)
		}
		var n int
		for rows.Next() {
			must(t, rows.Scan(&n))
		}
		rows.Close()
		if n != 2 {
			t.Errorf("%s: %d of 2 rows come back", c, n)
		}
	}
}

// shape is a column's type as Parquet has it.
func shape(c *parquet.Column) string {
	if c.Leaf() {
		return c.Type().String()
	}
	var parts []string
	for _, child := range c.Columns() {
		parts = append(parts, shape(child))
	}
	name := "group"
	if l := c.Type().LogicalType(); l != nil {
		name = l.String()
	}
	return name + "(" + strings.Join(parts, ", ") + ")"
}
