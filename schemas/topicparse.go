package schemas

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

var (
	topicKeys     = []string{"format", "partitions", "key", "event_time", "max_record", "fields"}
	fieldKeys     = []string{"type", "unit"}
	eventTimeKeys = []string{"field", "unit"}
	formats       = []string{"json", "avro", "protobuf", "csv"}
	units         = []string{"s", "ms", "us", "ns"}
	topicName     = regexp.MustCompile(`^[A-Za-z0-9._-]{1,200}$`)
)

const maxPartitions = 100_000

// ParseTopic reads a topic file. It returns every problem of the file, each with its line and column; the Topic is
// nil if there is one.
func ParseTopic(name, file string, yaml []byte) (*Topic, []*Problem) {
	p := &topicParser{
		yamlFile: yamlFile{file: file},
		topic:    &Topic{Name: name, Format: "json", MaxRecord: DefaultMaxRecord},
	}
	switch {
	case !topicName.MatchString(name) || name == "." || name == "..":
		p.problem(nil, "rename the file: letters, digits, . _ and - only, at most 200", "%q cannot be a topic's name", name)
	case strings.HasPrefix(name, "_millrace"):
		p.problem(nil, "rename the file", "topic names that start with _millrace are millrace's own")
	}
	p.read(p.document(yaml))
	if len(p.problems) > 0 {
		return nil, p.problems
	}
	return p.topic, nil
}

// ParseFields reads the fields of a file that declares other things too: its other keys are passed over. It returns every
// problem of the fields.
func ParseFields(name, file string, yaml []byte, others ...string) ([]Field, []*Problem) {
	p := &topicParser{yamlFile: yamlFile{file: file}, topic: &Topic{Name: name}}
	p.read(slices.DeleteFunc(p.document(yaml), func(e yamlEntry) bool { return slices.Contains(others, e.key) }))
	if len(p.problems) > 0 {
		return nil, p.problems
	}
	return p.topic.Fields, nil
}

type topicParser struct {
	yamlFile
	topic *Topic
	// broken holds declared fields with a problem of their own: naming one as key is no second problem.
	broken []string
}

func (p *topicParser) read(entries []yamlEntry) {
	var key, eventTime, fields *yamlEntry
	syntax := len(p.problems) > 0
	for i, e := range entries {
		switch e.key {
		case "format":
			if f, ok := p.choice(e, formats); ok && f != "json" {
				p.problem(e.value, "write format: json", "only the format json is supported so far, not %s", f)
			}
		case "partitions":
			p.partitions(e)
		case "max_record":
			p.maxRecord(e)
		case "key":
			key = &entries[i]
		case "event_time":
			eventTime = &entries[i]
		case "fields":
			fields = &entries[i]
			p.fields(e)
		default:
			p.unknown(e, topicKeys, "the topic")
		}
	}
	if fields == nil && !syntax {
		p.problem(nil, "add `fields:` with lines like `name: VARCHAR`", "the topic declares no fields")
	}
	if key != nil {
		p.key(*key)
	}
	if eventTime != nil {
		p.eventTime(*eventTime)
	}
}

func (p *topicParser) partitions(e yamlEntry) {
	s, ok := p.text(e, "a number")
	if !ok {
		return
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxPartitions {
		p.problem(e.value, "write a number like 4", "partitions must be a whole number from 1 to %d, not %q", maxPartitions, s)
		return
	}
	p.topic.Partitions = n
}

var sizeText = regexp.MustCompile(`^([0-9]{1,15}) ?(B|kB|KB|KiB|MB|MiB|GB|GiB)?$`)

func (p *topicParser) maxRecord(e yamlEntry) {
	s, ok := p.text(e, "a size")
	if !ok {
		return
	}
	scale := map[string]int64{"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "KiB": 1 << 10, "MB": 1e6, "MiB": 1 << 20, "GB": 1e9, "GiB": 1 << 30}
	m := sizeText.FindStringSubmatch(s)
	if m == nil {
		p.problem(e.value, "write a size like 10MiB or 500kB", "max_record is not a size: %q", s)
		return
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	unit := scale[m[2]]
	if err != nil || n < 1 || n > 1<<30/unit {
		p.problem(e.value, "write a size like 10MiB", "max_record must be from 1 byte to 1GiB, not %s", s)
		return
	}
	p.topic.MaxRecord = n * unit
}

func (p *topicParser) fields(e yamlEntry) {
	entries := p.mapping(e.value, "fields")
	if len(entries) == 0 && len(p.problems) == 0 {
		p.problem(e.at, "add lines like `name: VARCHAR`", "no fields are declared")
	}
	system := SystemFields()
	lower := map[string]yamlEntry{}
	for _, fe := range entries {
		before := len(p.problems)
		f := Field{Name: fe.key}
		switch was, clash := lower[strings.ToLower(fe.key)]; {
		case fe.key == "" || strings.ContainsRune(fe.key, 0):
			p.problem(fe.at, "give the field a name", "%q cannot be a field's name", fe.key)
		case clash:
			p.problem(fe.at, "SQL does not tell them apart: rename one in the source, or leave it out to keep it in _extra",
				"the fields %s and %s differ by letter case alone", was.key, fe.key)
		case slices.ContainsFunc(system, func(s Field) bool { return strings.EqualFold(s.Name, fe.key) }):
			p.problem(fe.at, "leave it out: an undeclared field is kept in _extra",
				"the field %s has the name of a column every topic has", fe.key)
		}
		lower[strings.ToLower(fe.key)] = fe
		p.field(&f, fe)
		if len(p.problems) > before {
			p.broken = append(p.broken, f.Name)
		}
		p.topic.Fields = append(p.topic.Fields, f)
	}
}

func (p *topicParser) field(f *Field, e yamlEntry) {
	typed := e
	var unit *yamlEntry
	if m, long := e.value.(*ast.MappingNode); long {
		entries := p.mapping(m, "the field "+e.key)
		typed.value = nil
		for i, fe := range entries {
			switch fe.key {
			case "type":
				typed = fe
			case "unit":
				unit = &entries[i]
			default:
				if strings.ContainsAny(fe.key, "()") {
					p.problem(fe.at, "between { and } put a type with a comma in quotes: type: \"DECIMAL(18,3)\"",
						"the type of the field %s is cut at a comma", e.key)
					return
				}
				p.unknown(fe, fieldKeys, "the field "+e.key)
			}
		}
		if typed.value == nil {
			p.problem(e.at, "add type: with a type like VARCHAR", "the field %s has no type", e.key)
			return
		}
	}
	text, ok := p.text(yamlEntry{"the type of the field " + e.key, typed.at, typed.value}, "a type like VARCHAR")
	if !ok {
		return
	}
	text, f.NotNull = cutNotNull(text)
	t, err := ParseType(text)
	if err != nil {
		message, hint := err.Error(), "any DuckDB type is taken, like INTEGER, DECIMAL(18,3), STRUCT(a INTEGER, b VARCHAR[])"
		if before, near, found := strings.Cut(message, ": did you mean "); found {
			message, hint = before, "did you mean "+near
		}
		p.problem(typed.value, hint, "the field %s: %s", e.key, message)
		return
	}
	f.Type = t
	if unit == nil {
		return
	}
	if f.Unit, ok = p.choice(*unit, units); ok && !t.IsTimestamp() {
		p.problem(unit.at, "remove unit, or make the field a TIMESTAMP", "unit is for a TIMESTAMP only, and the field %s is %s", e.key, t)
	}
}

var notNull = regexp.MustCompile(`(?i)\s+NOT\s+NULL\s*$`)

func cutNotNull(s string) (string, bool) {
	if at := notNull.FindStringIndex(s); at != nil {
		return s[:at[0]], true
	}
	return s, false
}

// named finds the field that key or event_time names; nil if there is a problem with it.
func (p *topicParser) named(e yamlEntry, at ast.Node, name string) *Field {
	names := make([]string, len(p.topic.Fields))
	for i := range p.topic.Fields {
		if names[i] = p.topic.Fields[i].Name; names[i] == name {
			if slices.Contains(p.broken, name) {
				return nil
			}
			return &p.topic.Fields[i]
		}
	}
	hint := "name one of the declared fields"
	if near := Nearest(name, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	p.problem(at, hint, "%s names the field %s, which is not declared", e.key, name)
	return nil
}

func (p *topicParser) key(e yamlEntry) {
	name, ok := p.text(e, "a field's name")
	if !ok {
		return
	}
	p.topic.Key = name
	if f := p.named(e, e.value, name); f != nil && (f.Type.Nested() || f.Type.ID == JSON) {
		p.problem(e.value, "choose a field of a plain type, like VARCHAR or INTEGER", "the key %s is %s, which cannot be a message key", name, f.Type)
	}
}

func (p *topicParser) eventTime(e yamlEntry) {
	et := &EventTime{}
	at := e.value
	var unitAt ast.Node
	if m, long := e.value.(*ast.MappingNode); long {
		for _, ee := range p.mapping(m, "event_time") {
			switch ee.key {
			case "field":
				et.Field, _ = p.text(ee, "a field's name")
				at = ee.value
			case "unit":
				et.Unit, _ = p.choice(ee, units)
				unitAt = ee.value
			default:
				p.unknown(ee, eventTimeKeys, "event_time")
			}
		}
		if et.Field == "" && at == e.value {
			p.problem(e.at, "write event_time: {field: ts, unit: ms}", "event_time names no field")
		}
	} else {
		et.Field, _ = p.text(e, "a field's name")
	}
	if et.Field == "" {
		return
	}
	p.topic.EventTime = et
	f := p.named(e, at, et.Field)
	switch {
	case f == nil:
	case f.Type.IsInteger():
		if unitAt == nil {
			p.problem(at, "write event_time: {field: "+et.Field+", unit: ms}", "event_time %s is %s and needs a unit", et.Field, f.Type)
		}
	case !f.Type.IsTimestamp() && f.Type.ID != Date:
		p.problem(at, "choose a TIMESTAMP, a DATE, or an integer with a unit", "event_time %s is %s, which is no time", et.Field, f.Type)
	case unitAt != nil:
		p.problem(unitAt, "remove it; a TIMESTAMP that arrives as integers takes the unit at the field: "+et.Field+": {type: "+f.Type.String()+", unit: "+et.Unit+"}",
			"event_time takes a unit only for a field of integers, and %s is %s", et.Field, f.Type)
	}
}
