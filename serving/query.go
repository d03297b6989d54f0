package serving

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/kernel"
	folders "github.com/millrace/millrace/pipelines/scratch"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// Request is one question.
type Request struct {
	SQL    string
	AsOf   *AsOf
	Params map[string]string // values of $name, each one constant written in SQL
	// Sorted puts the rows of a question without an ORDER BY in the order of all its columns: then the same snapshot
	// gives the same rows in the same order, whichever layers they come from.
	Sorted bool
}

// Query answers over everything acknowledged before it was called, or over what AsOf names. Errors: a question that is
// not a plain read is a Problem of kind Usage.
func (s *Server) Query(ctx context.Context, r Request) (*Answer, error) {
	q, parsed, err := s.ask(ctx, r)
	if err != nil {
		return nil, err
	}
	if r.Sorted && !parsed.Ordered {
		parsed.SQL = "SELECT * FROM (" + parsed.SQL + ") ORDER BY ALL"
	}
	a, err := q.answer(ctx, parsed)
	if err != nil {
		q.close()
		return nil, err
	}
	return a, nil
}

// ask checks a question and makes ready what it reads. The caller closes it.
func (s *Server) ask(ctx context.Context, r Request) (*question, *views.Query, error) {
	defs, err := s.opts.Definitions(ctx)
	if err != nil {
		return nil, nil, err
	}
	then, err := s.past(ctx, defs, r.AsOf)
	if err != nil {
		return nil, nil, err
	}
	known := tablesOf(then.Definitions)
	known.Parameters = r.Params
	parsed, err := s.opts.Compiler.Query(r.SQL, known)
	if err != nil {
		return nil, nil, then.explain(err)
	}
	if err := then.check(parsed.Tables); err != nil {
		return nil, nil, err
	}
	if r.AsOf != nil {
		for name := range r.AsOf.Offsets {
			if defs.Catalog.Topics[name] == nil { // a slip of the pen must not mean the end of the log
				topics := slices.Sorted(maps.Keys(defs.Catalog.Topics))
				hint := "the topics are " + strings.Join(topics, ", ")
				if near := schemas.Nearest(name, topics); near != "" {
					hint = "did you mean " + near + "?"
				}
				return nil, nil, &schemas.Problem{Kind: schemas.Usage, Message: "as of: there is no topic " + name, Hint: hint}
			}
		}
	}
	q, err := s.open(ctx, then.Definitions, parsed, r.AsOf)
	return q, parsed, err
}

// open pins every topic the question reads and puts a table under every name it uses.
func (s *Server) open(ctx context.Context, defs *Definitions, parsed *views.Query, asOf *AsOf) (*question, error) {
	q, err := s.begin(ctx, defs)
	if err != nil {
		return nil, err
	}
	if err := q.prepare(ctx, parsed, asOf); err != nil {
		q.close()
		return nil, err
	}
	return q, nil
}

// begin opens a question that reads nothing yet.
func (s *Server) begin(ctx context.Context, defs *Definitions) (*question, error) {
	scratch, err := os.MkdirTemp(s.opts.Scratch, "millrace-query-")
	if err != nil {
		return nil, folders.Refused(err)
	}
	session, err := s.engines.take(ctx, scratch)
	if err != nil {
		os.RemoveAll(scratch)
		return nil, err
	}
	return &question{server: s, session: session, defs: defs, history: s.history(defs), pins: map[string]*pinned{}, layers: map[string]Layers{}, scratch: scratch}, nil
}

func (q *question) prepare(ctx context.Context, parsed *views.Query, asOf *AsOf) error {
	if err := q.pinAll(ctx, parsed.Tables, asOf); err != nil {
		return err
	}
	for _, t := range parsed.Tables {
		if t.Schema != "" {
			if err := q.session.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+t.Schema); err != nil {
				return err
			}
		}
		if err := q.attach(ctx, t); err != nil {
			return failing(t.Name, q.damaged(err))
		}
	}
	return nil
}

// pinAll pins every topic that the tables read.
func (q *question) pinAll(ctx context.Context, tables []views.Table, asOf *AsOf) error {
	q.use(tables)
	for _, t := range slices.Sorted(maps.Keys(q.topics)) {
		p, err := q.pin(ctx, q.defs.Catalog.Topics[t], asOf)
		if err != nil {
			return err
		}
		q.pins[t] = p
	}
	return nil
}

// use notes every topic, view and reference that the tables read, also through views.
func (q *question) use(tables []views.Table) {
	q.topics, q.views, q.refs, q.direct = map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, t := range tables {
		switch t.Kind {
		case views.TopicTable, views.RejectsTable:
			q.topics[t.Name] = true
		case views.ReferenceTable:
			q.refs[t.Name], q.direct[t.Name] = true, true
		default:
			q.views[t.Name] = true
			for _, topic := range q.defs.Views[t.Name].Topics {
				q.topics[topic] = true
			}
			for _, ref := range q.defs.Views[t.Name].References {
				q.refs[ref] = true
			}
		}
	}
}

// answer locks the session, runs the question and keeps its rows.
func (q *question) answer(ctx context.Context, parsed *views.Query) (*Answer, error) {
	certificate, err := q.certify(ctx)
	if err != nil {
		return nil, err
	}
	q.keep(ctx)
	if err := q.lock(ctx); err != nil {
		return nil, err
	}
	if err := q.session.Exec(ctx, "CREATE TABLE millrace_answer AS "+parsed.SQL); err != nil {
		return nil, q.problem(ctx, err)
	}
	return &Answer{Columns: parsed.Columns, Certificate: certificate, q: q}, nil
}

// tablesOf is what a question may read.
func tablesOf(d *Definitions) views.Tables {
	t := views.Tables{Catalog: *d.Catalog, Views: map[string][]views.Column{}}
	for name, v := range d.Views {
		t.Views[name] = v.Columns
	}
	return t
}

// lock takes from the session every way out: files but those of the snapshot and the scratch folder, extensions,
// settings. The parser has refused such questions already; this holds if it missed one.
func (q *question) lock(ctx context.Context) error {
	for _, set := range []string{
		"SET allowed_paths = " + list(q.files),
		"SET allowed_directories = " + list([]string{q.scratch}),
		"SET enable_external_access = false",
		"SET lock_configuration = true",
	} {
		if err := q.session.Exec(ctx, set); err != nil {
			return err
		}
	}
	return nil
}

func (q *question) certify(ctx context.Context) (*Certificate, error) {
	c := &Certificate{Views: map[string]string{}, Topics: map[string]Coverage{}, References: map[string]string{}}
	for name := range q.views {
		c.Views[name] = q.defs.Views[name].Definition
	}
	for name := range q.refs {
		c.References[name] = q.defs.Catalog.References[name].Hash
	}
	q.certifyVersions(c)
	for name, p := range q.pins {
		layers := q.layers[name]
		var err error
		if layers.Batch, err = q.countBatch(ctx, p); err != nil {
			return nil, fmt.Errorf("count %s: %w", name, err)
		}
		c.Topics[name] = Coverage{ID: p.id, Schema: p.topic.Hash(), From: p.from, To: p.to, Lost: p.lost(), Manifest: p.number, Layers: layers}
	}
	return c, nil
}

// problem is what a question's own SQL made of it: DuckDB's sentence, without the statement it was wrapped in.
func (q *question) problem(ctx context.Context, err error) error {
	var known *schemas.Problem
	switch {
	case ctx.Err() != nil:
		return ctx.Err() // the engine only says that it was interrupted
	case errors.As(q.damaged(err), &known):
		return known
	}
	text := sentence(err)
	if strings.HasPrefix(text, "Out of Memory Error") {
		return &schemas.Problem{Kind: schemas.Usage, Message: text, Hint: "ask for less at once, or raise memory: in millrace.yaml"}
	}
	hint := "correct the query"
	if strings.HasPrefix(text, "Conversion Error") {
		hint += "; TRY_CAST gives NULL for what does not fit"
	}
	return &schemas.Problem{Kind: schemas.Usage, Message: text, Hint: hint}
}

// failing turns what a view's SQL came to on the records into a Problem; other errors stay as they are.
func failing(view string, err error) error {
	if !kernel.OfRecords(err) {
		return err
	}
	return &schemas.Problem{Kind: schemas.Usage, Message: "view " + view + " has no answer over these records: " + kernel.Sentence(err),
		Hint: "TRY_CAST or a WHERE in views/" + view + ".sql mends it; the other views are not touched"}
}

// damaged turns what DuckDB says of a stored file that it cannot read into a Problem; other errors stay as they are.
func (q *question) damaged(err error) error {
	var known *schemas.Problem
	if err == nil || len(q.files) == 0 || errors.As(err, &known) {
		return err
	}
	text := sentence(err)
	if strings.Contains(text, "No space left") {
		return &schemas.Problem{Kind: schemas.Environment, Message: text, Hint: "free some space, or set TMPDIR to a folder that can be written"}
	}
	ofFile := slices.ContainsFunc(q.files, func(path string) bool { return strings.Contains(text, path) })
	for _, kind := range []string{"IO Error", "Invalid Error", "Serialization Error"} { // a file's, for a question reads nothing else
		ofFile = ofFile || strings.HasPrefix(text, kind)
	}
	if !ofFile {
		return err
	}
	return &schemas.Problem{Message: "a stored file cannot be read: " + text, Hint: "run `millrace fsck` to see what is damaged"}
}

// sentence is the first line of what DuckDB says, from the kind of its error on.
func sentence(err error) string {
	text := err.Error()
	if i := strings.Index(text, "Error: "); i >= 0 {
		text = text[max(0, strings.LastIndexByte(text[:i], ':')+1):]
	}
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	return text
}
