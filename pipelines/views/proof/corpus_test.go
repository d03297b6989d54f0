package proof_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

var rewrite = flag.Bool("rewrite", false, "make the expected classes anew from the compiler and the expected answers from DuckDB run directly")

const corpusCuts = 10

// A file of the corpus is blocks with an empty line between them. README.md beside them says how to read and write one.
type block struct {
	kind, name string   // comment, topic, reference, macros, named or view
	lines      []string // what follows the first line
	text       string   // the block as it stands
}

// viewCase is a block of kind view.
type viewCase struct {
	sql     string
	exactly string  // another SELECT that gives the answer
	within  float64 // how far the view may be off it, of the value
	settled bool    // the text's own answer is open: the raw plan settles it
	class   string
	answer  string
}

var firstLine = regexp.MustCompile(`^(topic|reference|named|view) (.+)$|^(macros)$`)

func readBlocks(text string) []block {
	var out []block
	for _, b := range regexp.MustCompile(`\n\n+`).Split(strings.TrimSpace(text), -1) {
		lines := strings.Split(b, "\n")
		k := block{kind: "comment", lines: lines, text: b}
		if m := firstLine.FindStringSubmatch(lines[0]); m != nil {
			k.kind, k.name, k.lines = m[1]+m[3], m[2], lines[1:]
		} else if slices.ContainsFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "#") }) {
			k.kind = ""
		}
		out = append(out, k)
	}
	return out
}

// columnsAndRows reads the head and the rows of a topic or reference: columns with their types, and rows either listed
// or given by a SELECT.
func columnsAndRows(lines []string) (columns []views.Column, rows string, err error) {
	if len(lines) == 0 {
		return nil, "", errors.New("a table has a line of columns")
	}
	head, err := cells(lines[0])
	if err != nil {
		return nil, "", err
	}
	for _, c := range head {
		name, kind, ok := strings.Cut(*c, " ")
		if !ok {
			return nil, "", fmt.Errorf("column %q has no type", *c)
		}
		columns = append(columns, views.Column{Name: name, Type: strings.TrimSpace(kind)})
	}
	if len(lines) > 1 && strings.HasPrefix(lines[1], "SELECT ") {
		return columns, strings.Join(lines[1:], "\n"), nil
	}
	var values []string
	for _, line := range lines[1:] {
		row, err := cells(line)
		if err != nil || len(row) != len(columns) {
			return nil, "", fmt.Errorf("%s: %d values for %d columns, %v", line, len(row), len(columns), err)
		}
		var of []string
		for _, v := range row {
			if v == nil {
				of = append(of, "NULL")
			} else {
				of = append(of, schemas.QuoteText(*v))
			}
		}
		values = append(values, "("+strings.Join(of, ", ")+")")
	}
	var casts, names []string
	for i, c := range columns {
		names = append(names, fmt.Sprintf("c%d", i))
		casts = append(casts, fmt.Sprintf("CAST(c%d AS %s) AS %s", i, c.Type, schemas.QuoteIdent(c.Name)))
	}
	none := ""
	if len(values) == 0 {
		values, none = []string{"(" + strings.TrimSuffix(strings.Repeat("NULL, ", len(columns)), ", ") + ")"}, " WHERE false"
	}
	return columns, fmt.Sprintf("SELECT %s FROM (VALUES %s) AS v(%s)%s", strings.Join(casts, ", "), strings.Join(values, ", "), strings.Join(names, ", "), none), nil
}

// declare makes a topic of the columns; those of the system are no fields of it.
func declare(t reporter, name string, columns []views.Column) *schemas.Topic {
	t.Helper()
	var fields []string
	for _, c := range columns {
		if strings.HasPrefix(c.Name, "_") {
			continue
		}
		key, err := json.Marshal(c.Name)
		if err != nil {
			t.Fatalf("%v", err)
		}
		kind, err := json.Marshal(c.Type)
		if err != nil {
			t.Fatalf("%v", err)
		}
		fields = append(fields, fmt.Sprintf("%s: %s", key, kind))
	}
	topic, problems := schemas.ParseTopic(name, name+".yaml", []byte("fields: {"+strings.Join(fields, ", ")+"}"))
	if len(problems) > 0 {
		t.Fatalf("%v", problems[0])
	}
	return topic
}

var within = regexp.MustCompile(`^within ([0-9.]+)% of$`)

func readCase(lines []string) (viewCase, error) {
	var c viewCase
	var sql []string
	for i, line := range lines {
		if line == "settled" {
			c.settled = true
		} else if line == "the same as" {
			c.sql, sql = strings.Join(sql, "\n"), nil
		} else if m := within.FindStringSubmatch(line); m != nil {
			percent, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				return c, err
			}
			c.within, c.sql, sql = percent/100, strings.Join(sql, "\n"), nil
		} else if class, ok := strings.CutPrefix(line, "=>"); ok {
			c.class = strings.TrimSpace(class)
			if i+1 < len(lines) {
				c.answer = strings.Join(lines[i+1:], "\n") + "\n"
			}
			break
		} else {
			sql = append(sql, line)
		}
	}
	text := strings.Join(sql, "\n")
	if c.sql == "" {
		c.sql = text
	} else {
		c.exactly = text
	}
	if c.sql == "" {
		return c, errors.New("a view has a SELECT")
	}
	return c, nil
}

// write gives the block with another expected side.
func (c viewCase) write(name, class, answer string) string {
	text := "view " + name + "\n" + c.sql + "\n"
	switch {
	case c.exactly != "" && c.within > 0:
		text += fmt.Sprintf("within %v%% of\n%s\n", c.within*100, c.exactly)
	case c.exactly != "":
		text += "the same as\n" + c.exactly + "\n"
	}
	if c.settled {
		text += "settled\n"
	}
	return strings.TrimRight(text+strings.TrimSpace("=> "+class)+"\n"+answer, "\n")
}

// TestCorpus compiles every view of testdata/views and holds it to the class and the answer that stand there.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("../../../testdata/views/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	cases, classes := 0, map[string]int{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			f := &corpusFile{ground: newGround(t), seen: map[string]bool{}}
			blocks := readBlocks(readFile(t, file))
			var out []string
			for _, b := range blocks {
				out = append(out, f.run(t, b))
			}
			if text := strings.Join(out, "\n\n") + "\n"; *rewrite && text != readFile(t, file) {
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			cases += len(f.seen)
			for _, class := range f.classes {
				classes[class]++
			}
		})
	}
	t.Logf("%d views: %v", cases, classes)
}

type corpusFile struct {
	*ground
	seen    map[string]bool
	classes []string
}

// run gives the block as it should be.
func (f *corpusFile) run(t *testing.T, b block) string {
	t.Helper()
	switch b.kind {
	case "comment":
	case "topic", "reference":
		columns, rows, err := columnsAndRows(b.lines)
		if err != nil {
			t.Fatalf("%s: %v", b.name, err)
		}
		if b.kind == "topic" {
			f.topic(t, declare(t, b.name, columns), rows)
		} else {
			f.reference(t, b.name, rows)
		}
	case "macros":
		f.macros(t, strings.Join(b.lines, "\n"))
	case "named":
		text := strings.Join(b.lines, "\n")
		f.exec(t, "CREATE VIEW "+schemas.QuoteIdent(b.name)+" AS "+text)
		f.catalog.ViewTexts[b.name] = views.ViewText{File: b.name + ".sql", SQL: text}
	case "view":
		if f.seen[b.name] {
			t.Errorf("two views are named %q", b.name)
		}
		f.seen[b.name] = true
		text := b.text
		t.Run(b.name, func(t *testing.T) { text = f.view(t, b) })
		return text
	default:
		t.Errorf("a block is # a comment, topic NAME, reference NAME, macros, named NAME or view NAME, not\n%s", b.text)
	}
	return b.text
}

// view runs one case and gives its block as it should be.
func (f *corpusFile) view(t *testing.T, b block) string {
	c, err := readCase(b.lines)
	if err != nil {
		t.Fatal(err)
	}
	v, err := f.compile(t, "v", c.sql)
	class, text := classText(t, v, err)
	f.classes = append(f.classes, class)
	if class == "refused" {
		f.hold(t, c, text, "")
		return c.write(b.name, text, "")
	}
	direct, err := f.direct(t, v, c)
	if err != nil {
		t.Fatal(err)
	}
	want := direct
	if !isOrdered(v.SQL) {
		want.rows = sorted(want.rows)
	}
	f.hold(t, c, text, want.String())
	f.prove(t, v, want, f.tolerance(t, v, c), b.name, corpusCuts)
	return c.write(b.name, text, want.String())
}

func (f *corpusFile) hold(t *testing.T, c viewCase, class, answer string) {
	t.Helper()
	if *rewrite {
		return
	}
	if c.class != class {
		t.Errorf("%s\n is %s\n not %s", c.sql, class, c.class)
	}
	if c.answer != answer {
		t.Errorf("%s\nDuckDB gives\n%snot\n%s", c.sql, answer, c.answer)
	}
}

// direct is the answer a view must give: DuckDB's to the view's own text, or to what the sketches in it stand for, or,
// where the text leaves the answer open, to the raw plan.
func (f *corpusFile) direct(t *testing.T, v *views.View, c viewCase) (answer, error) {
	t.Helper()
	switch {
	case c.exactly != "":
		return f.ask(t, c.exactly)
	case c.settled:
		return f.ask(t, v.RawSQL(nil))
	}
	return f.ask(t, strings.TrimRight(c.sql, "; \n"))
}

func (f *corpusFile) tolerance(t *testing.T, v *views.View, c viewCase) measure {
	t.Helper()
	if c.within > 0 {
		return measure{relative: c.within, all: true}
	}
	return f.rounding(t, v)
}

// prove compares a view's answers with what it should be: from raw, and from partials under random cuts.
func (g *ground) prove(t *testing.T, v *views.View, want answer, within measure, seed string, cuts int) {
	t.Helper()
	check := func(what string, got answer, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		} else if !within.same(got, want, isOrdered(v.SQL)) {
			t.Errorf("%s\n%s gives\n%snot\n%s%s", v.SQL, what, got, want, plans(v))
		}
	}
	if !within.all {
		got, err := g.ask(t, v.RawSQL(nil))
		check("the raw plan", got, err)
	}
	if !v.Class.FromPartials() {
		return
	}
	h := fnv.New64a()
	h.Write([]byte(seed))
	rows, err := g.ask(t, "SELECT count(*) FROM "+schemas.QuoteIdent(v.Topic))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(*rows.rows[0][0])
	if err != nil {
		t.Fatal(err)
	}
	pick := randomPick(h.Sum64())
	for range cuts {
		if t.Failed() {
			return
		}
		c := drawCutting(n, pick)
		overParts, overMerged, err := g.cut(t, v, c)
		check("the answer over partials, "+c.String()+",", overParts, err)
		check("the final plan over merges, "+c.String()+",", overMerged, err)
	}
}

func plans(v *views.View) string {
	return fmt.Sprintf("partial %s\nmerge %s\nfinal %s\nraw %s\n", v.Plans.Partial, v.Plans.Merge, v.Plans.Final, v.Plans.Raw)
}

// rounding is by how much the view's floating sums may be off.
func (g *ground) rounding(t reporter, v *views.View) measure {
	t.Helper()
	largest := 1e3
	if q := v.MagnitudeSQL(nil); q != "" {
		a, err := g.ask(t, q)
		if err != nil {
			t.Fatalf("%v", err)
		}
		for _, row := range a.rows {
			for _, value := range row[len(v.Columns):] {
				if value == nil {
					continue
				}
				if m, err := strconv.ParseFloat(*value, 64); err == nil && m > largest && !math.IsInf(m, 1) { // what is NaN measures nothing
					largest = m
				}
			}
		}
	}
	return rounding(largest)
}

// classText says what the compiler says: the class, and the class with its reasons or the sentence of the refusal.
func classText(t *testing.T, v *views.View, err error) (class, text string) {
	t.Helper()
	if err != nil {
		var p *schemas.Problem
		if !errors.As(err, &p) || p.Kind != schemas.Usage || p.Hint == "" {
			t.Fatalf("not a Problem a person can act on: %v", err)
		}
		return "refused", "refused " + strings.TrimPrefix(err.Error(), "v.sql:")
	}
	if text = string(v.Class); len(v.Reasons) > 0 {
		text += ": " + strings.Join(v.Reasons, "; ")
	}
	return string(v.Class), text
}

// isOrdered says whether a SELECT orders its answer, not only rows within brackets.
func isOrdered(sql string) bool {
	depth, quote := 0, byte(0)
	for i := range len(sql) {
		switch c := sql[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '(' || c == '[' || c == '{':
			depth++
		case c == ')' || c == ']' || c == '}':
			depth--
		case depth == 0 && strings.HasPrefix(sql[i:], "ORDER BY "):
			return true
		}
	}
	return false
}
