package bench

import (
	"context"
	"fmt"

	"github.com/millrace/millrace/schemas"
)

// Row is one line of the table.
type Row struct {
	Name       string  `json:"name"`
	Rate       float64 `json:"rate"` // median of the runs
	Unit       string  `json:"unit"`
	Ceiling    float64 `json:"ceiling"`
	Ratio      float64 `json:"ratio"`         // Rate / Ceiling
	CPUSeconds float64 `json:"cpu_seconds"`   // of the measured part, median
	MaxRSS     int64   `json:"max_rss_bytes"` // of the measured process, median
	Target     float64 `json:"target"`        // the ratio it must reach; 0: none
	Floor      float64 `json:"floor"`         // the rate it must reach; 0: none
	Beside     string  `json:"beside"`        // what the ceiling is
	Parts      []Part  `json:"parts,omitempty"`
}

// Part is a share of a row's work, measured by itself in the same runs.
type Part struct {
	Name       string  `json:"name"`
	Ratio      float64 `json:"ratio"`
	CPUSeconds float64 `json:"cpu_seconds"`
}

// Reached says whether the row is what it must be.
func (r Row) Reached() bool { return r.Ratio >= r.Target && r.Rate >= r.Floor }

// plan is a row before it is measured.
type plan struct {
	Row
	measured, ceiling string // names in works
	wall              bool   // the rate is by the wall's clock
	unlike            bool   // the ceiling works on other events, so there is nothing to compare
	// setup prepares what both sides read; nil: nothing
	setup func(*world, context.Context) error
	// each prepares one run; nil: nothing
	each func(context.Context, *world, *Job) error
}

const (
	events  = "events/cpu-s"
	lines   = "lines/cpu-s"
	answers = "answers/cpu-s"
	each    = "answers/s" // one after the other

	keySeconds = 0.020 // in which a question for one key must be answered
)

// plans are the rows in the order of the table.
func plans() []plan {
	return []plan{
		{Row: Row{Name: "kernel", Unit: events, Target: 1, Beside: "DuckDB: from_json and the same SELECT over the payloads in Arrow batches"},
			measured: "kernel", ceiling: "kernel-duckdb", each: inMemory(ads)},
		{Row: Row{Name: "kernel_flights", Unit: events, Target: 1, Beside: "the same, over flights"},
			measured: "kernel", ceiling: "kernel-duckdb", each: inMemory(flights)},
		{Row: Row{Name: "speed", Unit: events, Target: 0.5, Floor: 1e6, Beside: "the kernel"},
			measured: "speed", ceiling: "kernel", unlike: true, setup: (*world).fillAds, each: speedRun},
		{Row: Row{Name: "batch", Unit: events, Target: 0.5, Beside: "DuckDB: NDJSON file -> the same columns -> zstd Parquet by COPY"},
			measured: "batch", ceiling: "batch-duckdb", setup: (*world).fillAds, each: on(ads)},
		{Row: Row{Name: "merged_query", Unit: answers, Target: 1 / 1.3, Beside: "DuckDB: the same partials by read_parquet, the same tail by from_json"},
			measured: "query", ceiling: "query-duckdb", setup: (*world).fillFlights, each: on(flights)},
		{Row: Row{Name: "ingest", Unit: lines, Beside: "a plain kgo producer of the same lines"},
			measured: "ingest", ceiling: "ingest-kgo", setup: (*world).fileAds, each: ingestRun},
		{Row: Row{Name: "many_groups", Unit: events, Beside: "DuckDB: NDJSON file -> the same columns, and the groups -> zstd Parquet; the question over the columns"},
			measured: "groups", ceiling: "groups-duckdb", setup: (*world).fillVisits, each: groupsRun},
		{Row: Row{Name: "one_key", Unit: each, Floor: 1 / keySeconds, Beside: "DuckDB, kept open: the same rows in a plain Parquet file, sorted by key"},
			measured: "key", ceiling: "key-duckdb", wall: true, setup: (*world).keepVisits, each: keyRun},
		{Row: Row{Name: "one_key_http", Unit: each, Floor: 1 / keySeconds, Beside: "the same"},
			measured: "key-http", ceiling: "key-duckdb", wall: true, setup: (*world).keepVisits, each: keyRun},
		{Row: Row{Name: "many_slices", Unit: answers, Target: 1 / 1.5, Beside: "the same, every partition's slices folded into one"},
			measured: "slices", ceiling: "slices-folded", setup: (*world).makeSlices, each: slicesRun},
	}
}

// Names lists the rows.
func Names() []string {
	var out []string
	for _, p := range plans() {
		out = append(out, p.Name)
	}
	return out
}

// choose keeps the rows asked for, all of them if none are.
func choose(names []string) ([]plan, error) {
	all := plans()
	if len(names) == 0 {
		return all, nil
	}
	var out []plan
	for _, name := range names {
		found := false
		for _, p := range all {
			if p.Name == name {
				out, found = append(out, p), true
			}
		}
		if !found {
			p := &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("there is no benchmark %q", name), Hint: "`millrace bench --list` names them"}
			if near := schemas.Nearest(name, Names()); near != "" {
				p.Hint = "did you mean " + near + "?"
			}
			return nil, p
		}
	}
	return out, nil
}

// on makes a run read one topic of the scratch project.
func on(topic string) func(context.Context, *world, *Job) error {
	return func(_ context.Context, _ *world, j *Job) error {
		j.Topic = topic
		return nil
	}
}

// Must is what the row must reach, in words.
func (r Row) Must() string {
	switch {
	case r.Target == 0 && r.Floor == 0:
		return ""
	case r.Target == 0:
		return human(r.Floor)
	case r.Floor > 0:
		return fmt.Sprintf("%.2f and %s", r.Target, human(r.Floor))
	}
	return fmt.Sprintf("%.2f", r.Target)
}

// inMemory makes a run go through its topic's events four times: they cost little and need no room.
func inMemory(topic string) func(context.Context, *world, *Job) error {
	return func(_ context.Context, _ *world, j *Job) error {
		j.Topic, j.Events = topic, 4*j.Events
		return nil
	}
}
