package manifest_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

func example() *manifest.Manifest {
	return &manifest.Manifest{
		Topic: "flights", TopicID: "6b1f", Schema: strings.Repeat("9a", 32), Sequence: 2,
		Start: schemas.Frontier{0: 0, 1: 5}, Frontier: schemas.Frontier{0: 20, 1: 9},
		Files: []manifest.File{
			{Path: "data/b", Partition: 0, From: 10, To: 20, Records: 9, Bytes: 1, CRC32C: "00000000"},
			{Path: "data/a", Partition: 0, From: 0, To: 10, Records: 10, Bytes: 1, CRC32C: "00000000"},
			{Partition: 1, From: 5, To: 7}, {Partition: 1, From: 7, To: 9},
		},
		Rejects: []manifest.File{
			{Partition: 0, From: 0, To: 10}, {Path: "rejects/b", Partition: 0, From: 10, To: 20, Records: 1, Bytes: 1},
			{Partition: 1, From: 5, To: 7}, {Partition: 1, From: 7, To: 9},
		},
		Partials: []manifest.Partial{{View: "v", Definition: "d", Path: "p", Partition: 0, From: 0, To: 10, Rows: 3}},
		Lost:     []schemas.Range{{Partition: 1, From: 5, To: 7}, {Partition: 1, From: 7, To: 9}},
	}
}

func TestRoundTrip(t *testing.T) {
	data, err := manifest.Encode(example())
	if err != nil {
		t.Fatal(err)
	}
	got, err := manifest.Decode(data)
	if err != nil || !reflect.DeepEqual(got, example()) {
		t.Fatalf("Decode = %+v, %v", got, err)
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	data, err := manifest.Encode(example())
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 1
		if _, err := manifest.Decode(bad); !errors.Is(err, manifest.ErrCorrupt) {
			t.Fatalf("bit flipped in byte %d: %v", i, err)
		}
		if _, err := manifest.Decode(data[:i]); !errors.Is(err, manifest.ErrCorrupt) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if _, err := manifest.Decode(append(data, ' ')); !errors.Is(err, manifest.ErrCorrupt) {
		t.Fatalf("trailing byte: %v", err)
	}
}

func TestWhatBreaksTheInvariants(t *testing.T) {
	for name, break_ := range map[string]func(*manifest.Manifest){
		"a hole":                    func(m *manifest.Manifest) { m.Files[0].From++ },
		"an overlap":                func(m *manifest.Manifest) { m.Files[0].From-- },
		"a frontier too far":        func(m *manifest.Manifest) { m.Frontier[0]++ },
		"a partition forgotten":     func(m *manifest.Manifest) { delete(m.Frontier, 1) },
		"more records than offsets": func(m *manifest.Manifest) { m.Files[1].Records = 11 },
		"records without a file":    func(m *manifest.Manifest) { m.Files[2].Records = 1 },
		"a partial beyond":          func(m *manifest.Manifest) { m.Partials[0].To = 21 },
		"a path that leaves":        func(m *manifest.Manifest) { m.Partials[0].Path = "../x" },
		"rejects out of step":       func(m *manifest.Manifest) { m.Rejects = m.Rejects[1:] },
		"a lost range beyond":       func(m *manifest.Manifest) { m.Lost[1].To = 10 },
		"an empty lost range":       func(m *manifest.Manifest) { m.Lost[1].From = 9 },
		"lost ranges out of order":  func(m *manifest.Manifest) { m.Lost[0], m.Lost[1] = m.Lost[1], m.Lost[0] },
		"records that are lost":     func(m *manifest.Manifest) { m.Lost = []schemas.Range{{From: 0, To: 10}} },
		"half a file that is lost":  func(m *manifest.Manifest) { m.Lost[1].To = 8 },
		"rows of what is lost": func(m *manifest.Manifest) {
			m.Partials = []manifest.Partial{{View: "v", Definition: "d", Path: "p", Partition: 1, From: 5, To: 7, Rows: 1}}
		},
		"no sequence": func(m *manifest.Manifest) { m.Sequence = 0 },
	} {
		m := example()
		break_(m)
		if _, err := manifest.Encode(m); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	data, err := manifest.Encode(example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("millrace-manifest 1 0 00000000\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := manifest.Decode(data)
		if err != nil {
			return
		}
		again, err := manifest.Encode(m)
		if err != nil {
			t.Fatalf("Encode of what was decoded: %v", err)
		}
		if n, err := manifest.Decode(again); err != nil || !reflect.DeepEqual(m, n) {
			t.Fatalf("%+v became %+v, %v", m, n, err)
		}
	})
}
