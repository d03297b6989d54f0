// Package project reads a project's folder: millrace.yaml says where things run, and the files of topics/, views/,
// reference/ and jobs/ say what is computed. It checks all that can be checked without an engine or a broker, and
// reports every problem at once with its file, line and column.
//
// What millrace itself keeps in the folder lies in .millrace/: the lock and the log of the embedded broker, and up.json,
// which says where a running `millrace up` can be reached.
package project

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/millrace/millrace/schemas"
)

// File is the name of the project's configuration.
const File = "millrace.yaml"

// Project is a project's folder as its files say it. Concurrency: read only once it is open.
type Project struct {
	Dir        string // absolute
	Config     Config
	Topics     map[string]*schemas.Topic
	Views      []View      // by name
	Macros     *View       // views/_macros.sql, which is no view; nil if there is none
	References []Reference // by name
	Jobs       []*Job      // by name
	Notes      []string    // what was found and is not used, a sentence each
}

// View is one file of views/.
type View struct {
	Name string // the file's name without .sql
	File string // relative to the project, for messages
	SQL  string
}

// Reference is one table of reference/.
type Reference struct {
	Name   string          // the file's name without its ending
	File   string          // relative to the project, for messages
	Path   string          // absolute
	Format string          // csv, parquet or ndjson
	Fields []schemas.Field // declared in NAME.yaml beside it; nil: the engine finds them out

	AsItWas bool // views join a record with the version that was in force when it was appended, not with that of now
}

// Private is a path inside the folder that millrace keeps for itself.
func (p *Project) Private(elem ...string) string {
	return filepath.Join(append([]string{p.Dir, ".millrace"}, elem...)...)
}

// Job is the job of that name, nil if there is none.
func (p *Project) Job(name string) *Job {
	for _, j := range p.Jobs {
		if j.Name == name {
			return j
		}
	}
	return nil
}

// Open reads the project in the folder. The project is nil if there is none there; else it holds everything that could
// be read, and what is wrong stands in the problems.
func Open(dir string) (*Project, []*schemas.Problem) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, []*schemas.Problem{{Kind: schemas.Usage, Message: "find the project's folder", Err: err}}
	}
	p := &Project{Dir: abs, Topics: map[string]*schemas.Topic{}}
	l := &loader{project: p}
	if err := l.config(dir); err != nil {
		return nil, []*schemas.Problem{err}
	}
	l.topics()
	l.views()
	l.references()
	l.jobs()
	l.clashes()
	for _, name := range []string{"rules", "alerts"} {
		if files, _ := os.ReadDir(filepath.Join(abs, name)); len(files) > 0 {
			p.Notes = append(p.Notes, name+"/ is not supported yet; its files are ignored")
		}
	}
	sortProblems(l.problems)
	return p, l.problems
}

// sortProblems puts them in order of files and places.
func sortProblems(problems []*schemas.Problem) {
	slices.SortStableFunc(problems, func(a, b *schemas.Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// loader gathers the problems of all files.
type loader struct {
	project  *Project
	problems []*schemas.Problem
}

func (l *loader) report(file, hint, format string, args ...any) {
	l.problems = append(l.problems, &schemas.Problem{Kind: schemas.Usage, File: file, Message: fmt.Sprintf(format, args...), Hint: hint})
}

func (l *loader) config(dir string) *schemas.Problem {
	text, err := os.ReadFile(filepath.Join(l.project.Dir, File))
	if errors.Is(err, fs.ErrNotExist) {
		if info, serr := os.Stat(l.project.Dir); serr != nil || !info.IsDir() {
			return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("there is no folder %s", dir),
				Hint: "`millrace init DIR` makes a project; -C DIR names the one to use"}
		}
		return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("there is no %s in %s", File, dir),
			Hint: "`millrace init` makes a project here; -C DIR names another folder"}
	}
	if err != nil {
		return &schemas.Problem{Kind: schemas.Environment, File: File, Message: "read the configuration", Err: err}
	}
	f := &form{file: File}
	l.project.Config = f.parseConfig(l.project.Dir, text)
	l.problems = append(l.problems, f.problems...)
	return nil
}

func (l *loader) topics() {
	l.each("topics", []string{".yaml"}, func(name, file string, text []byte) {
		topic, problems := schemas.ParseTopic(name, file, text)
		l.problems = append(l.problems, problems...)
		if topic != nil {
			l.project.Topics[name] = topic
		}
	})
}

func (l *loader) views() {
	l.each("views", []string{".sql"}, func(name, file string, text []byte) {
		if name == "_macros" {
			l.project.Macros = &View{Name: name, File: file, SQL: string(text)}
			return
		}
		l.identifier(name, file)
		if strings.TrimSpace(string(text)) == "" {
			l.report(file, "write one SELECT", "the view is empty")
		}
		l.project.Views = append(l.project.Views, View{Name: name, File: file, SQL: string(text)})
	})
}

// formats are the endings of reference files.
var formats = map[string]string{".csv": "csv", ".parquet": "parquet", ".ndjson": "ndjson"}

func (l *loader) references() {
	declared := map[string]Reference{}
	l.each("reference", []string{".yaml"}, func(name, file string, text []byte) {
		f := &form{file: file}
		r := f.parseReference(name, file, text)
		l.problems = append(l.problems, f.problems...)
		if len(f.problems) == 0 {
			declared[name] = r
		}
	})
	l.each("reference", []string{".csv", ".parquet", ".ndjson"}, func(name, file string, _ []byte) {
		l.identifier(name, file)
		l.project.References = append(l.project.References, Reference{
			Name: name, File: file, Path: filepath.Join(l.project.Dir, filepath.FromSlash(file)),
			Format: formats[filepath.Ext(file)], Fields: declared[name].Fields, AsItWas: declared[name].AsItWas,
		})
		delete(declared, name)
	})
	for name := range declared {
		l.report("reference/"+name+".yaml", "put "+name+".csv, .parquet or .ndjson beside it", "it declares a table that is not there")
	}
}

// histories are what `history` of a reference may say, and whether records are joined with the version of then.
var histories = map[string]bool{"as it is now": false, "as it was": true}

// parseReference reads the declaration of a reference table.
func (f *form) parseReference(name, file string, text []byte) (r Reference) {
	s := f.parse(text, "fields", "history")
	history := "as it is now"
	s.text("history", &history)
	known := false
	if r.AsItWas, known = histories[history]; !known {
		s.report("history", "write `as it was`, or `as it is now`", "want which version records are joined with, not %q", history)
	}
	switch {
	case len(f.problems) > 0:
	case s.values["fields"] != nil:
		var problems []*schemas.Problem
		r.Fields, problems = schemas.ParseFields(name, file, text, "history")
		f.problems = append(f.problems, problems...)
	case r.AsItWas:
		f.report(s.at, "declare the columns under fields: as a topic does, so that all versions have the same", "fields is missing, and a table that is joined as it was needs it")
	case s.values["history"] == nil:
		f.report(s.at, "declare the columns under fields: as a topic does", "fields is missing")
	}
	return r
}

func (l *loader) jobs() {
	l.each("jobs", []string{".yaml"}, func(name, file string, text []byte) {
		l.identifier(name, file)
		f := &form{file: file}
		l.project.Jobs = append(l.project.Jobs, f.parseJob(name, text))
		l.problems = append(l.problems, f.problems...)
	})
}

// each calls do for every file of a folder that has one of the endings, in order of names. The text of a reference's
// data is not read. Files with other endings are noted, hidden ones passed over.
func (l *loader) each(folder string, endings []string, do func(name, file string, text []byte)) {
	entries, err := os.ReadDir(filepath.Join(l.project.Dir, folder))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			l.problems = append(l.problems, &schemas.Problem{Kind: schemas.Environment, File: folder, Message: "read the folder", Err: err})
		}
		return
	}
	for _, e := range entries {
		file, ending := folder+"/"+e.Name(), filepath.Ext(e.Name())
		name := strings.TrimSuffix(e.Name(), ending)
		switch {
		case strings.HasPrefix(e.Name(), ".") || e.IsDir():
			continue
		case !slices.Contains(endings, ending):
			if folder != "reference" || (formats[ending] == "" && ending != ".yaml" && endings[0] != ".yaml") {
				l.project.Notes = append(l.project.Notes, fmt.Sprintf("%s is ignored: a file of %s/ ends in %s", file, folder, expected(folder)))
			}
			continue
		case formats[ending] != "":
			do(name, file, nil)
			continue
		}
		text, err := os.ReadFile(filepath.Join(l.project.Dir, filepath.FromSlash(file)))
		if err != nil {
			l.problems = append(l.problems, &schemas.Problem{Kind: schemas.Environment, File: file, Message: "read the file", Err: err})
			continue
		}
		do(name, file, text)
	}
}

func expected(folder string) string {
	switch folder {
	case "views":
		return ".sql"
	case "reference":
		return ".csv, .parquet or .ndjson"
	}
	return ".yaml"
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// identifier holds the names of views, references and jobs to what SQL takes without quotes.
func (l *loader) identifier(name, file string) {
	if !identifier.MatchString(name) {
		l.report(file, "rename the file: letters, digits and _, not starting with a digit", "%q is not a name", name)
	}
}

// clashes reports names that stand for two tables. SQL's names do not tell upper case from lower.
func (l *loader) clashes() {
	taken := map[string]string{} // lower-case name to file
	claim := func(name, file string) {
		key := strings.ToLower(name)
		if other, ok := taken[key]; ok {
			l.report(file, "rename one of the files", "the name %s is taken by %s", name, other)
			return
		}
		taken[key] = file
	}
	for _, name := range l.project.TopicNames() {
		claim(name, "topics/"+name+".yaml")
	}
	for _, r := range l.project.References {
		claim(r.Name, r.File)
	}
	for _, v := range l.project.Views {
		claim(v.Name, v.File)
	}
}

// TopicNames lists the topics in order.
func (p *Project) TopicNames() []string {
	names := make([]string, 0, len(p.Topics))
	for name := range p.Topics {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
