package kafkaio

import (
	"errors"
	"reflect"
	"testing"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

func TestAChunkCrossesAStageBoundary(t *testing.T) {
	c := &kafkalog.Chunk{Topic: "flights", Range: schemas.Range{Partition: 3, From: 7, To: 1 << 40}, Records: []schemas.Record{
		{Partition: 3, Offset: 7, Timestamp: -1, Value: []byte(`{"a":"é"}`)},
		{Partition: 3, Offset: 1 << 39, Key: []byte{}, Value: nil, Headers: []schemas.Header{{Key: "", Value: nil}, {Key: "h", Value: []byte{}}, {Key: "n", Value: []byte{0xff}}}},
	}}
	b, err := encodeChunk(c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeChunk(b)
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("%+v became %+v, %v", c, got, err)
	}
	for n := range len(b) {
		if _, err := decodeChunk(b[:n]); !errors.Is(err, errShort) {
			t.Errorf("%d of %d bytes: %v", n, len(b), err)
		}
	}
}
