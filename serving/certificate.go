package serving

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"github.com/millrace/millrace/schemas"
)

// Certificate says what an answer covers. Asking again with it gives the same answer.
type Certificate struct {
	Views      map[string]string   `json:"views"`      // view -> definition hash
	Topics     map[string]Coverage `json:"topics"`     // every topic read, also through views
	References map[string]string   `json:"references"` // reference -> hash

	// AsItWas has, for each reference and topic, the versions that records were joined with as it was, in order: each from
	// its offsets on, the first from the start. A table that is not in it was joined as it is, in the version of References.
	AsItWas map[string]map[string][]VersionFrom `json:"as_it_was,omitempty"`
}

// VersionFrom is a version of a reference table and the offsets from which on it is in force; a partition that is not
// among them: from its start.
type VersionFrom struct {
	Hash string           `json:"hash"`
	From schemas.Frontier `json:"from"`
}

// Coverage is the part of one topic that an answer covers: offsets [From, To) of each partition.
type Coverage struct {
	ID       string           `json:"id"`
	Schema   string           `json:"schema"` // the hash of the topic's declaration
	From     schemas.Frontier `json:"from"`
	To       schemas.Frontier `json:"to"`
	Lost     []schemas.Range  `json:"lost,omitempty"` // ranges of it without a record: Kafka had dropped them before a cycle had read them
	Manifest int64            `json:"manifest"`       // its number; 0: there was none
	Layers   Layers           `json:"layers"`
}

// Layers counts the covered records by where they were read. Where several tables of one question read a topic, the
// counts are those of the one that read most from the log. They add up to all records covered; of what is lost there are none.
type Layers struct {
	Batch Counts      `json:"batch"` // below the frontier: partials or Parquet
	Speed SliceCounts `json:"speed"`
	Raw   Counts      `json:"raw"` // from the log, through the kernel
}

// Counts are accepted and refused records.
type Counts struct {
	Records int64 `json:"records"`
	Rejects int64 `json:"rejects"`
}

// SliceCounts are the records of the slices used.
type SliceCounts struct {
	Counts
	Slices int `json:"slices"`
}

// AsOf is a moment to answer for: either a time, records appended before it, or offsets for some topics and manifests for others.
type AsOf struct {
	Time      time.Time
	Offsets   map[string]schemas.Frontier // not nil unless it is a time
	Manifests map[string]int64            // topic -> the manifest whose frontier it is

	// From a certificate: what its answer covered, and what it was made with. What is not named is as it is now.
	Topics     map[string]Coverage
	Views      map[string]string // view -> definition hash
	References map[string]string // reference table -> version
	AsItWas    map[string]map[string][]VersionFrom
}

// ParseAsOf reads a time (RFC 3339, or a date with or without a time of day in UTC), offsets or manifests as JSON, or a certificate.
func ParseAsOf(s []byte) (*AsOf, error) {
	s = bytes.TrimSpace(s)
	if len(s) == 0 {
		return nil, nil
	}
	if s[0] == '{' {
		return parseOffsets(s)
	}
	text := string(s)
	if unquoted, err := strconv.Unquote(text); err == nil {
		text = unquoted
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return &AsOf{Time: t.UTC()}, nil
		}
	}
	return nil, asOfProblem(text, nil)
}

func parseOffsets(s []byte) (*AsOf, error) {
	var c Certificate
	if err := json.Unmarshal(s, &c); err == nil && c.Topics != nil {
		a := &AsOf{Offsets: map[string]schemas.Frontier{}, Topics: c.Topics, Views: c.Views, References: c.References, AsItWas: c.AsItWas}
		for name, t := range c.Topics {
			a.Offsets[name] = t.To
		}
		return a, nil
	}
	var topics map[string]json.RawMessage
	if err := json.Unmarshal(s, &topics); err != nil {
		return nil, asOfProblem(string(s), err)
	}
	a := &AsOf{Offsets: map[string]schemas.Frontier{}, Manifests: map[string]int64{}}
	for name, moment := range topics {
		var at struct{ Manifest *int64 }
		if json.Unmarshal(moment, &at) == nil && at.Manifest != nil {
			a.Manifests[name] = *at.Manifest
			continue
		}
		var offsets schemas.Frontier
		if err := json.Unmarshal(moment, &offsets); err != nil {
			return nil, asOfProblem(string(s), err)
		}
		a.Offsets[name] = offsets
	}
	return a, nil
}

func asOfProblem(text string, cause error) error {
	return &schemas.Problem{Kind: schemas.Usage, Message: "as of " + text + ": not a moment", Err: cause,
		Hint: `give a time like 2026-01-31T12:00:00Z, offsets like {"flights":{"0":1200}}, a manifest like {"flights":{"manifest":12}}, or a certificate`}
}
