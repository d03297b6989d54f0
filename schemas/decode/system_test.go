package decode_test

import (
	"database/sql"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"
	"github.com/duckdb/duckdb-go/v2"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/decode"
)

// The columns every topic has come from the record itself, and DuckDB reads them with the types face.md names.
func TestSystemColumns(t *testing.T) {
	topic := topicOf(t, "a: INTEGER")
	var names []string
	for _, f := range schemas.SystemFields() {
		names = append(names, f.Name)
	}
	d, err := decode.New(topic, names, mallocator.NewMallocator())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, r := range []*schemas.Record{
		{Partition: 3, Offset: 1 << 40, Timestamp: 1700000000123, Key: []byte("k\xff"), Value: []byte(`{"b": 1}`),
			Headers: []schemas.Header{{Key: "h", Value: []byte{0, 1}}, {Key: "bad\xff", Value: nil}}},
		{Partition: 0, Offset: 0, Timestamp: -1, Value: []byte(`{}`)},
		{Timestamp: 1<<63 - 1, Key: []byte{}, Value: []byte(`{"a":1}`)},
	} {
		if bad := d.Append(r); bad != nil {
			t.Fatal(bad.Reason)
		}
	}
	batch := d.Batch()
	defer batch.Release()
	reader, err := array.NewRecordReader(batch.Schema(), []arrow.RecordBatch{batch})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
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
	var release func()
	if err := conn.Raw(func(driver any) error {
		a, err := duckdb.NewArrowFromConn(driver.(*duckdb.Conn))
		if err == nil {
			release, err = a.RegisterView(reader, "decoded")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer release()
	if _, err := conn.ExecContext(t.Context(), "SET TimeZone='UTC'"); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.QueryContext(t.Context(), "SELECT CAST({p: _partition, o: _offset, t: epoch_us(_timestamp), z: typeof(_timestamp), k: _key, h: _headers, e: CAST(_extra AS JSON)} AS VARCHAR) FROM decoded")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	want := []string{
		`{'p': 3, 'o': 1099511627776, 't': 1700000000123000, 'z': TIMESTAMP WITH TIME ZONE, 'k': k\xFF, 'h': [{'key': h, 'value': \x00\x01}, {'key': bad�, 'value': NULL}], 'e': '{"b":1}'}`,
		`{'p': 0, 'o': 0, 't': -1000, 'z': TIMESTAMP WITH TIME ZONE, 'k': NULL, 'h': [], 'e': NULL}`,
		`{'p': 0, 'o': 0, 't': 9223372036854775000, 'z': TIMESTAMP WITH TIME ZONE, 'k': '', 'h': [], 'e': NULL}`,
	}
	for i := 0; rows.Next(); i++ {
		var got string
		if err := rows.Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != want[i] {
			t.Errorf("row %d\n got %s\nwant %s", i, got, want[i])
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// A reject owns its bytes: the chunk the record came with may be reused.
func TestARejectOwnsItsBytes(t *testing.T) {
	value, key := []byte(`{"a":"x"}`), []byte("k")
	bad := decoderOf(t, topicOf(t, "a: INTEGER")).Append(&schemas.Record{Partition: 1, Offset: 7, Key: key, Value: value})
	clear(value)
	clear(key)
	if string(bad.Value) != `{"a":"x"}` || string(bad.Key) != "k" || bad.Partition != 1 || bad.Offset != 7 {
		t.Errorf("%+v", bad)
	}
}

func TestWantedColumnsMustExist(t *testing.T) {
	topic := topicOf(t, "a: INTEGER")
	for want, columns := range map[string][]string{
		"decode events: there is no column b":         {"a", "b"},
		"decode events: the column a is wanted twice": {"a", "_offset", "a"},
		"decode events: there is no column _offsets":  {"_offsets"},
	} {
		if _, err := decode.New(topic, columns, memory.NewGoAllocator()); err == nil || err.Error() != want {
			t.Errorf("%v: %v, want %s", columns, err, want)
		}
	}
}
