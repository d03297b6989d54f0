package testdata_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"testing"

	"github.com/millrace/millrace/testdata"
)

func TestFlightsAreWhole(t *testing.T) {
	lines, err := testdata.Flights()
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) != testdata.FlightsCount {
		t.Fatalf("%d flights, want %d", len(lines), testdata.FlightsCount)
	}
	for i, l := range lines {
		if !json.Valid(l) {
			t.Fatalf("line %d is not JSON: %s", i+1, l)
		}
	}
}

func TestExampleHoldsTenViews(t *testing.T) {
	dir, err := testdata.Example("flights")
	if err != nil {
		t.Fatal(err)
	}
	views, err := fs.Glob(dir, "views/*.sql")
	if err != nil || len(views) != 10 {
		t.Fatalf("%d views, %v", len(views), err)
	}
	for _, name := range []string{"trains", "", "../flights", "."} {
		if _, err := testdata.Example(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("example %q: %v", name, err)
		}
	}
}
