package serving

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// Drift is a range over which what is stored of a view is not what its records come to. Its report is a JSON file in the
// folder manifest.Drift of the topic's dataset, which stays until what is stored there agrees with its records.
type Drift struct {
	Topic      string `json:"topic"`
	View       string `json:"view"`
	Definition string `json:"definition"` // that the view had over the range
	schemas.Range
	Stored    string          `json:"stored"`             // a partial, a folded partial or a slice
	Against   Origin          `json:"against"`            // where the records were read
	Rows      int64           `json:"rows"`               // of both sides together, a group once
	Differing int64           `json:"differing"`          // of them
	Key       json.RawMessage `json:"key"`                // of the first that differs, by the columns of the view that are keys, else by those of its state
	Has       json.RawMessage `json:"has"`                // what is stored gives for the key; null: nothing
	Should    json.RawMessage `json:"should"`             // what the records give; null: nothing
	Manifest  int64           `json:"manifest,omitempty"` // the newest then
	Found     time.Time       `json:"found"`
	Next      string          `json:"next"` // what to do about it
}

// Problem says it to a person.
func (d *Drift) Problem() error {
	return &schemas.Problem{Message: fmt.Sprintf("view %s over %s[%d]@[%d,%d): %s differs from the %s in %d of %d rows, first at %s: it has %s, and should have %s",
		d.View, d.Topic, d.Partition, d.From, d.To, d.Stored, d.Against, d.Differing, d.Rows, d.Key, d.Has, d.Should), Hint: d.Next}
}

// name is the report's file under a dataset's folder.
func (d *Drift) name() string {
	return fmt.Sprintf("%s%s-%.12s/%d/%020d-%020d.json", manifest.Drift, d.View, d.Definition, d.Partition, d.From, d.To)
}

// Report keeps a drift's report in a dataset's folder, in the place of an older one. It returns the report's name in the store.
func Report(ctx context.Context, s store.Store, root string, d *Drift) (name string, err error) {
	text, err := json.Marshal(d)
	if err == nil {
		name = root + d.name()
		err = s.Put(ctx, name, append(text, '\n'))
	}
	if err != nil {
		return "", fmt.Errorf("report of %s: %w", d.View, err)
	}
	return name, nil
}

// Forget removes a drift's report.
func Forget(ctx context.Context, s store.Store, root string, d *Drift) error {
	return s.Delete(ctx, root+d.name())
}

// Reports are those that lie in a dataset's folder, in order of views and ranges. Errors: a Problem for one that is damaged.
func Reports(ctx context.Context, s store.Store, root string) ([]Drift, error) {
	files, err := s.List(ctx, root+manifest.Drift)
	if err != nil {
		return nil, err
	}
	var out []Drift
	for _, f := range files {
		text, err := s.Get(ctx, f.Name)
		if errors.Is(err, store.ErrNotExist) { // its range agrees by now
			continue
		}
		var d Drift
		if err == nil {
			if err = json.Unmarshal(text, &d); err == nil && root+d.name() != f.Name {
				err = errors.New("it is of another range")
			}
			if err != nil {
				err = &schemas.Problem{Message: "read " + f.Name, Err: err, Hint: "remove it: the drift watch reports again what it finds again"}
			}
		}
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// example is a row that the two sides do not share.
type example struct {
	key, has, should string // JSON; empty: there is none
}

// orNull is what DuckDB writes as JSON; what is none, for it has a NaN, as text.
func orNull(text string) json.RawMessage {
	raw := json.RawMessage(cmp.Or(text, "null"))
	if !json.Valid(raw) {
		raw, _ = json.Marshal(text) // a text is always JSON
	}
	return raw
}

// drift is what a comparison has found wrong, and what to do about it.
func (p *probe) drift(ctx context.Context, s *Sample, e example) *Drift {
	d := &Drift{Topic: s.Topic, View: s.View, Definition: p.era.View.Definition, Range: s.Range, Stored: s.Stored, Against: s.Against,
		Rows: s.Rows, Differing: s.differing, Key: orNull(e.key), Has: orNull(e.has), Should: orNull(e.should)}
	if p.pinned.manifest != nil {
		d.Manifest = p.pinned.manifest.Sequence
	}
	again := "run `millrace rebuild " + s.View + "`, which makes it anew from the data files"
	switch damaged := p.notWhole(ctx); {
	case len(damaged) > 0:
		d.Next = "run `millrace fsck --repair`: " + strings.Join(damaged, " and ") + " is not as it was written"
	case s.Stored == ofSlice:
		d.Next = "run `millrace batch " + s.Topic + "`: a cycle takes the slice's place"
	case s.Against == FromLog:
		d.Next = again + "; if it still differs, these are not what the log holds: move " + p.pinned.root + " out of the store and run `millrace batch " + s.Topic + "`"
	default:
		d.Next = again
	}
	return d
}

// notWhole names those of the stored files that were compared whose bytes are not as the manifest says.
func (p *probe) notWhole(ctx context.Context) (out []string) {
	look := func(path string, size int64, sum string) {
		if path != "" && dataset.Whole(ctx, p.server.store, p.pinned.root+path, size, sum) != nil {
			out = append(out, p.pinned.root+path)
		}
	}
	for _, part := range p.cover.partials {
		look(part.Path, part.Bytes, part.CRC32C)
	}
	for _, r := range p.read.history {
		for _, f := range p.pinned.filesIn(r) {
			look(f.Path, f.Bytes, f.CRC32C)
		}
	}
	return out
}
