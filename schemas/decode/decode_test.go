package decode_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/decode"
)

// topicOf declares fields in a topic file's own lines.
func topicOf(t testing.TB, lines ...string) *schemas.Topic {
	t.Helper()
	topic, problems := schemas.ParseTopic("events", "events.yaml", []byte("fields:\n  "+strings.Join(lines, "\n  ")+"\n"))
	for _, p := range problems {
		t.Fatal(p)
	}
	return topic
}

func columnsOf(topic *schemas.Topic) []string {
	var names []string
	for _, f := range topic.Fields {
		names = append(names, f.Name)
	}
	return names
}

// decoderOf makes a decoder and checks at the test's end that all its memory is given back.
func decoderOf(t testing.TB, topic *schemas.Topic, want ...string) *decode.Decoder {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	d, err := decode.New(topic, want, alloc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Close()
		if n := alloc.CurrentAlloc(); n != 0 {
			t.Errorf("%d bytes were not given back", n)
		}
	})
	return d
}

func record(json string) *schemas.Record { return &schemas.Record{Value: []byte(json)} }

// rowsOf shows a batch's columns as arrow prints them.
func rowsOf(b arrow.RecordBatch) string {
	var out strings.Builder
	for i, c := range b.Columns() {
		fmt.Fprintf(&out, "%s=%v\n", b.ColumnName(i), c)
	}
	return out.String()
}
