package decode

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/millrace/millrace/schemas"
)

const (
	maxUnknown  = 16  // undeclared names a record may have before the judge takes it
	maxRawDepth = 100 // levels of an undeclared or JSON value before the judge takes it
)

// fast decodes a record of a plain shape and says whether it did; if not, nothing is decided.
func (d *Decoder) fast(b []byte) bool {
	d.begin()
	p := space(b, 0)
	if p >= len(b) || b[p] != '{' {
		return false
	}
	p = space(b, p+1)
	if p < len(b) && b[p] == '}' {
		return space(b, p+1) == len(b) && d.finish() < 0
	}
	prev := 0
	for {
		guess := d.next[prev]
		var f *field
		if guess >= 0 {
			f = &d.fields[guess]
			if n := len(f.quoted); n == 0 || len(b)-p <= n || string(b[p:p+n]) != f.quoted {
				f = nil
			} else {
				p += n
			}
		}
		if f == nil {
			var name []byte
			if name, p = plainName(b, p); p < 0 {
				return false
			}
			i, declared := d.byName[string(name[1:len(name)-1])]
			if !declared {
				if p = d.skipUnknown(b, p, name); p < 0 {
					return false
				}
				goto next
			}
			d.next[prev] = i
			guess, f = i, &d.fields[i]
		}
		if f.seen == d.gen {
			return false
		}
		f.seen = d.gen
		d.found++
		prev = guess + 1
		p = space(b, p)
		if p < len(b) && b[p] == 'n' && f.notNull {
			return false
		}
		if n := f.node; n.id == schemas.Varchar && p < len(b) && b[p] == '"' {
			// The most common value, without the calls between here and the column.
			if end := special(b, p+1); end < len(b) && b[end] == '"' {
				if n.col != nil {
					n.col.text(b[p+1 : end])
				}
				p = end + 1
				goto next
			}
		}
		if p = d.value(f.node, b, p); p < 0 {
			return false
		}
	next:
		p = space(b, p)
		if p >= len(b) {
			return false
		}
		if b[p] == '}' {
			return space(b, p+1) == len(b) && d.finish() < 0
		}
		if b[p] != ',' {
			return false
		}
		p = space(b, p+1)
	}
}

// space skips white space.
func space(b []byte, p int) int {
	if p < len(b) && b[p] <= ' ' {
		return manySpaces(b, p)
	}
	return p
}

func manySpaces(b []byte, p int) int {
	for p < len(b) && (b[p] == ' ' || b[p] == '\n' || b[p] == '\r' || b[p] == '\t') {
		p++
	}
	return p
}

// plainName reads a name without escapes and its colon. It returns the name in its quotes and where the value may
// begin, -1 if the name is anything else.
func plainName(b []byte, p int) (name []byte, next int) {
	if p >= len(b) || b[p] != '"' {
		return nil, -1
	}
	end := special(b, p+1)
	for end < len(b) && b[end] >= utf8.RuneSelf {
		end = special(b, end+1)
	}
	if end >= len(b) || b[end] != '"' {
		return nil, -1
	}
	name = b[p : end+1]
	p = space(b, end+1)
	if p >= len(b) || b[p] != ':' || !utf8.Valid(name) {
		return nil, -1
	}
	return name, p + 1
}

// special finds the first byte from i on that is not plain ASCII text: a quote, a backslash, a control character or a
// part of a longer rune; len(b) if there is none.
func special(b []byte, i int) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:])
		// The lowest marked byte is exact; borrows can only mark bytes above one that is marked.
		mark := ((x ^ (ones * '"') - ones) | (x ^ (ones * '\\') - ones) | (x - ones*0x20) | x) & high
		if mark != 0 {
			return i + bits.TrailingZeros64(mark)>>3
		}
		i += 8
	}
	for i < len(b) && b[i] >= 0x20 && b[i] < 0x80 && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// str reads the string whose quote is at p. It returns its content, which may lie in d.unquoted, and where it ends;
// -1 if the judge must look.
func (d *Decoder) str(b []byte, p int) ([]byte, int) {
	end := special(b, p+1)
	if end < len(b) && b[end] == '"' {
		return b[p+1 : end], end + 1
	}
	escapes, wide := false, false
	for end < len(b) && b[end] != '"' {
		switch {
		case b[end] == '\\':
			escapes = true
			end++
		case b[end] >= utf8.RuneSelf:
			wide = true
			for end+1 < len(b) && b[end+1] >= utf8.RuneSelf {
				end++
			}
		default:
			return nil, -1
		}
		end = special(b, end+1)
	}
	if end >= len(b) {
		return nil, -1
	}
	if escapes {
		var err error
		d.unquoted, err = jsontext.AppendUnquote(d.unquoted[:0], b[p:end+1])
		if err != nil {
			return nil, -1
		}
		return d.unquoted, end + 1
	}
	if s := b[p+1 : end]; !wide || utf8.Valid(s) {
		return s, end + 1
	}
	return nil, -1
}

// value decodes the value at p for the node and returns where it ends, -1 if the judge must look.
func (d *Decoder) value(n *node, b []byte, p int) int {
	if p >= len(b) {
		return -1
	}
	c := b[p]
	if c == 'n' {
		if p = word(b, p, "null"); p > 0 {
			n.null()
		}
		return p
	}
	if n.id == schemas.JSON {
		end := d.raw(b, p)
		if end > 0 {
			d.work.text = compact(d.work.text[:0], b[p:end])
			n.json(d.work.text)
		}
		return end
	}
	ok := accepted
	switch c {
	case '"':
		var s []byte
		if s, p = d.str(b, p); p > 0 {
			ok = n.text(s)
		}
	case 't':
		if p = word(b, p, "true"); p > 0 {
			ok = n.boolean(true)
		}
	case 'f':
		if p = word(b, p, "false"); p > 0 {
			ok = n.boolean(false)
		}
	case '[':
		if n.id != schemas.List && n.id != schemas.Array {
			return -1
		}
		return d.list(n, b, p+1)
	case '{':
		switch n.id {
		case schemas.Struct:
			return d.object(n, b, p+1)
		case schemas.Map:
			return d.entries(n, b, p+1)
		}
		return -1
	default:
		if n.plainInt {
			if v, end := shortInt(b, p); end > 0 && v >= n.lo && (v < 0 || uint64(v) <= n.hi) {
				if n.col != nil {
					n.col.integer(v)
				}
				return end
			}
		}
		end := scanNumber(b, p)
		if end == p {
			return -1
		}
		ok = n.number(b[p:end])
		p = end
	}
	if ok != accepted {
		return -1
	}
	return p
}

func word(b []byte, p int, w string) int {
	if len(b)-p >= len(w) && string(b[p:p+len(w)]) == w {
		return p + len(w)
	}
	return -1
}

// more reads what stands after an element: a comma (and goes on), or the closing byte.
func more(b []byte, p int, closing byte) (next int, again bool) {
	p = space(b, p)
	switch {
	case p >= len(b):
		return -1, false
	case b[p] == ',':
		return space(b, p+1), true
	case b[p] == closing:
		return p + 1, false
	}
	return -1, false
}

func (d *Decoder) list(n *node, b []byte, p int) int {
	row, count := n.beginList(), 0
	p = space(b, p)
	if p < len(b) && b[p] == ']' {
		p++
	} else {
		for again := true; again; count++ {
			if p = d.value(n.kids[0], b, p); p < 0 {
				return -1
			}
			if p, again = more(b, p, ']'); p < 0 {
				return -1
			}
		}
	}
	if n.id == schemas.Array && count != n.typ.Size {
		return -1
	}
	n.endList(row)
	return p
}

func (d *Decoder) object(n *node, b []byte, p int) int {
	n.beginObject()
	p = space(b, p)
	if p < len(b) && b[p] == '}' {
		n.endObject()
		return p + 1
	}
	for again := true; again; {
		var name []byte
		if name, p = plainName(b, p); p < 0 {
			return -1
		}
		i, known := n.names[string(name[1:len(name)-1])]
		if !known || n.seen[i] {
			return -1
		}
		n.seen[i] = true
		if p = d.value(n.kids[i], b, space(b, p)); p < 0 {
			return -1
		}
		if p, again = more(b, p, '}'); p < 0 {
			return -1
		}
	}
	n.endObject()
	return p
}

func (d *Decoder) entries(n *node, b []byte, p int) int {
	row := n.beginList()
	first := n.kids[0].col.n
	index := map[string]struct{}{}
	p = space(b, p)
	if p < len(b) && b[p] == '}' {
		n.endList(row)
		return p + 1
	}
	for again := true; again; {
		var name []byte
		if name, p = plainName(b, p); p < 0 {
			return -1
		}
		n.beginEntry()
		if n.kids[0].text(name[1:len(name)-1]) != accepted || n.sameKey(first, index) {
			return -1
		}
		if p = d.value(n.kids[1], b, space(b, p)); p < 0 {
			return -1
		}
		if p, again = more(b, p, '}'); p < 0 {
			return -1
		}
	}
	n.endList(row)
	return p
}

// skipUnknown reads the value of an undeclared name and keeps both if _extra is wanted.
func (d *Decoder) skipUnknown(b []byte, p int, name []byte) int {
	if len(d.unknown) == maxUnknown {
		return -1
	}
	for _, was := range d.unknown {
		if string(was) == string(name) {
			return -1
		}
	}
	d.unknown = append(d.unknown, name)
	p = space(b, p)
	end := d.raw(b, p)
	if end > 0 {
		d.keep(name, b[p:end])
	}
	return end
}

// raw finds the end of any value and checks it strictly, -1 if the judge must look.
func (d *Decoder) raw(b []byte, p int) int {
	if p >= len(b) {
		return -1
	}
	switch b[p] {
	case '"':
		_, end := d.str(b, p)
		return end
	case 't':
		return word(b, p, "true")
	case 'f':
		return word(b, p, "false")
	case 'n':
		return word(b, p, "null")
	case '[', '{':
	default:
		if end := scanNumber(b, p); end > p {
			return end
		}
		return -1
	}
	depth := 0
	for i := p; i < len(b); i++ {
		switch b[i] {
		case '[', '{':
			if depth++; depth > maxRawDepth {
				return -1
			}
		case ']', '}':
			if depth--; depth == 0 {
				if !jsontext.Value(b[p : i+1]).IsValid() {
					return -1
				}
				return i + 1
			}
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		}
	}
	return -1
}

// compact appends a valid JSON value without the white space between its tokens.
func compact(dst, raw []byte) []byte {
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			first := i
			for i++; raw[i] != '"'; i++ {
				if raw[i] == '\\' {
					i++
				}
			}
			dst = append(dst, raw[first:i+1]...)
		case c > ' ':
			dst = append(dst, c)
		}
	}
	return dst
}
