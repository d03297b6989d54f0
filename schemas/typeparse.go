package schemas

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// typeAliases maps every spelling DuckDB takes for a type, in lower case, to the type.
var typeAliases = map[string]TypeID{
	"boolean": Boolean, "bool": Boolean, "logical": Boolean,
	"tinyint": TinyInt, "int1": TinyInt,
	"smallint": SmallInt, "int2": SmallInt, "int16": SmallInt, "short": SmallInt,
	"integer": Integer, "int": Integer, "int4": Integer, "int32": Integer, "integral": Integer, "signed": Integer,
	"bigint": BigInt, "int8": BigInt, "int64": BigInt, "long": BigInt, "oid": BigInt,
	"hugeint": HugeInt, "int128": HugeInt,
	"utinyint": UTinyInt, "uint8": UTinyInt,
	"usmallint": USmallInt, "uint16": USmallInt,
	"uinteger": UInteger, "uint32": UInteger,
	"ubigint": UBigInt, "uint64": UBigInt,
	"uhugeint": UHugeInt, "uint128": UHugeInt,
	"bignum": BigNum, "varint": BigNum,
	"float": Float, "float4": Float, "real": Float,
	"double": Double, "float8": Double, "double precision": Double,
	"decimal": Decimal, "dec": Decimal, "numeric": Decimal,
	"varchar": Varchar, "char": Varchar, "bpchar": Varchar, "nvarchar": Varchar, "text": Varchar, "string": Varchar,
	"character": Varchar, "character varying": Varchar, "char varying": Varchar,
	"blob": Blob, "bytea": Blob, "binary": Blob, "varbinary": Blob,
	"bit": Bit, "bitstring": Bit,
	"uuid": UUID, "guid": UUID, "json": JSON, "enum": Enum, "date": Date,
	"time": Time, "time without time zone": Time, "time_ns": TimeNS,
	"timetz": TimeTZ, "time with time zone": TimeTZ,
	"timestamp": Timestamp, "datetime": Timestamp, "timestamp_us": Timestamp, "timestamp without time zone": Timestamp,
	"timestamp_s": TimestampS, "timestamp_ms": TimestampMS, "timestamp_ns": TimestampNS,
	"timestamptz": TimestampTZ, "timestamp with time zone": TimestampTZ,
	"interval": Interval, "struct": Struct, "row": Struct, "list": List, "map": Map,
}

// noJSONForm are DuckDB types no JSON value decodes into.
var noJSONForm = map[string]bool{"union": true, "variant": true, "geometry": true, "null": true, "type": true, "any": true}

// longNames are the words that can follow a type's first word, longest first.
var longNames = [][]string{
	{"with", "time", "zone"}, {"without", "time", "zone"}, {"precision"}, {"varying"},
}

const maxTypeDepth = 32

// ParseType reads a type as DuckDB spells it, in any case and by any alias. Errors are sentences for the person who
// wrote the type, naming the nearest known one.
func ParseType(s string) (*Type, error) {
	p := &typeParser{text: s}
	t, err := p.parse(0)
	if err == nil {
		if rest := p.next(); rest.kind != 0 {
			err = fmt.Errorf("%s stands after the type %s", rest, t)
		}
	}
	if err == nil {
		err = p.err
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// typeToken is a word (w), quoted name ("), string ('), number (0), a sign of its own, or the end (0).
type typeToken struct {
	kind byte
	text string
	end  int
}

func (t typeToken) String() string {
	switch t.kind {
	case 0:
		return "the end"
	case '"':
		return QuoteIdent(t.text)
	case '\'':
		return "'" + t.text + "'"
	}
	return strconv.Quote(t.text)
}

type typeParser struct {
	text string
	pos  int
	err  error // the first unreadable token
}

func (p *typeParser) peek() typeToken {
	s, i := p.text, p.pos
	for i < len(s) && (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r') {
		i++
	}
	if i == len(s) {
		return typeToken{end: i}
	}
	switch c := s[i]; {
	case c == '"' || c == '\'':
		var b strings.Builder
		for j := i + 1; j < len(s); j++ {
			if s[j] != c {
				b.WriteByte(s[j])
			} else if j+1 < len(s) && s[j+1] == c {
				b.WriteByte(c)
				j++
			} else {
				return typeToken{c, b.String(), j + 1}
			}
		}
		if p.err == nil {
			p.err = fmt.Errorf("the quote %c is not closed", c)
		}
		return typeToken{end: len(s)}
	case c >= '0' && c <= '9':
		j := i
		for j < len(s) && s[j] >= '0' && s[j] <= '9' {
			j++
		}
		return typeToken{'0', s[i:j], j}
	case c == '_' || c >= utf8.RuneSelf || c|0x20 >= 'a' && c|0x20 <= 'z':
		j := i
		for j < len(s) && (s[j] == '_' || s[j] >= utf8.RuneSelf || s[j] >= '0' && s[j] <= '9' ||
			s[j]|0x20 >= 'a' && s[j]|0x20 <= 'z') {
			j++
		}
		return typeToken{'w', s[i:j], j}
	default:
		return typeToken{c, s[i : i+1], i + 1}
	}
}

func (p *typeParser) next() typeToken {
	t := p.peek()
	p.pos = t.end
	return t
}

func (p *typeParser) accept(kind byte) bool {
	if t := p.peek(); t.kind == kind {
		p.pos = t.end
		return true
	}
	return false
}

func (p *typeParser) expect(kind byte, after string) error {
	if t := p.next(); t.kind != kind {
		if p.err != nil {
			return p.err
		}
		return fmt.Errorf("%c is missing after %s: found %s", kind, after, t)
	}
	return nil
}

func (p *typeParser) parse(depth int) (*Type, error) {
	if depth > maxTypeDepth {
		return nil, fmt.Errorf("the type is nested deeper than %d levels", maxTypeDepth)
	}
	name := p.next()
	if p.err != nil {
		return nil, p.err
	}
	if name.kind == 0 {
		return nil, fmt.Errorf("a type is missing")
	}
	if name.kind != 'w' {
		return nil, fmt.Errorf("%s stands where a type is expected", name)
	}
	t, err := p.named(name.text, depth)
	for err == nil {
		switch next := p.peek(); {
		case next.kind == 'w' && strings.EqualFold(next.text, "array"):
			p.next()
			if p.peek().kind != '[' {
				t = &Type{ID: List, Elem: t}
				continue
			}
		case next.kind != '[':
			return t, nil
		}
		depth++
		t, err = p.brackets(t, depth)
	}
	return nil, err
}

func (p *typeParser) brackets(elem *Type, depth int) (*Type, error) {
	p.next()
	if depth > maxTypeDepth {
		return nil, fmt.Errorf("the type is nested deeper than %d levels", maxTypeDepth)
	}
	t := &Type{ID: List, Elem: elem}
	if n := p.peek(); n.kind == '0' {
		p.next()
		size, err := strconv.Atoi(n.text)
		if err != nil || size < 1 || size > 100000 {
			return nil, fmt.Errorf("an array's length is 1 to 100000, not %s", n.text)
		}
		t.ID, t.Size = Array, size
	}
	return t, p.expect(']', "["+strings.TrimPrefix(strconv.Itoa(t.Size), "0"))
}

func (p *typeParser) named(first string, depth int) (*Type, error) {
	name := strings.ToLower(first)
	id, known := typeAliases[name]
	for _, words := range longNames {
		long, at := name, p.pos
		for _, w := range words {
			if t := p.next(); t.kind != 'w' || !strings.EqualFold(t.text, w) {
				long = ""
				break
			}
			long += " " + w
		}
		if lid, ok := typeAliases[long]; ok {
			id, known = lid, true
			break
		}
		p.pos = at
	}
	switch {
	case noJSONForm[name]:
		return nil, fmt.Errorf("%s cannot be a field's type: no JSON value decodes into it; JSON takes any value", strings.ToUpper(first))
	case !known:
		if near := Nearest(first, typeWords()); near != "" {
			return nil, fmt.Errorf("unknown type %s: did you mean %s?", first, strings.ToUpper(near))
		}
		return nil, fmt.Errorf("unknown type %s: see DuckDB's data types", first)
	}
	t := &Type{ID: id}
	switch id {
	case Struct:
		return t, p.structFields(t, depth)
	case Map:
		return t, p.mapTypes(t, depth)
	case Enum:
		return t, p.enumValues(t)
	case List:
		if err := p.expect('(', "LIST"); err != nil {
			return nil, err
		}
		elem, err := p.parse(depth + 1)
		if err != nil {
			return nil, err
		}
		t.Elem = elem
		return t, p.expect(')', "LIST("+elem.String())
	}
	return t, p.modifiers(t, name)
}

func typeWords() []string {
	words := make([]string, 0, len(typeAliases))
	for w := range typeAliases {
		words = append(words, w)
	}
	slices.Sort(words)
	return words
}

// modifiers reads the numbers in parentheses that some scalar types take.
func (p *typeParser) modifiers(t *Type, name string) error {
	if t.ID == Decimal {
		t.Width, t.Scale = 18, 3
	}
	if !p.accept('(') {
		return nil
	}
	var args []int
	for {
		n := p.next()
		v, err := strconv.Atoi(n.text)
		if n.kind != '0' || err != nil {
			return fmt.Errorf("%s stands where %s( takes a number", n, strings.ToUpper(name))
		}
		args = append(args, v)
		if !p.accept(',') {
			break
		}
	}
	if err := p.expect(')', strings.ToUpper(name)+"("); err != nil {
		return err
	}
	switch {
	case t.ID == Decimal && len(args) <= 2:
		t.Width, t.Scale = args[0], 0
		if len(args) == 2 {
			t.Scale = args[1]
		}
		if t.Width < 1 || t.Width > 38 {
			return fmt.Errorf("a DECIMAL's width is 1 to 38, not %d", t.Width)
		}
		if t.Scale > t.Width {
			return fmt.Errorf("a DECIMAL's scale (%d) cannot be greater than its width (%d)", t.Scale, t.Width)
		}
	case t.ID == Varchar && len(args) == 1: // DuckDB ignores the length as well
	case name == "timestamp" && t.ID == Timestamp && len(args) == 1 && args[0] <= 9:
		switch n := args[0]; {
		case n == 0:
			t.ID = TimestampS
		case n <= 3:
			t.ID = TimestampMS
		case n > 6:
			t.ID = TimestampNS
		}
	default:
		return fmt.Errorf("%s does not take these parameters: %v", strings.ToUpper(name), args)
	}
	return nil
}

func (p *typeParser) structFields(t *Type, depth int) error {
	if err := p.expect('(', "STRUCT"); err != nil {
		return err
	}
	for {
		name := p.next()
		if p.err != nil {
			return p.err
		}
		if name.kind != 'w' && name.kind != '"' {
			return fmt.Errorf("%s stands where STRUCT( takes a field's name", name)
		}
		if name.text == "" {
			return fmt.Errorf("a STRUCT's field has no name")
		}
		for _, f := range t.Fields {
			if strings.EqualFold(f.Name, name.text) {
				return fmt.Errorf("the STRUCT has the field %s twice (letter case does not count in SQL)", name.text)
			}
		}
		ft, err := p.parse(depth + 1)
		if err != nil {
			return fmt.Errorf("STRUCT field %s: %w", name.text, err)
		}
		t.Fields = append(t.Fields, Field{Name: name.text, Type: ft})
		if !p.accept(',') {
			break
		}
	}
	return p.expect(')', "the STRUCT's field "+t.Fields[len(t.Fields)-1].Name)
}

func (p *typeParser) mapTypes(t *Type, depth int) (err error) {
	if err = p.expect('(', "MAP"); err != nil {
		return err
	}
	if t.Key, err = p.parse(depth + 1); err != nil {
		return fmt.Errorf("MAP key: %w", err)
	}
	if t.Key.ID == Interval {
		return fmt.Errorf("a MAP's key cannot be INTERVAL: two of its texts can be one value (1 month, 30 days)")
	}
	if t.Key.Nested() || t.Key.ID == JSON {
		return fmt.Errorf("a MAP's key cannot be %s: it is written as an object's name in JSON", t.Key)
	}
	if err = p.expect(',', "the MAP's key "+t.Key.String()); err != nil {
		return err
	}
	if t.Elem, err = p.parse(depth + 1); err != nil {
		return fmt.Errorf("MAP value: %w", err)
	}
	return p.expect(')', "the MAP's value "+t.Elem.String())
}

func (p *typeParser) enumValues(t *Type) error {
	if err := p.expect('(', "ENUM"); err != nil {
		return err
	}
	for {
		v := p.next()
		if p.err != nil {
			return p.err
		}
		if v.kind != '\'' {
			return fmt.Errorf("%s stands where ENUM( takes a text in single quotes", v)
		}
		if slices.Contains(t.Values, v.text) {
			return fmt.Errorf("the ENUM has the value '%s' twice", v.text)
		}
		t.Values = append(t.Values, v.text)
		if !p.accept(',') {
			break
		}
	}
	return p.expect(')', "the ENUM's value '"+t.Values[len(t.Values)-1]+"'")
}
