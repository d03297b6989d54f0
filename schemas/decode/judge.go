package decode

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/millrace/millrace/schemas"
)

// fault is why a value was refused. path leads from the declared field to the value, like .stops[2].
type fault struct {
	path, reason string
}

// judge decodes a record by jsontext and returns the field at fault and the reason, an empty reason if it was
// accepted. Order of reasons: what is wrong with the JSON, then the fields in the record's order, then missing ones in
// the declared order.
func (d *Decoder) judge(b []byte) (field, reason string) {
	if field, reason = d.syntax(b); reason != "" {
		return field, reason
	}
	d.begin()
	dec := d.reader(b, jsontext.AllowDuplicateNames(true))
	if kind := dec.PeekKind(); kind != '{' {
		return "", "the record is " + kindWords(kind) + ", not a JSON object"
	}
	mustToken(dec)
	for dec.PeekKind() != '}' {
		quoted := bytes.Clone(mustValue(dec))
		name := d.unquote(quoted)
		i, declared := d.byName[string(name)]
		if !declared {
			d.keep(quoted, mustValue(dec))
			continue
		}
		f := &d.fields[i]
		f.seen = d.gen
		d.found++
		if f.notNull && dec.PeekKind() == 'n' {
			return f.name, "is null, and the field is declared NOT NULL"
		}
		if bad := d.judgeValue(dec, f.node); bad != nil {
			if bad.path != "" {
				return f.name, f.name + bad.path + ": " + bad.reason
			}
			return f.name, bad.reason
		}
	}
	if i := d.finish(); i >= 0 {
		return d.fields[i].name, "is missing, and the field is declared NOT NULL"
	}
	return "", ""
}

func (d *Decoder) reader(b []byte, opts ...jsontext.Options) *jsontext.Decoder {
	d.source = *bytes.NewBuffer(b)
	d.judgeOf.Reset(&d.source, opts...)
	return d.judgeOf
}

// mustToken and mustValue read what syntax has found valid before.
func mustToken(dec *jsontext.Decoder) {
	if _, err := dec.ReadToken(); err != nil {
		panic(fmt.Sprintf("decode: valid JSON read again: %v", err))
	}
}

func mustValue(dec *jsontext.Decoder) jsontext.Value {
	v, err := dec.ReadValue()
	if err != nil {
		panic(fmt.Sprintf("decode: valid JSON read again: %v", err))
	}
	return v
}

func (d *Decoder) unquote(quoted []byte) []byte {
	d.unquoted, _ = jsontext.AppendUnquote(d.unquoted[:0], quoted)
	return d.unquoted
}

// syntax checks that the record is one JSON value, strictly.
func (d *Decoder) syntax(b []byte) (field, reason string) {
	if len(bytes.Trim(b, " \t\r\n")) == 0 {
		return "", "the record is empty"
	}
	dec := d.reader(b)
	err := dec.SkipValue()
	if err == nil {
		at := dec.InputOffset()
		if _, err = dec.ReadToken(); errors.Is(err, io.EOF) {
			return "", ""
		}
		rest := space(b, int(at))
		return "", fmt.Sprintf("there is more after the JSON value, at byte %d", rest)
	}
	var bad *jsontext.SyntacticError
	if !errors.As(err, &bad) {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return "", "not JSON: it ends too early"
		}
		return "", "not JSON: " + err.Error()
	}
	switch {
	case errors.Is(bad.Err, jsontext.ErrDuplicateName):
		name := bad.JSONPointer.LastToken()
		if parent := bad.JSONPointer.Parent(); parent != "" {
			return "", fmt.Sprintf("the name %q comes twice in %s", name, parent)
		}
		if _, declared := d.byName[name]; declared {
			field = name
		}
		return field, fmt.Sprintf("the name %q comes twice", name)
	case errors.Is(bad.Err, io.ErrUnexpectedEOF):
		return "", "not JSON: it ends too early"
	}
	return "", fmt.Sprintf("not JSON: %v, at byte %d", bad.Err, bad.ByteOffset)
}

func kindWords(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't':
		return "true"
	case 'f':
		return "false"
	case '"':
		return "a text"
	case '0':
		return "a number"
	case '[':
		return "an array"
	}
	return "an object"
}

func (d *Decoder) judgeValue(dec *jsontext.Decoder, n *node) *fault {
	kind := dec.PeekKind()
	switch {
	case kind == 'n':
		mustToken(dec)
		n.null()
		return nil
	case n.id == schemas.JSON:
		d.work.text = compact(d.work.text[:0], mustValue(dec))
		n.json(d.work.text)
		return nil
	case kind == '[' && (n.id == schemas.List || n.id == schemas.Array):
		return d.judgeList(dec, n)
	case kind == '{' && n.id == schemas.Struct:
		return d.judgeObject(dec, n)
	case kind == '{' && n.id == schemas.Map:
		return d.judgeEntries(dec, n)
	}
	v, shown := wrongKind, kindWords(kind)
	switch kind {
	case 't', 'f':
		mustToken(dec)
		v = n.boolean(kind == 't')
	case '0':
		s := mustValue(dec)
		v, shown = n.number(s), excerpt(s)
		if v == wrongKind {
			shown = "the number " + shown
		}
	case '"':
		s := d.unquote(mustValue(dec))
		v, shown = n.text(s), strconv.Quote(excerpt(s))
		if v == wrongKind {
			shown = "the text " + shown
		}
	}
	if v != accepted {
		return &fault{reason: n.why(v, shown)}
	}
	return nil
}

func (d *Decoder) judgeList(dec *jsontext.Decoder, n *node) *fault {
	mustToken(dec)
	row, count := n.beginList(), 0
	for ; dec.PeekKind() != ']'; count++ {
		if bad := d.judgeValue(dec, n.kids[0]); bad != nil {
			bad.path = "[" + strconv.Itoa(count) + "]" + bad.path
			return bad
		}
	}
	mustToken(dec)
	if n.id == schemas.Array && count != n.typ.Size {
		return &fault{reason: fmt.Sprintf("%d elements, and %s has exactly %d", count, n.typ, n.typ.Size)}
	}
	n.endList(row)
	return nil
}

func (d *Decoder) judgeObject(dec *jsontext.Decoder, n *node) *fault {
	mustToken(dec)
	n.beginObject()
	for dec.PeekKind() != '}' {
		name := string(d.unquote(mustValue(dec)))
		i, known := n.names[name]
		if !known {
			return &fault{reason: fmt.Sprintf("%s has no field %q, and nothing may be lost", excerpt([]byte(n.typ.String())), name)}
		}
		n.seen[i] = true
		if bad := d.judgeValue(dec, n.kids[i]); bad != nil {
			bad.path = "." + name + bad.path
			return bad
		}
	}
	mustToken(dec)
	n.endObject()
	return nil
}

func (d *Decoder) judgeEntries(dec *jsontext.Decoder, n *node) *fault {
	mustToken(dec)
	row := n.beginList()
	first := n.kids[0].col.n
	index := map[string]struct{}{}
	for dec.PeekKind() != '}' {
		name := bytes.Clone(d.unquote(mustValue(dec)))
		shown := strconv.Quote(excerpt(name))
		n.beginEntry()
		if v := n.kids[0].text(name); v != accepted {
			return &fault{reason: "the key " + n.kids[0].why(v, shown)}
		}
		if n.sameKey(first, index) {
			return &fault{reason: "the key " + shown + " has the value of an earlier one"}
		}
		if bad := d.judgeValue(dec, n.kids[1]); bad != nil {
			bad.path = "[" + shown + "]" + bad.path
			return bad
		}
	}
	mustToken(dec)
	n.endList(row)
	return nil
}
