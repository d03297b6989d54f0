package decode

import (
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/millrace/millrace/schemas"
)

// verdict says what a node makes of a value; the judge words it.
type verdict uint8

const (
	accepted      verdict = iota
	wrongKind             // a JSON value of a kind the type does not take
	notLiteral            // a text that is no literal of the type
	notWhole              // a fraction for an integer
	outOfRange            // larger than the type holds
	tooManyDigits         // more digits after the point than the DECIMAL holds
	tooFine               // more digits of a second than the type holds
	timeOfDay             // a time of day for a DATE
	needsUnit             // an integer for a time without a unit
	hasOffset             // an offset for a TIME
	notInEnum
)

// node holds the rules of one declared type, and the column its values go to: nil where they are checked only.
type node struct {
	id        schemas.TypeID
	typ       *schemas.Type
	col       *column
	lo        int64  // integers: the smallest
	hi        uint64 // integers: the largest
	plainInt  bool   // an integer of at most 64 bits
	perSecond int64  // times: the declared unit, 0 without one
	enum      map[string]bool
	kids      []*node // STRUCT: fields; LIST, ARRAY: element; MAP: key, value
	names     map[string]int
	seen      []bool // STRUCT: which fields the object in hand had
	work      *scratch
}

// scratch is working memory that all nodes of a decoder share; it is valid until the next value.
type scratch struct {
	digits, text []byte
}

var integerBounds = map[schemas.TypeID]struct {
	lo int64
	hi uint64
}{
	schemas.TinyInt: {math.MinInt8, math.MaxInt8}, schemas.UTinyInt: {0, math.MaxUint8},
	schemas.SmallInt: {math.MinInt16, math.MaxInt16}, schemas.USmallInt: {0, math.MaxUint16},
	schemas.Integer: {math.MinInt32, math.MaxInt32}, schemas.UInteger: {0, math.MaxUint32},
	schemas.BigInt: {math.MinInt64, math.MaxInt64}, schemas.UBigInt: {0, math.MaxUint64},
}

func newNode(t *schemas.Type, unit string, work *scratch) *node {
	n := &node{id: t.ID, typ: t, work: work, perSecond: unitsASecond[unit]}
	if b, ok := integerBounds[t.ID]; ok {
		n.lo, n.hi, n.plainInt = b.lo, b.hi, true
	} else if t.IsTimestamp() {
		n.lo, n.hi = math.MinInt64, math.MaxInt64
	}
	switch t.ID {
	case schemas.Enum:
		n.enum = map[string]bool{}
		for _, v := range t.Values {
			n.enum[v] = true
		}
	case schemas.Struct:
		n.names, n.seen = map[string]int{}, make([]bool, len(t.Fields))
		for i, f := range t.Fields {
			n.names[f.Name] = i
			n.kids = append(n.kids, newNode(f.Type, "", work))
		}
	case schemas.List, schemas.Array:
		n.kids = []*node{newNode(t.Elem, "", work)}
	case schemas.Map:
		n.kids = []*node{newNode(t.Key, "", work), newNode(t.Elem, "", work)}
	}
	return n
}

// build gives the node and its children their columns.
func (n *node) build(c *column) {
	n.col = c
	switch n.id {
	case schemas.Struct:
		for i, k := range n.kids {
			k.build(c.kids[i])
		}
	case schemas.List, schemas.Array:
		n.kids[0].build(c.kids[0])
	case schemas.Map:
		n.kids[0].build(c.kids[0].kids[0])
		n.kids[1].build(c.kids[0].kids[1])
	}
}

// checkOnly gives the keys of maps that are not built a column to tell whether one comes twice, and lists those.
func (n *node) checkOnly(alloc memory.Allocator) []*column {
	var keys []*column
	if n.id == schemas.Map {
		n.kids[0].col = newColumn(n.kids[0].typ.Arrow(), alloc)
		keys = append(keys, n.kids[0].col)
	}
	for _, k := range n.kids {
		keys = append(keys, k.checkOnly(alloc)...)
	}
	return keys
}

func (n *node) null() {
	if n.col != nil {
		n.col.null()
	}
}

func (n *node) boolean(v bool) verdict {
	if n.id != schemas.Boolean {
		return wrongKind
	}
	if n.col != nil {
		n.col.boolean(v)
	}
	return accepted
}

// number takes a number's text, which is JSON's grammar.
func (n *node) number(s []byte) verdict {
	switch n.id {
	case schemas.TinyInt, schemas.SmallInt, schemas.Integer, schemas.BigInt,
		schemas.UTinyInt, schemas.USmallInt, schemas.UInteger, schemas.UBigInt:
		return n.putInt(n.integer64(s))
	case schemas.Timestamp, schemas.TimestampS, schemas.TimestampMS, schemas.TimestampNS, schemas.TimestampTZ:
		return n.putInt(n.sinceEpoch(s))
	case schemas.Float, schemas.Double:
		f, v := n.nearest(s)
		if v == accepted && n.col != nil {
			n.col.float(f)
		}
		return v
	case schemas.Decimal:
		hi, lo, v := n.decimal(s)
		if v == accepted && n.col != nil {
			n.col.int128(hi, lo)
		}
		return v
	case schemas.HugeInt, schemas.UHugeInt, schemas.BigNum:
		return n.putText(n.bigInteger(s))
	case schemas.Date, schemas.Time, schemas.TimeNS, schemas.TimeTZ:
		return needsUnit
	}
	return wrongKind
}

// text takes a string's content, which is valid UTF-8.
func (n *node) text(s []byte) verdict {
	switch n.id {
	case schemas.Varchar:
		if n.col != nil {
			n.col.text(s)
		}
		return accepted
	case schemas.Timestamp, schemas.TimestampS, schemas.TimestampMS, schemas.TimestampNS, schemas.TimestampTZ:
		if n.perSecond != 0 && isNumber(s) {
			return n.number(s)
		}
		return n.putInt(n.moment(s))
	case schemas.Date:
		return n.putInt(n.moment(s))
	case schemas.Time:
		return n.putInt(n.timeOf(s))
	case schemas.TimeTZ, schemas.TimeNS:
		return n.putText(n.timeText(s))
	case schemas.Boolean:
		if string(s) == "true" || string(s) == "false" {
			return n.boolean(s[0] == 't')
		}
		return notLiteral
	case schemas.Blob:
		return n.putText(n.blob(s))
	case schemas.UUID:
		return n.putText(n.uuid(s))
	case schemas.Bit:
		if !isBits(s) {
			return notLiteral
		}
		return n.putText(s, accepted)
	case schemas.Enum:
		if !n.enum[string(s)] {
			return notInEnum
		}
		return n.putText(s, accepted)
	case schemas.Interval:
		return n.putText(n.interval(s))
	case schemas.Struct, schemas.List, schemas.Array, schemas.Map, schemas.JSON:
		return wrongKind
	}
	if !isNumber(s) {
		return notLiteral
	}
	return n.number(s)
}

func (n *node) putInt(v int64, verdict verdict) verdict {
	if verdict == accepted && n.col != nil {
		n.col.integer(v)
	}
	return verdict
}

func (n *node) putText(s []byte, verdict verdict) verdict {
	if verdict == accepted && n.col != nil {
		n.col.text(s)
	}
	return verdict
}

// json takes the compact text of any value but null.
func (n *node) json(s []byte) {
	if n.col != nil {
		n.col.text(s)
	}
}

// beginList and endList frame the elements of a LIST, ARRAY or MAP, which go to the kids.
func (n *node) beginList() (row int) {
	if n.id == schemas.Map && n.col == nil {
		n.kids[0].col.truncate(0)
	}
	if n.col == nil {
		return 0
	}
	return n.col.row()
}

func (n *node) endList(row int) {
	if n.col != nil {
		n.col.endList(row)
	}
}

// beginObject starts a STRUCT: no field seen.
func (n *node) beginObject() {
	clear(n.seen)
	if n.col != nil {
		n.col.row()
	}
}

// endObject makes the fields the object did not have NULL.
func (n *node) endObject() {
	for i, was := range n.seen {
		if !was {
			n.kids[i].null()
		}
	}
}

// beginEntry starts an entry of a MAP.
func (n *node) beginEntry() {
	if n.col != nil {
		n.col.kids[0].row()
	}
}

// sameKey says whether the map's last key equals an earlier one of the same map, whose keys begin at row first.
func (n *node) sameKey(first int, index map[string]struct{}) bool {
	c := n.kids[0].col
	last := c.n - 1
	if last-first < 16 {
		for i := first; i < last; i++ {
			if n.keyAt(i) == n.keyAt(last) {
				return true
			}
		}
		return false
	}
	if len(index) != last-first {
		for i := first; i < last; i++ {
			index[n.keyAt(i)] = struct{}{}
		}
	}
	k := n.keyAt(last)
	if _, ok := index[k]; ok {
		return true
	}
	index[k] = struct{}{}
	return false
}

// keyAt is a text that two keys share only if DuckDB holds them equal.
func (n *node) keyAt(i int) string {
	k := n.kids[0]
	switch {
	case k.col.layout == bitRows:
		return string('0' + rune(k.col.data[i>>3]>>(i&7)&1))
	case k.id == schemas.Float || k.id == schemas.Double:
		zero := true
		b := k.col.at(i)
		for j, c := range b {
			zero = zero && (c == 0 || j == len(b)-1 && c == 0x80)
		}
		if zero {
			return "0"
		}
	}
	return string(k.col.at(i))
}

// excerpt shows a text in a reason, cut to a length that fits a line.
func excerpt(s []byte) string {
	const most = 60
	if len(s) <= most {
		return string(s)
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return string(s[:cut]) + "…"
}

// why words a verdict on the value shown, a text (in quotes) or a number.
func (n *node) why(v verdict, shown string) string {
	t := n.typ.String()
	switch v {
	case notLiteral:
		return fmt.Sprintf("%s is no plain literal of %s", shown, t)
	case notWhole:
		return fmt.Sprintf("%s is not a whole number, so %s cannot hold it", shown, t)
	case outOfRange:
		if b, ok := integerBounds[n.id]; ok {
			return fmt.Sprintf("%s is out of range for %s (%d to %d)", shown, t, b.lo, b.hi)
		}
		return fmt.Sprintf("%s is out of range for %s", shown, t)
	case tooManyDigits:
		return fmt.Sprintf("%s has more digits after the point than %s holds", shown, t)
	case tooFine:
		return fmt.Sprintf("%s has more digits of a second than %s holds", shown, t)
	case timeOfDay:
		return fmt.Sprintf("%s has a time of day, which %s would lose", shown, t)
	case needsUnit:
		if n.typ.IsTimestamp() {
			return fmt.Sprintf("%s is a number, and the field declares no unit: %s is ISO 8601 text without one", shown, t)
		}
		return fmt.Sprintf("%s is a number; %s is ISO 8601 text", shown, t)
	case hasOffset:
		return fmt.Sprintf("%s has an offset, which %s would lose", shown, t)
	case notInEnum:
		return fmt.Sprintf("%s is none of %s", shown, excerpt([]byte(t)))
	}
	return fmt.Sprintf("%s expected, not %s", t, shown)
}
