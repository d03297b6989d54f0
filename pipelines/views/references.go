package views

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/millrace/millrace/pipelines/views/internal/engine"
	"github.com/millrace/millrace/pipelines/views/internal/tree"
	"github.com/millrace/millrace/schemas"
)

// Reference is a table of the reference folder: one version of one file.
type Reference struct {
	Name    string   `json:"name"`
	SQL     string   `json:"sql"`  // the SELECT that reads the file where it lies
	Hash    string   `json:"hash"` // 64 hex: of the content and the declaration, not of the place
	Columns []Column `json:"columns"`

	Ending string          `json:"ending"`           // of the file's name: csv, csv.gz
	Fields []schemas.Field `json:"fields,omitempty"` // as declared
	Found  []Column        `json:"found"`            // the file's columns and the types they are read as

	// AsItWas says that views join each record with the version that was in force when the record was appended; else all
	// records are joined with this one.
	AsItWas bool `json:"as_it_was,omitempty"`
}

// At is the same version, read from another place. The path's ending is the Reference's.
func (r *Reference) At(path string) (*Reference, error) {
	f := &referenceFile{path: path, declared: r.Fields}
	read, err := f.reader()
	if err != nil {
		return nil, err
	}
	out := *r
	out.SQL, err = f.selectFields(read, r.Found)
	return &out, err
}

// HashAt is the hash that the version would have if its content were that of the file.
func (r *Reference) HashAt(path string) (string, error) {
	return (&referenceFile{path: path, declared: r.Fields}).sum()
}

// LoadReference reads a CSV, Parquet or NDJSON file, also .gz and .zst, once from end to end: its types are found from
// every row, or checked against the declared fields. The table has the declared fields in their order, all columns if
// none are declared. An empty unquoted CSV field is NULL. Errors: Problems of kind Usage name the file.
func LoadReference(name, path string, declared []schemas.Field) (*Reference, error) {
	f := &referenceFile{path: path, declared: declared}
	var err error
	if f.hash, err = f.sum(); err != nil {
		return nil, &schemas.Problem{Kind: schemas.Usage, File: path, Message: "the reference table cannot be read", Hint: "check the file and its permissions", Err: err}
	}
	connector, err := duckdb.NewConnector("", nil)
	if err != nil {
		return nil, engine.NotStarted(err)
	}
	f.db = sql.OpenDB(connector)
	f.db.SetMaxOpenConns(1)
	r, err := f.load(name)
	return r, errors.Join(err, f.db.Close())
}

type referenceFile struct {
	path     string
	declared []schemas.Field
	hash     string
	db       *sql.DB
}

func (f *referenceFile) sum() (string, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return "", err
	}
	fmt.Fprintf(h, "\nformat %s\n", f.format())
	for _, d := range f.declared {
		fmt.Fprintf(h, "field %q %q %t %q\n", d.Name, d.Type.String(), d.NotNull, d.Unit)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// format is the file's ending, without that of a compression.
func (f *referenceFile) format() string {
	format, _, _ := strings.Cut(f.ending(), ".")
	return format
}

// ending is all of the file's ending: csv, csv.gz.
func (f *referenceFile) ending() string {
	base, packed := strings.ToLower(filepath.Base(f.path)), ""
	for _, p := range []string{".zst", ".gz"} {
		if rest, ok := strings.CutSuffix(base, p); ok {
			base, packed = rest, p+packed
		}
	}
	return strings.TrimPrefix(filepath.Ext(base), ".") + packed
}

func (f *referenceFile) wrong(err error) error {
	e := engine.ErrorOf(err)
	says := e.FirstLine()
	for line := range strings.SplitSeq(e.Message, "\n") { // DuckDB puts the cause below the line it concerns
		if strings.HasPrefix(line, "Error when converting") {
			says += ": " + line
		}
	}
	return &schemas.Problem{Kind: schemas.Usage, File: f.path, Message: says, Hint: "correct the file, or declare its `fields:` in a .yaml of the same name beside it"}
}

func (f *referenceFile) load(name string) (*Reference, error) {
	for _, s := range []string{"SET threads = 1", "SET TimeZone = 'UTC'", "SET errors_as_json = true"} {
		if _, err := f.db.Exec(s); err != nil {
			return nil, engine.NotStarted(err)
		}
	}
	read, err := f.reader()
	if err != nil {
		return nil, err
	}
	found, err := f.describe("SELECT * FROM " + read(nil))
	if err != nil {
		return nil, f.wrong(err)
	}
	if f.format() == "csv" && len(found) == 1 && strings.ContainsAny(found[0].Name, ";\t|") {
		return nil, &schemas.Problem{Kind: schemas.Usage, File: f.path, Message: fmt.Sprintf("its one column is named %q", found[0].Name), Hint: "separate the columns with commas, or by tabs in a .tsv"}
	}
	query, err := f.selectFields(read, found)
	if err != nil {
		return nil, err
	}
	r := &Reference{Name: name, SQL: query, Hash: f.hash, Ending: f.ending(), Fields: f.declared, Found: found}
	if r.Columns, err = f.describe(query); err != nil {
		return nil, f.wrong(err)
	}
	return r, f.check(query)
}

// reader gives the table function over the file; types says how columns are to be read, nil: as they are found.
func (f *referenceFile) reader() (func(types []Column) string, error) {
	path := schemas.QuoteText(f.path)
	list := func(types []Column) string {
		var each []string
		for _, t := range types {
			each = append(each, schemas.QuoteText(t.Name)+": "+schemas.QuoteText(t.Type))
		}
		return "{" + strings.Join(each, ", ") + "}"
	}
	switch format := f.format(); format {
	case "csv", "tsv":
		delimiter := map[string]string{"csv": ",", "tsv": "\t"}[format]
		return func(types []Column) string {
			// Fixed, not guessed: for a file cut short within a quoted value, DuckDB would find a dialect in which it is whole,
			// and lines with a # might be comments.
			opts := ", header = true, delim = " + schemas.QuoteText(delimiter) + `, quote = '"', escape = '"', comment = '', skip = 0, nullstr = '', allow_quoted_nulls = false, sample_size = -1`
			if types != nil {
				opts += ", types = " + list(types)
			}
			return "read_csv(" + path + opts + ")"
		}, nil
	case "parquet":
		return func([]Column) string { return "read_parquet(" + path + ")" }, nil
	case "ndjson", "jsonl", "json":
		kind := "'newline_delimited'"
		if format == "json" {
			kind = "'auto'"
		}
		return func(types []Column) string {
			if types != nil {
				return "read_json(" + path + ", format = " + kind + ", columns = " + list(types) + ")"
			}
			return "read_json(" + path + ", format = " + kind + ", sample_size = -1)"
		}, nil
	}
	return nil, &schemas.Problem{Kind: schemas.Usage, File: f.path, Message: "a reference table is CSV, Parquet or NDJSON", Hint: "name it .csv, .parquet or .ndjson"}
}

// selectFields pins the types that were found, or reads the declared fields.
func (f *referenceFile) selectFields(read func([]Column) string, found []Column) (string, error) {
	if len(f.declared) == 0 {
		return "SELECT * FROM " + read(found), nil
	}
	var types []Column
	var exprs, names []string
	for _, c := range found {
		names = append(names, c.Name)
	}
	for _, d := range f.declared {
		i := slices.Index(names, d.Name)
		if i < 0 {
			p := &schemas.Problem{Kind: schemas.Usage, File: f.path, Message: fmt.Sprintf("the declared field %q is not in the file", d.Name), Hint: "its columns are " + strings.Join(names, ", ")}
			if near := schemas.Nearest(d.Name, names); near != "" {
				p.Hint = "did you mean " + near + "?"
			}
			return "", p
		}
		t := Column{Name: d.Name, Type: d.Type.String()}
		expr := schemas.QuoteIdent(d.Name)
		if make, ok := unitCalls[d.Unit]; ok {
			t.Type = "BIGINT"
			expr = fmt.Sprintf(make, expr)
		}
		types = append(types, t)
		exprs = append(exprs, "CAST("+expr+" AS "+d.Type.String()+") AS "+schemas.QuoteIdent(d.Name))
	}
	return "SELECT " + strings.Join(exprs, ", ") + " FROM " + read(types), nil
}

// unitCalls turn an integer since 1970 into a timestamp.
var unitCalls = map[string]string{
	"s": "make_timestamp(%s * 1000000)", "ms": "epoch_ms(%s)", "us": "make_timestamp(%s)", "ns": "make_timestamp_ns(%s)",
}

// check reads every row, and counts NULLs where none may be.
func (f *referenceFile) check(query string) error {
	counts := []string{"count(*)"}
	for _, d := range f.declared {
		if d.NotNull {
			counts = append(counts, "count(*) FILTER (WHERE "+schemas.QuoteIdent(d.Name)+" IS NULL)")
		}
	}
	values := make([]int64, len(counts))
	into := make([]any, len(counts))
	for i := range values {
		into[i] = &values[i]
	}
	// every column is hashed, so that every value is read and converted
	row := f.db.QueryRow("SELECT " + strings.Join(counts, ", ") + " FROM (SELECT * FROM (" + query + ") AS t WHERE hash(t) IS NOT NULL)")
	if err := row.Scan(into...); err != nil {
		return f.wrong(err)
	}
	i := 0
	for _, d := range f.declared {
		if !d.NotNull {
			continue
		}
		if i++; values[i] > 0 {
			return &schemas.Problem{Kind: schemas.Usage, File: f.path, Message: fmt.Sprintf("%s is NOT NULL, but %d of %d rows have no value", d.Name, values[i], values[0]), Hint: "fill it in, or remove NOT NULL"}
		}
	}
	return nil
}

func (f *referenceFile) describe(query string) ([]Column, error) {
	rows, err := f.db.QueryContext(context.Background(), "DESCRIBE "+query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return engine.ReadColumns(rows)
}

// JoinsGroups names those reference tables that a merged view joins not with records but with what they were grouped into.
func (c *Compiler) JoinsGroups(v *View) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !v.Class.FromPartials() {
		return nil, nil
	}
	query, err := c.duck.Select(v.FinalSQL("millrace state"))
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	tree.VisitTables(query, func(n tree.Node) {
		for _, name := range v.References {
			if strings.EqualFold(n.Str("table_name"), name) {
				found[name] = true
			}
		}
	})
	return sortedNames(found), nil
}

// Joined are the reference tables that views join, each once, in the order they are first named.
func Joined(of []*View, known map[string]*Reference) []*Reference {
	var out []*Reference
	seen := map[string]bool{}
	for _, v := range of {
		for _, name := range v.References {
			if !seen[name] {
				seen[name] = true
				out = append(out, known[name])
			}
		}
	}
	return out
}
