//go:build engines

package millrace_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/cmd/cluster"
)

// spark is a Spark as processes of their own.
var spark = engine("spark", func(ctx context.Context, dir string) (*cluster.SparkCluster, error) {
	return cluster.StartSpark(ctx, cluster.SparkOptions{Dir: dir, Workers: 1, Tied: true})
})

// kinds lists a value of each type a field can have, what Spark 3.5 calls the column of a data file, and the value as its
// text. Spark has no type for TIME and refuses a file with such a column.
var kinds = []struct{ typ, in, spark, text string }{
	{"BOOLEAN", `true`, "boolean", "true"},
	{"TINYINT", `-128`, "tinyint", "-128"},
	{"SMALLINT", `-32768`, "smallint", "-32768"},
	{"INTEGER", `2147483647`, "int", "2147483647"},
	{"BIGINT", `-9223372036854775808`, "bigint", "-9223372036854775808"},
	{"UTINYINT", `255`, "smallint", "255"},
	{"USMALLINT", `65535`, "int", "65535"},
	{"UINTEGER", `4294967295`, "bigint", "4294967295"},
	{"UBIGINT", `18446744073709551615`, "decimal(20,0)", "18446744073709551615"},
	{"HUGEINT", `-170141183460469231731687303715884105728`, "string", "-170141183460469231731687303715884105728"},
	{"FLOAT", `0.1`, "float", "0.1"},
	{"DOUBLE", `5e-324`, "double", "4.9E-324"},
	{"DECIMAL(4,1)", `-999.9`, "decimal(4,1)", "-999.9"},
	{"DECIMAL(18,3)", `123456789012345.678`, "decimal(18,3)", "123456789012345.678"},
	{"DECIMAL(38,10)", `-1234567890123456789012345678.0123456789`, "decimal(38,10)", "-1234567890123456789012345678.0123456789"},
	{"VARCHAR", `"a text, é𝄞"`, "string", "a text, é𝄞"},
	{"BLOB", `"ab"`, "binary", "ab"},
	{"UUID", `"550e8400-e29b-41d4-a716-446655440000"`, "string", "550e8400-e29b-41d4-a716-446655440000"},
	{"JSON", `{"a": [1, 2.50]}`, "string", `{"a":[1,2.50]}`},
	{"ENUM('a', 'b')", `"b"`, "string", "b"},
	{"DATE", `"1969-12-31"`, "date", "1969-12-31"},
	{"TIMESTAMP", `"2001-01-10T18:20:00.123456"`, "timestamp_ntz", "2001-01-10 18:20:00.123456"},
	{"TIMESTAMP_NS", `"2001-01-10T18:20:00.123456789"`, "bigint", "979150800123456789"},
	{"TIMESTAMPTZ", `"2001-01-10T18:20:00+02:00"`, "timestamp", "2001-01-10 16:20:00"},
	{"INTEGER[]", `[1,null,3]`, "array<int>", "[1, null, 3]"},
	{"STRUCT(a INTEGER, b TIMESTAMP[])", `{"a":1,"b":["2001-01-10"]}`, "struct<a:int,b:array<timestamp_ntz>>", "{1, [2001-01-10 00:00:00]}"},
	{"MAP(VARCHAR, DECIMAL(5,2))", `{"x":1.5}`, "map<string,decimal(5,2)>", "{x -> 1.50}"},
}

// sparkReads prints the types of both topics' columns, one row of all kinds, and figures over the flights.
const sparkReads = `
import json, sys
from pyspark.sql import SparkSession
spark = (SparkSession.builder.master(sys.argv[1]).config("spark.sql.session.timeZone", "UTC")
  .config("spark.sql.legacy.parquet.nanosAsLong", "true").getOrCreate())
kinds, flights = (spark.read.parquet(*json.loads(files)) for files in sys.argv[2:])
print(json.dumps({
  "kinds": dict(kinds.dtypes), "flights": dict(flights.dtypes),
  "row": kinds.selectExpr(*["CAST(%s AS STRING)" % c for c in kinds.columns]).collect()[0].asDict(),
  "figures": [str(v) for v in flights.selectExpr("count(*)", "count(DISTINCT _partition, _offset)", "sum(delay)", "sum(distance)", "min(date)", "max(date)", "count(DISTINCT origin)").collect()[0]],
}))
`

// Spark runs the cycles, on a master and a worker, and then reads the store by itself: every type of field is the type of
// Spark that stands for it, and the flights are what DuckDB says of their file.
func TestSparkReadsTheStore(t *testing.T) {
	c := spark(t)
	s := openSite(t, []string{"127.0.0.1:" + freePort(t)}, fmt.Sprintf("runner: spark\nendpoint: %s\n", c.Endpoint))
	var topic, row strings.Builder
	topic.WriteString("partitions: 1\nfields:\n")
	for i, k := range kinds {
		fmt.Fprintf(&topic, "  f%d: %q\n", i, k.typ)
		fmt.Fprintf(&row, `,"f%d":%s`, i, k.in)
	}
	s.must(os.WriteFile(filepath.Join(s.project.Dir, "topics", "kinds.yaml"), []byte(topic.String()), 0o600))
	all := allOf(t)
	path := s.write("all.ndjson", all)
	s.loadDirect(path)
	s.run("ingest", "flights", path)
	s.run("ingest", "kinds", s.write("kinds.ndjson", [][]byte{[]byte("{" + row.String()[1:] + "}")}))
	s.cycle(int64(len(all)))
	s.run("batch", "kinds")

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	python, err := cluster.PySpark(ctx, t.Logf)
	s.must(err)
	cmd := exec.CommandContext(ctx, python.Path, "-c", sparkReads, "local[2]", s.dataFiles("kinds"), s.dataFiles("flights"))
	cmd.Env = append(os.Environ(), python.Env...)
	cmd.WaitDelay = 5 * time.Second
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("PySpark: %v\n%s", err, said.String())
	}
	var read struct {
		Kinds, Flights map[string]string
		Row            map[string]*string
		Figures        []string
	}
	s.must(json.Unmarshal(out, &read))
	for i, k := range kinds {
		name := fmt.Sprint("f", i)
		if got := read.Kinds[name]; got != k.spark {
			t.Errorf("%s is %s in Spark, want %s", k.typ, got, k.spark)
		}
		if got := read.Row[name]; got == nil || *got != k.text {
			t.Errorf("%s: %s is read as %v, want %s", k.typ, k.in, got, k.text)
		}
	}
	for name, want := range map[string]string{"date": "timestamp_ntz", "delay": "int", "distance": "int", "origin": "string", "destination": "string",
		"_partition": "int", "_offset": "bigint", "_timestamp": "timestamp", "_key": "binary", "_headers": "array<struct<key:string,value:binary>>", "_extra": "string"} {
		if got := read.Flights[name]; got != want {
			t.Errorf("%s is %s in Spark, want %s", name, got, want)
		}
	}
	want := make([]string, 7)
	into := make([]any, len(want))
	for i := range want {
		into[i] = &want[i]
	}
	s.must(s.direct.QueryRow("SELECT columns(*)::VARCHAR FROM (SELECT count(*) AS a, count(*) AS b, sum(delay) AS c, sum(distance) AS d, min(date) AS e, max(date) AS f, count(DISTINCT origin) AS g FROM flights)").Scan(into...))
	if fmt.Sprint(read.Figures) != fmt.Sprint(want) {
		t.Errorf("Spark says %v, DuckDB says %v", read.Figures, want)
	}
}

// dataFiles are a topic's data files as a JSON list.
func (s *site) dataFiles(topic string) string {
	s.Helper()
	files, err := filepath.Glob(filepath.Join(s.project.Dir, "data", "topics", topic, "*", "data", "*", "*.parquet"))
	s.must(err)
	text, err := json.Marshal(files)
	s.must(err)
	return string(text)
}
