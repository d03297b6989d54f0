// Package testdata holds the flights example: a project folder that `millrace init --example flights` writes as it is,
// and the records that tests, the demo and a first try put into it. README.md says where the data comes from.
package testdata

import (
	"bytes"
	"embed"
	"io"
	"io/fs"

	"github.com/klauspost/compress/zstd"
)

//go:embed all:flights
var examples embed.FS

// FlightsZst is 60,000 flights as NDJSON, compressed with zstd: the file flights.ndjson.zst. Ownership: read only.
//
//go:embed flights.ndjson.zst
var FlightsZst []byte

// FlightsCount is the number of records in FlightsZst.
const FlightsCount = 60_000

// Example is the project folder of the example of that name. Errors: fs.ErrNotExist if there is no such example.
func Example(name string) (fs.FS, error) {
	if !fs.ValidPath(name) || name == "." {
		return nil, fs.ErrNotExist
	}
	if _, err := fs.Stat(examples, name); err != nil {
		return nil, fs.ErrNotExist
	}
	return fs.Sub(examples, name)
}

// Names lists the examples.
func Names() []string { return []string{"flights"} }

// Flights is the payloads of the flights, one JSON object each, in file order.
func Flights() ([][]byte, error) {
	r, err := zstd.NewReader(bytes.NewReader(FlightsZst))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")), nil
}
