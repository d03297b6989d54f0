package decode

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/schemas"
)

// everyType has a field of every kind; the names are short so that a fuzzer hits them.
const everyType = `fields:
  a: INTEGER
  b: VARCHAR
  c: DOUBLE
  d: {type: "DECIMAL(5,2)"}
  e: {type: TIMESTAMP, unit: ms}
  f: BOOLEAN
  g: JSON
  h: VARCHAR[]
  i: STRUCT(x INTEGER, y VARCHAR[], z STRUCT(w DATE))
  j: MAP(INTEGER, VARCHAR)
  k: INTEGER[2][]
  l: HUGEINT
  m: BLOB
  n: UUID
  o: INTERVAL
  p: ENUM('x', 'y')
  q: TIMETZ
  r: MAP(VARCHAR, MAP(BOOLEAN, INTEGER[]))[]
  s: FLOAT
  t: BIT
  u: UBIGINT
  v: TIMESTAMP_NS
`

type rig struct {
	d     *Decoder
	alloc *memory.CheckedAllocator
}

func newRig(t testing.TB, want []string) rig {
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte(everyType))
	for _, p := range problems {
		t.Fatal(p)
	}
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	if want == nil {
		want = []string{"_extra"}
		for _, f := range topic.Fields {
			want = append(want, f.Name)
		}
	}
	d, err := New(topic, want, alloc)
	if err != nil {
		t.Fatal(err)
	}
	return rig{d, alloc}
}

// close frees everything and fails if a byte is left.
func (r rig) close(t interface{ Fatalf(string, ...any) }) {
	r.d.Close()
	if n := r.alloc.CurrentAlloc(); n != 0 {
		t.Fatalf("%d bytes were not given back", n)
	}
}

// judged appends by the judge alone.
func (r rig) judged(b []byte) (field, reason string) {
	field, reason = r.d.judge(b)
	if reason != "" {
		r.d.truncate()
		return field, reason
	}
	r.d.system.append(&schemas.Record{Value: b}, r.d.extra)
	r.d.rows++
	return "", ""
}

func (r rig) batch() (arrow.RecordBatch, string) {
	b := r.d.Batch()
	return b, fmt.Sprint(b)
}

const goodRecord = `{"a":1,"b":"x","h":["p",null],"i":{"y":["q"]},"j":{"1":"r"},"k":[[1,2]],"r":[{"s":{"true":[1]}}],"zz":1}`

// hold decodes the payload between two good records in three ways and demands one verdict and the same rows.
func hold(t interface{ Fatalf(string, ...any) }, both, judge, none rig, payload []byte) {
	good := []byte(goodRecord)
	var field, reason string
	for i, b := range [][]byte{good, payload, good} {
		bad := both.d.Append(&schemas.Record{Value: b})
		f, why := judge.judged(b)
		unwanted := none.d.Append(&schemas.Record{Value: b})
		if (bad != nil) != (why != "") || bad != nil && (bad.Field != f || bad.Reason != why) {
			t.Fatalf("%q: the fast way says %+v, the judge %q %q", b, bad, f, why)
		}
		if (unwanted != nil) != (bad != nil) || bad != nil && (bad.Field != unwanted.Field || bad.Reason != unwanted.Reason) {
			t.Fatalf("%q: wanting everything %+v, nothing %+v", b, bad, unwanted)
		}
		if i == 1 {
			field, reason = f, why
		}
	}
	if reason == "" && !jsontext.Value(payload).IsValid() {
		t.Fatalf("%q was accepted and is not JSON", payload)
	}
	if field != "" && reason == "" {
		t.Fatalf("%q: a field without a reason", payload)
	}
	if both.d.Len() != judge.d.Len() || both.d.Len() != none.d.Len() {
		t.Fatalf("%q: %d, %d and %d rows", payload, both.d.Len(), judge.d.Len(), none.d.Len())
	}
	x, shownX := both.batch()
	y, shownY := judge.batch()
	none.d.Batch().Release()
	defer x.Release()
	defer y.Release()
	if !array.RecordEqual(x, y) || shownX != shownY {
		t.Fatalf("%q: the fast way built\n%s\nthe judge\n%s", payload, shownX, shownY)
	}
	// A refused record leaves no trace: the rows are those of the two good ones.
	if reason != "" {
		judge.judged(good)
		judge.judged(good)
		z, shownZ := judge.batch()
		defer z.Release()
		if shownX != shownZ {
			t.Fatalf("%q was refused and left a trace:\n%s\nwithout it:\n%s", payload, shownX, shownZ)
		}
	}
}

var seeds = []string{
	goodRecord, `{}`, `{"a":1.0,"c":1e5,"d":"1.5","e":1700000000000,"l":12345678901234567890123}`,
	`{"a" : -5 ,"b":"\u00e9\n","g":{"x":[1, 2,{"y":"z"}]} , "m":"\\xAAb"}`,
	`{"i":{"x":1,"y":["a","b"],"z":{"w":"2001-01-10"}},"j":{"1":"a","2":null},"k":[[1,2],null,[3,4]]}`,
	`{"j":{"1":"a","1.0":"b"}}`, `{"a":1,"a":2}`, `{"x":{"a":1,"a":2}}`, "{\"b\":\"\xff\"}", `{"b":"\ud800"}`, `{"a":1}x`,
	`{"k":[[1]]}`, `{"i":{"q":1}}`, `{"h":[1]}`, `{"a":01}`, `{"a":-}`, `{"f":"true","g":null,"n":"550e8400-e29b-41d4-a716-446655440000"}`,
	`{"o":"1 day 04:05:06.5","p":"x","q":"12:30:00+02","r":[{"k":{"true":[1],"false":[]}}],"s":0.1,"t":"0101","u":18446744073709551615}`,
	`{"e":"2001-01-10T18:20:00.123+02:00","v":"2001-01-10 18:20:00.123456789"}`, `{"zz":[[[[]]]],"zy":{"a":{}},"zz ":1}`,
}

// FuzzDecode holds the fast pass and the judge to one verdict and the same rows, whichever columns are wanted.
func FuzzDecode(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		both, judge, none := newRig(t, nil), newRig(t, nil), newRig(t, []string{"_offset"})
		hold(t, both, judge, none, payload)
		both.close(t)
		judge.close(t)
		none.close(t)
	})
}

// TestBothPassesAgree builds records from fragments that are nearly right, which a fuzzer would need long to find.
func TestBothPassesAgree(t *testing.T) {
	values := []string{`1`, `-0`, `1.50`, `1e2`, `1e-2`, `99999999999999999999`, `"1"`, `"x"`, `"true"`, `true`, `null`, `""`, `"a\"b"`, `"é"`,
		`"\u0000"`, `"2001-01-10"`, `"2001-01-10T18:20:00Z"`, `"550e8400-e29b-41d4-a716-446655440000"`, `"12:30:00"`, `"0101"`, `"1 day"`,
		`[]`, `["a",null]`, `[[1,2]]`, `[ 1 ]`, `{}`, `{"x":1}`, `{"1":"a"}`, `{"1":"a","1e0":"b"}`, `{"x":1,"x":2}`, `[{"k":{"true":[1]}}]`,
		`{"y":["q"],"z":{"w":"2001-01-10"}}`, `tru`, `01`, `"`, `[1,]`, `{"x"}`, `"\x"`}
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v", "zz", `\u0061`, "A"}
	both, judge, none := newRig(t, nil), newRig(t, nil), newRig(t, []string{"_offset"})
	rapid.Check(t, func(t *rapid.T) {
		var b bytes.Buffer
		b.WriteString("{")
		for i := range rapid.IntRange(0, 6).Draw(t, "fields") {
			if i > 0 {
				b.WriteString(rapid.SampledFrom([]string{",", " ,\n"}).Draw(t, "comma"))
			}
			fmt.Fprintf(&b, `"%s":%s`, rapid.SampledFrom(names).Draw(t, "name"), rapid.SampledFrom(values).Draw(t, "value"))
		}
		b.WriteString(rapid.SampledFrom([]string{"}", "}", "}", " } ", "", "}}"}).Draw(t, "end"))
		hold(t, both, judge, none, b.Bytes())
	})
	both.close(t)
	judge.close(t)
	none.close(t)
}

// TestCompactIsJsontexts compares our removal of white space with jsontext's.
func TestCompactIsJsontexts(t *testing.T) {
	for _, s := range []string{` {"a" : [ 1 , 2.50 ,"x \" y\\" ] } `, `"\u00e9 \/"`, `[ ]`, ` 1E+2 `} {
		v := jsontext.Value(s)
		if err := v.Compact(); err != nil {
			t.Fatal(err)
		}
		if got := compact(nil, []byte(s)); string(got) != string(v) {
			t.Errorf("%q: %q, want %q", s, got, v)
		}
	}
}
