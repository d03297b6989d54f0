package decode

import (
	"encoding/binary"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

type layout uint8

const (
	fixedRows  layout = iota // width bytes a row
	bitRows                  // one bit a row
	textRows                 // offsets into data
	structRows               // a STRUCT: validity, and children of the same length
	listRows                 // a LIST or MAP: offsets into the one child
)

// column is one Arrow array being built. Unlike arrow's builders it can be truncated to any earlier row, so a record
// that is refused in its middle leaves no trace. All rows count as valid until the first null needs a bitmap.
//
// Ownership: its buffers come from alloc; take hands them to an array, free gives them back.
type column struct {
	alloc  memory.Allocator
	dtype  arrow.DataType
	layout layout
	width  int
	n      int // rows
	room   int // rows the buffers hold
	nulls  int
	data   []byte
	used   int    // bytes of data taken, for textRows
	offs   []byte // room+1 int32
	valid  []byte // nil: no null so far
	kids   []*column

	hintRows, hintUsed int // what the last batch came to
}

func newColumn(dt arrow.DataType, alloc memory.Allocator) *column {
	c := &column{alloc: alloc, dtype: dt}
	switch t := dt.(type) {
	case *arrow.BooleanType:
		c.layout = bitRows
	case *arrow.StringType, *arrow.BinaryType:
		c.layout = textRows
	case *arrow.StructType:
		c.layout = structRows
		for _, f := range t.Fields() {
			c.kids = append(c.kids, newColumn(f.Type, alloc))
		}
	case *arrow.ListType:
		c.layout = listRows
		c.kids = []*column{newColumn(t.Elem(), alloc)}
	case *arrow.MapType:
		c.layout = listRows
		c.kids = []*column{newColumn(t.Elem(), alloc)}
	case arrow.FixedWidthDataType:
		c.width = t.Bytes()
	}
	return c
}

// row adds a valid row and returns its number; the caller fills it in.
func (c *column) row() int {
	i := c.n
	if i == c.room {
		c.grow()
	}
	c.n = i + 1
	if c.valid != nil {
		c.valid[i>>3] |= 1 << (i & 7)
	}
	return i
}

func (c *column) grow() {
	room := max(64, c.hintRows, 2*c.room)
	switch c.layout {
	case fixedRows:
		c.data = c.resize(room*c.width, c.data)
	case bitRows:
		c.data = c.resize((room+7)/8, c.data)
	case textRows, listRows:
		fresh := c.offs == nil
		c.offs = c.resize(4*(room+1), c.offs)
		if fresh {
			clear(c.offs[:4])
		}
		if c.layout == textRows && c.data == nil {
			c.data = c.alloc.Allocate(max(256, c.hintUsed))
		}
	}
	if c.valid != nil {
		c.growValid(room)
	}
	c.room = room
}

func (c *column) resize(size int, b []byte) []byte {
	if b == nil {
		return c.alloc.Allocate(size)
	}
	return c.alloc.Reallocate(size, b)
}

func (c *column) growValid(room int) {
	was := len(c.valid)
	c.valid = c.resize((room+7)/8, c.valid)
	for i := was; i < len(c.valid); i++ {
		c.valid[i] = 0xFF
	}
}

func (c *column) null() {
	i := c.row()
	if c.valid == nil {
		c.growValid(c.room)
	}
	c.valid[i>>3] &^= 1 << (i & 7)
	c.nulls++
	switch c.layout {
	case fixedRows:
		clear(c.data[i*c.width : (i+1)*c.width])
	case textRows:
		c.endBytes(i)
	case structRows:
		for _, k := range c.kids {
			k.null()
		}
	case listRows:
		c.endList(i)
	}
}

func (c *column) boolean(v bool) {
	i := c.row()
	if v {
		c.data[i>>3] |= 1 << (i & 7)
	} else {
		c.data[i>>3] &^= 1 << (i & 7)
	}
}

// integer writes the low bytes of v, as many as the type is wide.
func (c *column) integer(v int64) {
	i := c.row()
	switch c.width {
	case 8:
		binary.LittleEndian.PutUint64(c.data[i*8:], uint64(v))
	case 4:
		binary.LittleEndian.PutUint32(c.data[i*4:], uint32(v))
	case 2:
		binary.LittleEndian.PutUint16(c.data[i*2:], uint16(v))
	case 1:
		c.data[i] = byte(v)
	}
}

func (c *column) int128(hi int64, lo uint64) {
	i := c.row()
	binary.LittleEndian.PutUint64(c.data[i*16:], lo)
	binary.LittleEndian.PutUint64(c.data[i*16+8:], uint64(hi))
}

func (c *column) float(v float64) {
	if c.width == 4 {
		c.integer(int64(math.Float32bits(float32(v))))
		return
	}
	c.integer(int64(math.Float64bits(v)))
}

func (c *column) text(s []byte) {
	i := c.row()
	need := c.used + len(s)
	if need > len(c.data) {
		c.growData(need)
	}
	copy(c.data[c.used:], s)
	c.used = need
	binary.LittleEndian.PutUint32(c.offs[4*i+4:], uint32(need))
}

func (c *column) growData(need int) {
	if need > math.MaxInt32 {
		panic("decode: a column holds more than 2 GiB: take a Batch before Bytes comes near it")
	}
	c.data = c.resize(max(need, min(2*len(c.data), math.MaxInt32)), c.data)
}

func (c *column) endBytes(i int) { binary.LittleEndian.PutUint32(c.offs[4*i+4:], uint32(c.used)) }

// endList closes the list in row i over all the child's rows so far.
func (c *column) endList(i int) { binary.LittleEndian.PutUint32(c.offs[4*i+4:], uint32(c.kids[0].n)) }

func (c *column) offset(i int) int { return int(binary.LittleEndian.Uint32(c.offs[4*i:])) }

// truncate takes back all rows from n on.
func (c *column) truncate(n int) {
	if c.n > n && c.valid != nil {
		for i := n; i < c.n; i++ {
			if c.valid[i>>3]&(1<<(i&7)) == 0 {
				c.nulls--
			}
		}
	}
	switch c.layout {
	case textRows:
		if c.n > n {
			c.used = c.offset(n)
		}
	case structRows:
		for _, k := range c.kids {
			k.truncate(n)
		}
	case listRows:
		// The child may be ahead of the offsets: a list is closed only when it is whole.
		at := 0
		if c.offs != nil {
			at = c.offset(min(n, c.n))
		}
		c.kids[0].truncate(at)
	}
	c.n = min(c.n, n)
}

// at is the bytes of row i, for layouts fixed and bytes.
func (c *column) at(i int) []byte {
	if c.layout == textRows {
		return c.data[c.offset(i):c.offset(i+1)]
	}
	return c.data[i*c.width : (i+1)*c.width]
}

func (c *column) bytes() int {
	size := c.used
	switch c.layout {
	case fixedRows:
		size = c.n * c.width
	case bitRows:
		size = (c.n + 7) / 8
	case textRows, listRows:
		size += 4 * (c.n + 1)
	}
	if c.valid != nil {
		size += (c.n + 7) / 8
	}
	for _, k := range c.kids {
		size += k.bytes()
	}
	return size
}

// take hands the rows over as array data, which the caller releases, and starts anew.
func (c *column) take() arrow.ArrayData {
	n, nulls := c.n, c.nulls
	if c.offs == nil && (c.layout == textRows || c.layout == listRows) {
		c.offs = c.alloc.Allocate(4)
		clear(c.offs)
	}
	bufs := []*memory.Buffer{c.hand(&c.valid, (n+7)/8)}
	switch c.layout {
	case fixedRows:
		bufs = append(bufs, c.hand(&c.data, n*c.width))
	case bitRows:
		bufs = append(bufs, c.hand(&c.data, (n+7)/8))
	case textRows:
		bufs = append(bufs, c.hand(&c.offs, 4*(n+1)), c.hand(&c.data, c.used))
	case listRows:
		bufs = append(bufs, c.hand(&c.offs, 4*(n+1)))
	}
	var kids []arrow.ArrayData
	for _, k := range c.kids {
		kids = append(kids, k.take())
	}
	c.hintRows, c.hintUsed = n+n/8, c.used+c.used/8
	c.n, c.room, c.nulls, c.used = 0, 0, 0, 0
	d := array.NewData(c.dtype, n, bufs, kids, nulls, 0)
	for _, b := range bufs {
		if b != nil {
			b.Release()
		}
	}
	for _, k := range kids {
		k.Release()
	}
	return d
}

func (c *column) hand(b *[]byte, length int) *memory.Buffer {
	if *b == nil {
		return nil
	}
	buf := memory.NewBufferWithAllocator(*b, c.alloc)
	buf.ResizeNoShrink(length)
	*b = nil
	return buf
}

func (c *column) free() {
	for _, b := range []*[]byte{&c.data, &c.offs, &c.valid} {
		if *b != nil {
			c.alloc.Free(*b)
			*b = nil
		}
	}
	for _, k := range c.kids {
		k.free()
	}
	c.n, c.room, c.nulls, c.used = 0, 0, 0, 0
}
