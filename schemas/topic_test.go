package schemas_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/millrace/millrace/schemas"
)

const flightsYAML = `# flights
format: json
partitions: 4
key: origin
event_time: date
max_record: 10MiB
fields:
  date: TIMESTAMP NOT NULL
  delay: integer
  origin: VARCHAR not null
  landed: {type: TIMESTAMP_MS NOT NULL, unit: ms}
  price: DECIMAL(18,3)
  crew: STRUCT(a INTEGER, b VARCHAR[])
  "odd name": ENUM('a', 'b')
`

func TestParseTopic(t *testing.T) {
	topic, problems := schemas.ParseTopic("flights", "topics/flights.yaml", []byte(flightsYAML))
	for _, p := range problems {
		t.Fatal(p)
	}
	var got []string
	for _, f := range topic.Fields {
		got = append(got, fmt.Sprintf("%s|%s|%t|%s", f.Name, f.Type, f.NotNull, f.Unit))
	}
	want := []string{"date|TIMESTAMP|true|", "delay|INTEGER|false|", "origin|VARCHAR|true|", "landed|TIMESTAMP_MS|true|ms",
		"price|DECIMAL(18,3)|false|", "crew|STRUCT(a INTEGER, b VARCHAR[])|false|", "odd name|ENUM('a', 'b')|false|"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("fields\n got %q\nwant %q", got, want)
	}
	if topic.Partitions != 4 || topic.Key != "origin" || *topic.EventTime != (schemas.EventTime{Field: "date"}) || topic.MaxRecord != 10<<20 {
		t.Errorf("%+v", topic)
	}
	text, err := json.Marshal(topic)
	if err != nil {
		t.Fatal(err)
	}
	var back schemas.Topic
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(&back, topic) || back.Hash() != topic.Hash() {
		t.Errorf("JSON does not give the topic back: %v\n%s", err, text)
	}
}

func TestTopicDefaults(t *testing.T) {
	topic, problems := schemas.ParseTopic("t", "t.yaml", []byte("fields: {a: INTEGER}\nevent_time: {field: a, unit: s}\n"))
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	if topic.Format != "json" || topic.Partitions != 0 || topic.MaxRecord != 10<<20 || topic.EventTime.Unit != "s" {
		t.Errorf("%+v", topic)
	}
}

// The hash changes with what decides the decode, and with nothing else.
func TestTopicHash(t *testing.T) {
	hash := func(yaml string) string {
		topic, problems := schemas.ParseTopic("t", "t.yaml", []byte(yaml))
		for _, p := range problems {
			t.Fatal(p)
		}
		return topic.Hash()
	}
	base := hash("fields: {a: INTEGER, b: TIMESTAMP}")
	if len(base) != 64 {
		t.Errorf("%q", base)
	}
	for _, same := range []string{"fields: {a: int4, b: timestamp}", "partitions: 9\nkey: a\nevent_time: b\nmax_record: 1MiB\nfields: {a: INTEGER, b: TIMESTAMP}"} {
		if hash(same) != base {
			t.Errorf("another hash: %s", same)
		}
	}
	for _, other := range []string{"fields: {b: TIMESTAMP, a: INTEGER}", "fields: {a: BIGINT, b: TIMESTAMP}",
		"fields: {a: INTEGER NOT NULL, b: TIMESTAMP}", "fields: {a: INTEGER, b: {type: TIMESTAMP, unit: s}}", "fields: {a: INTEGER}"} {
		if hash(other) == base {
			t.Errorf("the same hash: %s", other)
		}
	}
}

// Every problem of a file is found at once, each where it stands.
func TestTopicProblems(t *testing.T) {
	for _, c := range []struct {
		yaml string
		want []string
	}{
		{"", []string{"t.yaml: the topic declares no fields (add `fields:` with lines like `name: VARCHAR`)"}},
		{"fields:\n", []string{"t.yaml:1:9: fields must be a mapping, not empty (write it as lines of `key: value`)"}},
		{"fields: {}\n", []string{"t.yaml:1:1: no fields are declared (add lines like `name: VARCHAR`)"}},
		{"a: [1\n", []string{"t.yaml:1:4: not YAML: sequence end token ']' not found (a file is lines of `key: value`, indented with spaces)"}},
		{"- a\n", []string{"t.yaml:1:1: the file must be a mapping, not a list (write it as lines of `key: value`)"}},
		{"partition: 4\npartitions: 0\nfields: {a: INTEGR}\nkey: b\n", []string{
			"t.yaml:1:1: unknown key partition in the topic (did you mean partitions?)",
			`t.yaml:2:13: partitions must be a whole number from 1 to 100000, not "0" (write a number like 4)`,
			"t.yaml:3:13: the field a: unknown type INTEGR (did you mean INTEGER?)",
			"t.yaml:4:6: key names the field b, which is not declared (did you mean a?)",
		}},
		{"format: avro\nmax_record: big\npartitions: [1]\nfields: {a: INTEGER}\n", []string{
			"t.yaml:1:9: only the format json is supported so far, not avro (write format: json)",
			`t.yaml:2:13: max_record is not a size: "big" (write a size like 10MiB or 500kB)`,
			"t.yaml:3:13: partitions must be a number, not a list",
		}},
		{"format: jsn\nfields: {a: INTEGER}\n", []string{`t.yaml:1:9: format must be one of json, avro, protobuf, csv, not "jsn" (did you mean json?)`}},
		{"fields:\n  a: INTEGER\n  A: INTEGER\n  a: VARCHAR\n  _offset: BIGINT\n  _Extra: JSON\n", []string{
			"t.yaml:4:3: fields has the key a twice, first in line 2 (remove one of the two)",
			"t.yaml:3:3: the fields a and A differ by letter case alone (SQL does not tell them apart: rename one in the source, or leave it out to keep it in _extra)",
			"t.yaml:5:3: the field _offset has the name of a column every topic has (leave it out: an undeclared field is kept in _extra)",
			"t.yaml:6:3: the field _Extra has the name of a column every topic has (leave it out: an undeclared field is kept in _extra)",
		}},
		{"fields: {a: INTEGER}\nfields: {b: INTEGER}\n", []string{"t.yaml:2:1: the file has the key fields twice, first in line 1 (remove one of the two)"}},
		{"fields:\n  a: {type: INTEGER, unit: ms}\n  b: {type: TIMESTAMP, unit: m, typ: x}\n  c: {unit: s}\n  d: {type: DECIMAL(18,3)}\n  e: [x]\n", []string{
			"t.yaml:2:22: unit is for a TIMESTAMP only, and the field a is INTEGER (remove unit, or make the field a TIMESTAMP)",
			"t.yaml:3:33: unknown key typ in the field b (did you mean type?)",
			`t.yaml:3:30: unit must be one of s, ms, us, ns, not "m" (did you mean s?)`,
			"t.yaml:4:3: the field c has no type (add type: with a type like VARCHAR)",
			`t.yaml:5:24: the type of the field d is cut at a comma (between { and } put a type with a comma in quotes: type: "DECIMAL(18,3)")`,
			"t.yaml:6:6: the type of the field e must be a type like VARCHAR, not a list",
		}},
		{"key: b\nevent_time: a\nfields: {a: INTEGER, b: 'INTEGER[]', c: VARCHAR}\n", []string{
			"t.yaml:1:6: the key b is INTEGER[], which cannot be a message key (choose a field of a plain type, like VARCHAR or INTEGER)",
			"t.yaml:2:13: event_time a is INTEGER and needs a unit (write event_time: {field: a, unit: ms})",
		}},
		{"event_time: {field: c, unit: ms}\nfields: {c: VARCHAR}\n", []string{"t.yaml:1:21: event_time c is VARCHAR, which is no time (choose a TIMESTAMP, a DATE, or an integer with a unit)"}},
		{"event_time: {field: c, unit: ms}\nfields: {c: TIMESTAMP}\n", []string{"t.yaml:1:30: event_time takes a unit only for a field of integers, and c is TIMESTAMP (remove it; a TIMESTAMP that arrives as integers takes the unit at the field: c: {type: TIMESTAMP, unit: ms})"}},
		{"event_time: {unit: ms}\nfields: {c: TIMESTAMP}\n", []string{"t.yaml:1:1: event_time names no field (write event_time: {field: ts, unit: ms})"}},
	} {
		topic, problems := schemas.ParseTopic("t", "t.yaml", []byte(c.yaml))
		var got []string
		for _, p := range problems {
			got = append(got, p.Error())
			if p.Kind != schemas.Usage {
				t.Errorf("%s: kind %v", p, p.Kind)
			}
		}
		if topic != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q\n got %s\nwant %s", c.yaml, strings.Join(got, "\n     "), strings.Join(c.want, "\n     "))
		}
	}
	for _, name := range []string{"", "a b", "..", "_millrace.x", "é"} {
		if _, problems := schemas.ParseTopic(name, "t.yaml", []byte("fields: {a: INTEGER}")); len(problems) != 1 {
			t.Errorf("the topic name %q: %v", name, problems)
		}
	}
}

// Whatever the file holds, reading it ends with a topic or problems.
func FuzzParseTopic(f *testing.F) {
	f.Add([]byte(flightsYAML))
	f.Add([]byte("fields: {a: &x INTEGER, b: *x}\n<<: {c: 1}\n? d\n: e\n"))
	f.Fuzz(func(t *testing.T, yaml []byte) {
		topic, problems := schemas.ParseTopic("t", "t.yaml", yaml)
		if (topic == nil) == (len(problems) == 0) {
			t.Fatalf("%v %v", topic, problems)
		}
	})
}
