// Package manifest is the file that names one snapshot of a dataset: a topic's Parquet files, its partials and the
// frontier up to which they hold every record.
//
// # Bytes
//
// A manifest is a text file of two parts. The first line is
//
//	millrace-manifest SP version SP length SP checksum LF
//
// with version = 1, length = the bytes after that line in decimal without leading zeros, checksum = CRC-32C (Castagnoli)
// of those bytes in 8 lower-case hex digits. The rest is one JSON object, the fields of Manifest, UTF-8, in the order of
// the struct, without insignificant white space, and one LF. Offsets are Kafka offsets, ranges half-open, sizes bytes,
// append times milliseconds and event times microseconds since 1970 UTC. Paths are relative to the dataset's folder. For
// example, of a dataset with one record (line broken for reading):
//
//	millrace-manifest 1 375 9d4c4a2f
//	{"topic":"flights","topic_id":"6b1f...","schema":"90aa...","sequence":1,"start":{"0":0},"frontier":{"0":1},
//	 "files":[{"path":"data/...","partition":0,"from":0,"to":1,"records":1,"bytes":2213,"crc32c":"7f..."}],
//	 "rejects":[{"path":"","partition":0,"from":0,"to":1,"records":0,"bytes":0,"crc32c":""}],"partials":[]}
//
// # Invariants
//
// Of each partition the ranges of files, sorted, begin at start, end at frontier and leave no hole; rejects has an entry
// of the same range for each. A range without an accepted record has a file entry with an empty path. A partial's range
// lies within [start, frontier).
//
// # Lost ranges
//
// Lost are the ranges that Kafka had dropped before a cycle had read them, and that an operator has given up: a JSON array of
// {"partition":0,"from":5,"to":8}, in order of partitions and offsets, without overlaps; absent if there are none. They lie
// within [start, frontier). Files, rejects and partials over one are as of a range that held no record; a file that has an
// offset of it has no other. Each manifest has those of the one before it.
//
// # Retired definitions
//
// When a process sees that no view has a definition any more, it names it in retired with the time. Some time later the
// definition's partials leave the manifest, which is noted in the same entry; some time after that the files of its folder
// are removed, and the entry goes. A view that has the definition again takes the entry away. How long that is, is not the
// manifest's to say.
//
// # Tiers
//
// A partial of tier 0 is made of records, one of tier n+1 of adjacent ones of tier n, which the manifest then does not name
// any more. Its Parquet file names them: the footer's key-value metadata has under PartsKey their entries as they were in
// the manifest, a JSON array in order of ranges. They stay in the store, but for those that need much room; one that is
// there is as its entry says.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/millrace/millrace/schemas"
)

// Version of the format that Encode writes and Decode reads.
const Version = 1

const magic = "millrace-manifest"

// PartsKey is the key of a folded partial's parts in its Parquet file.
const PartsKey = "millrace.parts"

// Drift is the folder of a dataset, with a slash at its end, for reports of ranges over which something stored differs from
// its records. No manifest names what lies there.
const Drift = "drift/"

// ErrCorrupt: the bytes are not a whole manifest of a known version.
var ErrCorrupt = errors.New("corrupt manifest")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Manifest names a snapshot.
type Manifest struct {
	Topic    string           `json:"topic"`
	TopicID  string           `json:"topic_id"`
	Schema   string           `json:"schema"`   // the topic's hash
	Sequence int64            `json:"sequence"` // counts from 1
	Start    schemas.Frontier `json:"start"`    // where history begins; above 0 if Kafka had dropped records before the first cycle
	Frontier schemas.Frontier `json:"frontier"`
	Files    []File           `json:"files"`
	Rejects  []File           `json:"rejects"`
	Partials []Partial        `json:"partials"`
	Retired  []Retired        `json:"retired,omitempty"`
	Versions []TableVersion   `json:"versions,omitempty"` // of reference tables that are joined as they were, in order of time
	Lost     []schemas.Range  `json:"lost,omitempty"`     // what Kafka had dropped before a cycle had read it, given up by an operator, in order
	Cycle    string           `json:"cycle,omitempty"`    // names the run that committed it, which so knows its own when it is tried again
}

// Retired is a view's definition that the project does not have any more. Its partials are named until they are dropped, and
// their files, all of its Folder, lie in the store some time longer, for questions that began before.
type Retired struct {
	View       string `json:"view"`
	Definition string `json:"definition"`
	Since      int64  `json:"since"`             // ms since 1970: when a process first saw that it is gone
	Dropped    int64  `json:"dropped,omitempty"` // ms since 1970: when its partials left the manifest; 0: they are named
}

// TableVersion is a version of a reference table and the offsets from which on it is in force: until another of the table is. The
// first of a table is in force over all offsets before, too.
type TableVersion struct {
	Reference string           `json:"reference"`
	Hash      string           `json:"hash"`
	From      schemas.Frontier `json:"from"` // a partition that is not in it: from its start
}

// Folder is where a definition's partials lie, relative to the dataset's folder, with a slash at its end.
func Folder(view, definition string) string { return "partials/" + view + "-" + definition[:12] + "/" }

// File is a Parquet file with the records, or the rejects, of one range. Path is empty if there are none.
type File struct {
	Path      string `json:"path"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
	Records   int64  `json:"records"` // rows
	Bytes     int64  `json:"bytes"`
	CRC32C    string `json:"crc32c"`
	MinEvent  *int64 `json:"min_event,omitempty"` // µs; nil: the topic declares no event time, or no row has one
	MaxEvent  *int64 `json:"max_event,omitempty"`
	MinAppend int64  `json:"min_append,omitempty"` // ms
	MaxAppend int64  `json:"max_append,omitempty"`
}

// Range is the file's range.
func (f File) Range() schemas.Range {
	return schemas.Range{Partition: f.Partition, From: f.From, To: f.To}
}

// Partial is a Parquet file with the state rows of one view over one range. Path is empty if there is no row, or if the
// view's SQL fails on the range's records: then Failed says why, and who asks for the view reads the records and fails too.
// A Failed partial of a higher tier says that its parts cannot be merged; they are named beside it.
type Partial struct {
	View       string `json:"view"`
	Definition string `json:"definition"`
	Path       string `json:"path"`
	Partition  int32  `json:"partition"`
	From       int64  `json:"from"`
	To         int64  `json:"to"`
	Tier       int    `json:"tier,omitempty"`  // how often it was folded
	Spent      bool   `json:"spent,omitempty"` // its parts that need much room have been removed
	Rows       int64  `json:"rows"`
	Bytes      int64  `json:"bytes"`
	CRC32C     string `json:"crc32c"`
	Failed     string `json:"failed,omitempty"`
}

// Range is the partial's range.
func (p Partial) Range() schemas.Range {
	return schemas.Range{Partition: p.Partition, From: p.From, To: p.To}
}

// EncodeParts writes the parts that a partial was folded of, as its file holds them under PartsKey.
func EncodeParts(parts []Partial) (string, error) {
	text, err := json.Marshal(parts)
	return string(text), err
}

// DecodeParts reads the parts of a folded partial. Errors: ErrCorrupt.
func DecodeParts(text string, folded Partial) ([]Partial, error) {
	var parts []Partial
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(&parts)
	for _, p := range parts {
		if err == nil {
			err = checkPath(p.Path, p.Rows)
		}
		if err == nil && (p.Definition != folded.Definition || p.Tier >= folded.Tier || p.From >= p.To || !folded.Range().Holds(p.Range())) {
			err = fmt.Errorf("%s of tier %d is no part of %s of tier %d", p.Range(), p.Tier, folded.Range(), folded.Tier)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: its parts: %w", ErrCorrupt, err)
	}
	return parts, nil
}

// Root is the dataset's folder in the store, with a slash at its end.
func Root(topic, topicID, schema string) string {
	return "topics/" + topic + "/" + topicID + "-" + schema[:min(8, len(schema))] + "/"
}

// Name is the file of a sequence number under the dataset's folder.
func Name(sequence int64) string { return fmt.Sprintf("manifests/%020d.manifest", sequence) }

// Checksum is the CRC-32C in the manifest's spelling.
func Checksum(data []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(data, castagnoli)) }

// Sum is the size and the Checksum of all that a reader gives.
func Sum(r io.Reader) (size int64, sum string, err error) {
	h := crc32.New(castagnoli)
	size, err = io.Copy(h, r)
	return size, fmt.Sprintf("%08x", h.Sum32()), err
}

// Encode writes a manifest that holds the invariants. Errors: one that does not.
func Encode(m *Manifest) ([]byte, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	body = append(body, '\n')
	return append(header(body), body...), nil
}

func header(body []byte) []byte {
	return fmt.Appendf(nil, "%s %d %d %s\n", magic, Version, len(body), Checksum(body))
}

// Decode reads a manifest. Errors: ErrCorrupt, with what is wrong.
func Decode(data []byte) (*Manifest, error) {
	line, body, ok := bytes.Cut(data, []byte("\n"))
	fields := strings.Split(string(line), " ")
	if !ok || len(fields) != 4 || fields[0] != magic {
		return nil, fmt.Errorf("%w: it does not begin with a %s line", ErrCorrupt, magic)
	}
	if fields[1] != fmt.Sprint(Version) {
		return nil, fmt.Errorf("%w: version %s, this program reads %d", ErrCorrupt, fields[1], Version)
	}
	if want := header(body); string(want) != string(line)+"\n" {
		return nil, fmt.Errorf("%w: its first line should be %q", ErrCorrupt, strings.TrimSpace(string(want)))
	}
	m := &Manifest{}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return m, nil
}

// Check proves the invariants.
func (m *Manifest) Check() error {
	if m.Topic == "" || m.TopicID == "" || len(m.Schema) != 64 || m.Sequence < 1 {
		return fmt.Errorf("manifest %d of %q: topic, id, schema or sequence is missing", m.Sequence, m.Topic)
	}
	if err := m.checkContiguous(m.Files); err != nil {
		return fmt.Errorf("files of %w", err)
	}
	if err := m.checkContiguous(m.Rejects); err != nil {
		return fmt.Errorf("rejects of %w", err)
	}
	for _, r := range m.Retired {
		if r.View == "" || len(r.Definition) != 64 || r.Since <= 0 || r.Dropped < 0 {
			return fmt.Errorf("retired definition %q of view %q since %d, dropped %d", r.Definition, r.View, r.Since, r.Dropped)
		}
	}
	for _, v := range m.Versions {
		if v.Reference == "" || len(v.Hash) != 64 {
			return fmt.Errorf("version %q of reference %q", v.Hash, v.Reference)
		}
	}
	for _, p := range m.Partials {
		if p.From >= p.To || p.From < m.Start[p.Partition] || p.To > m.Frontier[p.Partition] || p.Rows < 0 {
			return fmt.Errorf("partial of %s: range %s lies outside [%d, %d)", p.View, p.Range(), m.Start[p.Partition], m.Frontier[p.Partition])
		}
		if p.Failed != "" && p.Rows > 0 {
			return fmt.Errorf("partial of %s over %s: it failed, and has %d rows", p.View, p.Range(), p.Rows)
		}
		if err := checkPath(p.Path, p.Rows); err != nil {
			return err
		}
	}
	return m.checkLost()
}

// checkLost proves that lost ranges are in order, and that nothing is said to be of them.
func (m *Manifest) checkLost() error {
	for i, r := range m.Lost {
		if r.From >= r.To || r.From < m.Start[r.Partition] || r.To > m.Frontier[r.Partition] {
			return fmt.Errorf("lost range %s lies outside [%d, %d)", r, m.Start[r.Partition], m.Frontier[r.Partition])
		}
		if i > 0 {
			if last := m.Lost[i-1]; last.Partition > r.Partition || last.Partition == r.Partition && last.To > r.From {
				return fmt.Errorf("lost range %s follows on %s", r, last)
			}
		}
		for _, f := range slices.Concat(m.Files, m.Rejects) {
			if f.Partition == r.Partition && f.From < r.To && f.To > r.From && (!r.Holds(f.Range()) || f.Records > 0) {
				return fmt.Errorf("lost range %s: there are %d records over %s", r, f.Records, f.Range())
			}
		}
		for _, p := range m.Partials {
			if r.Holds(p.Range()) && p.Rows > 0 {
				return fmt.Errorf("lost range %s: the partial of %s has %d rows", r, p.View, p.Rows)
			}
		}
	}
	return nil
}

func (m *Manifest) checkContiguous(files []File) error {
	sorted := slices.Clone(files)
	slices.SortStableFunc(sorted, func(a, b File) int {
		if a.Partition != b.Partition {
			return int(a.Partition) - int(b.Partition)
		}
		return int(min(1, max(-1, a.From-b.From)))
	})
	at := m.Start.Clone()
	if at == nil {
		at = schemas.Frontier{}
	}
	for _, f := range sorted {
		if f.From >= f.To || f.From != at[f.Partition] || f.Records < 0 || f.Records > f.To-f.From {
			return fmt.Errorf("partition %d: [%d, %d) with %d records does not follow on %d", f.Partition, f.From, f.To, f.Records, at[f.Partition])
		}
		if err := checkPath(f.Path, f.Records); err != nil {
			return err
		}
		at[f.Partition] = f.To
	}
	for p, to := range m.Frontier {
		if at[p] != to {
			return fmt.Errorf("partition %d: they end at %d, the frontier is %d", p, at[p], to)
		}
		delete(at, p)
	}
	for p, to := range at {
		if to != 0 {
			return fmt.Errorf("partition %d: it has no frontier", p)
		}
	}
	return nil
}

func checkPath(name string, rows int64) error {
	if (name == "") != (rows == 0) {
		return fmt.Errorf("path %q with %d rows", name, rows)
	}
	if name != "" && (path.Clean(name) != name || strings.HasPrefix(name, "/") || strings.HasPrefix(name, "..")) {
		return fmt.Errorf("path %q leaves the dataset", name)
	}
	return nil
}
