package views

import (
	"strconv"
	"strings"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/schemas"
)

// planVersion is part of every definition hash: it changes when the State of a compiled view changes.
const planVersion = "2"

// Class is how a view's answer is computed.
type Class string

// The classes.
const (
	Merged   Class = "merged"   // from partials
	Sketched Class = "sketched" // from partials, some of them sketches: within a stated error, and the same for every cut
	Raw      Class = "raw"      // from all rows, each time
)

// FromPartials says whether a view of the class has State and the plans that merge it.
func (c Class) FromPartials() bool { return c != Raw }

// Column is a name and a type in DuckDB's spelling.
type Column = engine.Column

// Catalog is what views may read. Names match regardless of case.
type Catalog struct {
	Topics     map[string]*schemas.Topic
	References map[string]*Reference
	ViewTexts  map[string]ViewText // other views, which a view may read by name
	Macros     *Macros             // nil: only those built in
}

// AsItWas says whether views join a reference as it was.
func (c *Catalog) AsItWas() bool {
	for _, r := range c.References {
		if r.AsItWas {
			return true
		}
	}
	return false
}

// ViewText is a view's SELECT as its file says it.
type ViewText struct {
	File, SQL string
}

// View is a compiled view. It is immutable, safe for concurrent use, and its JSON round-trips.
type View struct {
	Name       string              `json:"name"`
	SQL        string              `json:"sql"`                // the SELECT as DuckDB prints it
	Class      Class               `json:"class"`              //
	Reasons    []string            `json:"reasons"`            // why it is raw, and what would make it merge; empty if merged
	Notes      []string            `json:"notes"`              // what its partials keep, for each function or clause that decided; empty if raw
	Warnings   []string            `json:"warnings"`           // what may surprise: see warnings
	Topic      string              `json:"topic,omitempty"`    // the topic if it reads exactly one
	Topics     []string            `json:"topics"`             // every topic read, sorted
	References []string            `json:"references"`         // every reference table read, sorted
	Columns    []Column            `json:"columns"`            // the answer's
	Definition string              `json:"definition"`         // 64 hex: what decides the answer; see Compile
	Wanted     map[string][]string `json:"wanted"`             // topic -> declared and system columns its rows must have, never none
	State      []Column            `json:"state,omitempty"`    // keys first; types are carriers; empty if raw
	Keys       int                 `json:"keys"`               // how many of State are group keys
	KeyColumns map[string]string   `json:"key_columns"`        // answer column -> State key that holds it unchanged: a filter on one may be put on the other. Empty under a LIMIT
	Measured   []int               `json:"measured,omitempty"` // answer columns that MagnitudeSQL measures
	Plans      Plans               `json:"plans"`
}

// Plans are SQL texts with a placeholder for each source table.
type Plans struct {
	Partial string `json:"partial,omitempty"`
	Merge   string `json:"merge,omitempty"`
	Final   string `json:"final,omitempty"`
	Raw     string `json:"raw"`
	// Magnitudes is Raw with more columns; see MagnitudeSQL.
	Magnitudes string `json:"magnitudes,omitempty"`
	// Measures is Partial with other values; see MeasureSQL.
	Measures string `json:"measures,omitempty"`
}

// How a partial plan that reads the topic's rows in several places begins: with a table of them, or with a name for them.
const (
	rowsOnce  = "WITH " + rowsName + " AS MATERIALIZED "
	rowsAgain = "WITH " + rowsName + " AS NOT MATERIALIZED "
)

const (
	sourceMark = "__millrace_source__"
	tableMark  = "__millrace_table_" // then the index into Topics and References, then "__"
)

func mark(i int) string { return tableMark + strconv.Itoa(i) + "__" }

// PartialSQL reads the named table, which has the Wanted columns, and gives State rows in no order. It reads the table once,
// so that it may be a stream. Reference tables are read under their own names. Empty for a raw view, as MergeSQL and FinalSQL are.
func (v *View) PartialSQL(source string) string { return fill(v.Plans.Partial, source) }

// PartialTableSQL is PartialSQL over a table that may be read more than once, which spares keeping its rows meanwhile.
func (v *View) PartialTableSQL(source string) string {
	return fill(strings.Replace(v.Plans.Partial, rowsOnce, rowsAgain, 1), source)
}

// MergeSQL reads State rows from the named table and gives State rows, one a group.
func (v *View) MergeSQL(source string) string { return fill(v.Plans.Merge, source) }

// FinalSQL reads State rows, in any number a group, from the named table and gives the answer. Over no row at all a view
// without GROUP BY answers its one row.
func (v *View) FinalSQL(source string) string { return fill(v.Plans.Final, source) }

// RawSQL is the SELECT over full tables. The map gives the tables that stand for topics and references; one that is
// absent is read under its own name.
func (v *View) RawSQL(tables map[string]string) string {
	return fillTables(v.Plans.Raw, append(append([]string(nil), v.Topics...), v.References...), tables)
}

// MagnitudeSQL is RawSQL with one more column for each of Measured, in that order: the sum of the magnitudes that went
// into the floating sums of that column, by which its rounding is measured. Empty if nothing is Measured.
func (v *View) MagnitudeSQL(tables map[string]string) string {
	return fillTables(v.Plans.Magnitudes, append(append([]string(nil), v.Topics...), v.References...), tables)
}

// MeasureSQL is PartialTableSQL with each floating state replaced by what it is rounded by: the sum of the magnitudes that
// went into a sum, infinity where that is not known, NULL for what is as exact as its value. Empty if no state is floating.
func (v *View) MeasureSQL(source string) string {
	return fill(strings.Replace(v.Plans.Measures, rowsOnce, rowsAgain, 1), source)
}

func fill(plan, source string) string {
	return strings.ReplaceAll(plan, sourceMark, schemas.QuoteIdent(source))
}

func fillTables(plan string, names []string, tables map[string]string) string {
	var pairs []string
	for i, n := range names {
		t, ok := tables[n]
		if !ok {
			t = n
		}
		pairs = append(pairs, mark(i), schemas.QuoteIdent(t))
	}
	return strings.NewReplacer(pairs...).Replace(plan)
}
