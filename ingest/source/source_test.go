package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"

	"github.com/millrace/millrace/schemas"
)

func topic(t testing.TB, fields string) *schemas.Topic {
	t.Helper()
	tp, problems := schemas.ParseTopic("t", "t.yaml", []byte("max_record: 1KiB\nfields:\n"+fields))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	return tp
}

type row struct {
	line int64
	text string // "over" for a payload over the limit
}

func rows(t testing.TB, s Source) (out []row) {
	t.Helper()
	for {
		line, payload, err := s.Next()
		var long *TooLongError
		switch {
		case errors.Is(err, io.EOF):
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return out
		case errors.As(err, &long):
			out = append(out, row{line, "over"})
		case err != nil:
			t.Fatal(err)
		default:
			out = append(out, row{line, string(payload)})
		}
	}
}

func read(t testing.TB, text string, o Options) []row {
	t.Helper()
	o.Stdin = strings.NewReader(text)
	s, err := Open("-", o)
	if err != nil {
		t.Fatal(err)
	}
	return rows(t, s)
}

func TestNDJSON(t *testing.T) {
	o := Options{Topic: topic(t, "  a: INTEGER")}
	long := strings.Repeat("x", 1025)
	huge := strings.Repeat("y", 3<<20)
	got := read(t, "\ufeff{1}\r\n\n \t\r\n"+long+"\n{2}\n"+huge+"\n"+long[1:]+"\r\n{3}", o)
	want := []row{{1, "{1}"}, {4, "over"}, {5, "{2}"}, {6, "over"}, {7, long[1:]}, {8, "{3}"}}
	if !slices.Equal(got, want) {
		t.Errorf("%.300v", got)
	}
	if got := read(t, "", o); len(got) != 0 {
		t.Errorf("nothing gave %v", got)
	}
	o.Limit = 2 << 20 // longer than the read buffer, within the limit
	wide := strings.Repeat("z", 2<<20)
	if got := read(t, wide+"\n"+huge+"\n"+wide, o); len(got) != 3 || got[0].text != wide || got[1].text != "over" || got[2] != (row{3, wide}) {
		t.Errorf("%d rows", len(got))
	}
}

func TestCSV(t *testing.T) {
	o := Options{Format: CSV, Topic: topic(t, "  a: INTEGER\n  s: STRUCT(x INTEGER)\n  l: INTEGER[]\n  j: JSON\n  v: VARCHAR")}
	in := "\ufeffa,s,\"l\",j,\"v\"\"\",\r\n" +
		"1,\"{\"\"x\"\": 2}\",\"[1,2]\",null,plain,\n" +
		",,\"\",{,\"a\"\"b\nc,d\\\",e\n" +
		"\n" +
		"12\n" +
		"1,2,3,4,5,6,7\n" +
		"\"x\"y,2\n" +
		"\"" + strings.Repeat("q", 600) + "\n" + strings.Repeat("q", 600) + "\",1\n" +
		"a\"b,\"\"\n" +
		"\"open"
	want := []row{
		{2, `{"a":"1","s":{"x": 2},"l":[1,2],"j":null,"v\"":"plain","column6":null}`},
		{3, `{"a":null,"s":null,"l":"","j":"{","v\"":"a\"b\nc,d\\","column6":"e"}`},
		{6, `{"a":"12"}`},
		{7, `{"a":"1","s":2,"l":3,"j":4,"v\"":"5","column6":"6","column7":"7"}`},
		{8, `"x"y,2`},
		{9, "over"},
		{11, `{"a":"a\"b","s":""}`},
		{12, `"open`},
	}
	got := read(t, in, o)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("row %d: got %.200v, want %.200v", i, got[min(i, len(got)-1):], want[min(i, len(want)-1):])
		}
	}
	long, huge := strings.Repeat("q", 1100), strings.Repeat("q", 3<<20)
	for name, row := range map[string]string{
		"a line over the limit opens a cell":              "1,\"" + long + "\n2,3\nend\",4",
		"one that is longer than the buffer":              "1,\"" + huge + "\n2,3\n\",4",
		"one within a cell":                               "1,\"a\n" + long + "\n2,3\n\",4",
		"two within a cell":                               "1,\"a\n" + long + "\n" + huge + "\n2,3\n\",4",
		"one that closes the cell and opens the next":     "1,\"a\n" + long + "\",\"\n2,3\n\",4",
		"doubled quotes":                                  "1,\"a\n" + long + "\"\"\n2,3\n\"\"\n\",4",
		"quotes in a cell without quotes":                 "1," + long + "\"x",
		"a cell that is closed":                           "\"1\"," + long,
		"an over-long line that is the last of its row":   "1,\"a\n" + long + "\"",
		"a row over the limit with a quote in plain text": "\"" + strings.Repeat("q", 600) + "\n" + strings.Repeat("q", 600) + "\",a\"b",
	} {
		got := read(t, "a,b,c\n"+row+"\n7,8\n", o)
		if len(got) != 2 || got[0].text != "over" || got[1].text != `{"a":"7","b":"8"}` {
			t.Errorf("%s: %.200v", name, got)
		}
	}
	for _, r := range got[:4] {
		if !json.Valid([]byte(r.text)) {
			t.Errorf("not JSON: %s", r.text)
		}
	}
	o.Format = TSV
	if got := read(t, "a\tv\n1\tx,y\n", o); len(got) != 1 || got[0].text != `{"a":"1","v":"x,y"}` {
		t.Errorf("%v", got)
	}
	o.Stdin = strings.NewReader("a,b,a\n1,2,3\n")
	o.Format = CSV
	if _, err := Open("-", o); schemas.KindOf(err) != schemas.Usage || !strings.Contains(err.Error(), `columns 1 and 3 are both named "a"`) {
		t.Errorf("a name twice: %v", err)
	}
	if got := read(t, "", o); len(got) != 0 {
		t.Errorf("an empty file gave %v", got)
	}
}

func TestParquetTypes(t *testing.T) {
	o := Options{Topic: topic(t, "  bl: BLOB"), Limit: 1 << 20}
	s, err := Open("testdata/types.parquet", o)
	if err != nil {
		t.Fatal(err)
	}
	got := rows(t, s)
	want := []row{
		{1, `{"i":1,"bo":true,"bi":-9223372036854775808,"ub":18446744073709551615,"f":0.1,"d":1e+300,"dec4":-0.05,"dec18":234567890123.456789,"dec38":-12345678901234567890123456789.012345678,` +
			`"s":"a\"b\\\nü","bl":"\\xAA\\x00b","da":"1969-12-31","ti":"23:59:59.000001","ts":"1969-12-31T23:59:59.999999","tms":"2001-01-01T00:00:00.125","tns":"2001-01-01T00:00:00.000000001","tz":"2001-01-01T10:00:00Z",` +
			`"u":"eeccb8c5-9943-b2bb-bb5e-222f4e14b687","j":{"x": [1, null]},"iv":"14 months 3 days 1500 milliseconds",` +
			`"li":[1,null,3],"ll":[[1],[],null],"st":{"a":1,"b":["x",null]},"m":{"k":1.5,"l":null},"ls":[{"a":1,"b":["y"]},null]}`},
		{2, `{"i":null,"bo":null,"bi":null,"ub":null,"f":null,"d":null,"dec4":null,"dec18":null,"dec38":null,"s":null,"bl":null,"da":null,"ti":null,"ts":null,"tms":null,"tns":null,"tz":null,"u":null,"j":null,"iv":null,"li":null,"ll":null,"st":null,"m":null,"ls":null}`},
		{3, `{"i":3,"bo":false,"bi":0,"ub":0,"f":"NaN","d":"Infinity","dec4":0.00,"dec18":0.000000,"dec38":0.000000000,"s":"","bl":"","da":"9999-12-31","ti":"00:00:00","ts":"2001-01-01T00:00:00","tms":null,"tns":null,"tz":null,"u":null,"j":null,"iv":null,"li":[],"ll":[],"st":{"a":null,"b":[]},"m":{},"ls":[]}`},
	}
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Errorf("row %d:\n got %v\nwant %v", i, got[min(i, len(got)-1)], want[i])
		}
	}
}

func TestParquetOldForms(t *testing.T) {
	type old struct {
		At   deprecated.Int96
		Text []byte
		Many []int32 // a bare repeated field
		Key  map[int32]string
	}
	var b bytes.Buffer
	w := parquet.NewGenericWriter[old](&b)
	// 1970-01-02 is Julian day 2440589; 1 s + 1 ns of it.
	if _, err := w.Write([]old{
		{At: deprecated.Int96{1_000_000_001, 0, 2440589}, Text: []byte("plain"), Many: []int32{1, 2}, Key: map[int32]string{7: "x"}},
		{At: deprecated.Int96{0, 0, 2440588}, Text: []byte{0xff}},
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got := read(t, b.String(), Options{Format: Parquet, Topic: topic(t, "  a: INTEGER")})
	want := []row{
		{1, `{"At":"1970-01-02T00:00:01.000000001","Text":"plain","Many":[1,2],"Key":{"7":"x"}}`},
		{2, `{"At":"1970-01-01T00:00:00","Text":"\\xFF","Many":[],"Key":{}}`},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestPackedFilesAndNames(t *testing.T) {
	dir := t.TempDir()
	plain := []byte("{\"a\":1}\n{\"a\":2}\n")
	var gz, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	g.Write(plain)
	g.Close()
	z, err := zstd.NewWriter(&zs)
	if err != nil {
		t.Fatal(err)
	}
	z.Write(plain)
	z.Close()
	types, err := os.ReadFile("testdata/types.parquet")
	if err != nil {
		t.Fatal(err)
	}
	var pgz bytes.Buffer
	g.Reset(&pgz)
	g.Write(types)
	g.Close()
	o := Options{Topic: topic(t, "  a: INTEGER"), Limit: 1 << 20}
	for name, c := range map[string]struct {
		data []byte
		n    int
	}{"x.ndjson": {plain, 2}, "x.json.gz": {gz.Bytes(), 2}, "X.LOG.ZST": {zs.Bytes(), 2}, "t.parquet.gz": {pgz.Bytes(), 3}, "c.csv": {[]byte("a\n1\n"), 1}, "two.gz": {append(gz.Bytes(), gz.Bytes()...), 4}} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, c.data, 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := rows(t, s); len(got) != c.n {
			t.Errorf("%s: %v", name, got)
		}
		if Size(path) != int64(len(c.data)) {
			t.Errorf("%s: size %d", name, Size(path))
		}
	}
	for name, data := range map[string]string{"bad.parquet": "PAR1 no", "bad.gz": "no", "bad.csv": "\"open"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, o); schemas.KindOf(err) != schemas.Usage {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, path := range []string{filepath.Join(dir, "none.csv"), dir} {
		if _, err := Open(path, o); schemas.KindOf(err) != schemas.Usage {
			t.Errorf("%s: %v", path, err)
		}
	}
	cut := filepath.Join(dir, "cut.gz")
	if err := os.WriteFile(cut, gz.Bytes()[:gz.Len()-6], 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := Open(cut, o)
	for err == nil {
		_, _, err = s.Next()
	}
	if errors.Is(err, io.EOF) {
		t.Error("a file that was cut short ended like a whole one")
	}
}

func FuzzCSV(f *testing.F) {
	f.Add("a,b\n1,\"x\"\"y\"\n")
	f.Add("a\n\"\n\n\"\"\n")
	f.Fuzz(func(t *testing.T, in string) {
		s, err := Open("-", Options{Format: CSV, Topic: &schemas.Topic{}, Limit: 64, Stdin: strings.NewReader(in)})
		if err != nil {
			return
		}
		for _, r := range rows(t, s) {
			if len(r.text) > 64 {
				t.Errorf("a payload of %d bytes", len(r.text))
			}
		}
	})
}
