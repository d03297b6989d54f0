package slice_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"github.com/millrace/millrace/schemas/slice"
)

func example() *slice.Slice {
	return &slice.Slice{Definition: "d", TopicID: "t", Partition: 3, From: 16, To: 18, Records: 2, Withheld: slice.Bulky, Payload: []byte{}}
}

func TestTheDocumentedBytes(t *testing.T) {
	got := slice.Encode(example())
	want := "03000000" + "1000000000000000" + "1200000000000000" + "0200000000000000" + "0000000000000000" + "0001" + "010064" + "010074"
	if string(got[:5]) != "MRSL\x02" || hex.EncodeToString(got[9:]) != want {
		t.Errorf("Encode = %x", got)
	}
	s, err := slice.Decode(got)
	if err != nil || !reflect.DeepEqual(s, example()) {
		t.Errorf("Decode = %+v, %v", s, err)
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	s := example()
	s.Payload, s.Withheld = []byte("payload"), slice.Given
	data := slice.Encode(s)
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x10
		if _, err := slice.Decode(bad); !errors.Is(err, slice.ErrCorrupt) {
			t.Fatalf("bit flipped in byte %d: %v", i, err)
		}
		if _, err := slice.Decode(data[:i]); !errors.Is(err, slice.ErrCorrupt) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(slice.Encode(example()))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := slice.Decode(data); err == nil && !bytes.Equal(slice.Encode(s), data) {
			t.Fatalf("%+v encodes to other bytes than %x", s, data)
		}
	})
}
