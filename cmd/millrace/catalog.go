package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

// catalog is a project as the layers take it: its topics and references, its views compiled.
type catalog struct {
	views.Catalog
	views []*views.View // in order of names

	history *versions.History // of the references that views join as they were; nil: there are none
}

// open reads the project of -C and compiles it. Errors: problems, every one of them.
func (a *app) open() (*project.Project, *catalog, error) {
	p, found := project.Open(a.dir)
	if len(found) > 0 {
		return nil, nil, problems(found)
	}
	c, found, err := compile(p, nil)
	if err != nil {
		return nil, nil, err
	}
	if len(found) > 0 {
		return nil, nil, problems(found)
	}
	return p, c, nil
}

// openDespite is open over what the project's files have that is right: what is wrong in a view, a reference or a job does not
// stand in the way of the others, and is given back.
func (a *app) openDespite(want wanted) (*project.Project, *catalog, problems, error) {
	p, err := a.topics()
	if err != nil {
		return nil, nil, nil, err
	}
	_, wrong := project.Open(a.dir)
	c, more, err := compile(p, want)
	return p, c, append(problems(wrong), more...), err
}

// wanted says which views a verb needs compiled; nil: it needs all, and to know that macros and jobs are right.
type wanted func(p *project.Project, view string) bool

// viewsIn wants the views that a text can read: those whose name is a word in it, or in the macros that it may call.
func viewsIn(text string) wanted {
	return func(p *project.Project, view string) bool {
		in := func(text string) bool {
			return slices.ContainsFunc(words.FindAllString(text, -1), func(word string) bool { return strings.EqualFold(word, view) })
		}
		return in(text) || p.Macros != nil && in(p.Macros.SQL)
	}
}

// words are what names of views can be in a text.
var words = regexp.MustCompile(`[A-Za-z0-9_]+`)

// compile loads the references and compiles the macros, the views that are wanted and the jobs' queries of a project. What
// cannot be compiled is left out and stands in the problems.
func compile(p *project.Project, want wanted) (*catalog, problems, error) {
	compiler, err := views.Open()
	if err != nil {
		return nil, nil, err
	}
	defer compiler.Close()
	c := &catalog{Catalog: views.Catalog{Topics: p.Topics, References: map[string]*views.Reference{}, ViewTexts: map[string]views.ViewText{}}}
	found := c.references(p)
	if p.Macros != nil {
		var more []*schemas.Problem
		c.Macros, more = compiler.ReadMacros(p.Macros.File, p.Macros.SQL)
		found = append(found, more...)
	}
	for _, v := range p.Views {
		c.ViewTexts[v.Name] = views.ViewText{File: v.File, SQL: v.SQL}
	}
	for _, v := range p.Views {
		if want != nil && !want(p, v.Name) {
			continue
		}
		compiled, err := compiler.Compile(v.Name, v.File, v.SQL, &c.Catalog)
		if err == nil {
			err = c.joinsThen(compiler, compiled)
		}
		if err != nil {
			found = found.with(asProblem(v.File, err))
			continue
		}
		c.views = append(c.views, compiled)
	}
	if want != nil {
		return c, found, nil
	}
	tables := c.tables()
	tables.Parameters = jobParameters
	if c.Macros != nil {
		for _, problem := range compiler.CheckMacros(c.Macros, tables) {
			found = found.with(problem)
		}
	}
	if len(found) > 0 {
		return c, found, nil // a job may read what is missing for another reason
	}
	for _, j := range p.Jobs {
		if _, err := compiler.Query(j.SQL, tables); err != nil {
			problem := asProblem(j.File, err)
			if problem.File == j.File {
				problem.Line, problem.Column = j.Place(problem.Line, problem.Column)
			}
			found = append(found, problem)
		}
	}
	return c, found, nil
}

// tables are what a question may read.
func (c *catalog) tables() views.Tables {
	t := views.Tables{Catalog: c.Catalog, Views: map[string][]views.Column{}}
	for _, v := range c.views {
		t.Views[v.Name] = v.Columns
	}
	return t
}

// references loads them.
func (c *catalog) references(p *project.Project) (found problems) {
	for _, r := range p.References {
		loaded, err := views.LoadReference(r.Name, r.Path, r.Fields)
		if err != nil {
			found = append(found, asProblem(r.File, err))
			continue
		}
		loaded.AsItWas = r.AsItWas
		c.References[r.Name] = loaded
	}
	return found
}

// joinsThen refuses a view that joins a table as it was where that has no meaning: only a record has a time.
func (c *catalog) joinsThen(compiler *views.Compiler, v *views.View) error {
	refuse := func(names []string, why string) error {
		for _, name := range names {
			if c.References[name].AsItWas {
				return &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("%s is joined as it was, and %s", name, why),
					Hint: "join it with the records of a view that is merged, or declare history: as it is now in reference/" + name + ".yaml"}
			}
		}
		return nil
	}
	if !v.Class.FromPartials() && len(v.Topics) > 0 {
		return refuse(v.References, "this view is answered from raw: "+strings.Join(v.Reasons, "; "))
	}
	groups, err := compiler.JoinsGroups(v)
	if err != nil {
		return err
	}
	return refuse(groups, "this view joins it with groups of records")
}

// keep has the store keep the versions of the references, and reads them from there. One that cannot be kept is read where
// it lies.
func (c *catalog) keep(ctx context.Context, a *app, p *project.Project, s store.Store, compiler *views.Compiler, scratch string) {
	defer c.remember(s, compiler)
	for _, r := range p.References {
		now := c.References[r.Name]
		if now == nil {
			continue
		}
		kept, err := versions.Keep(ctx, s, now, r.Path, scratch)
		if err == nil {
			kept.AsItWas = now.AsItWas
			c.References[r.Name] = kept
		} else if ctx.Err() == nil {
			a.logger().Warn("this version of a reference table is not kept: after it has changed, a certificate that names it cannot be answered again", "reference", r.Name, "error", err)
		}
	}
}

// remember opens the history of the references.
func (c *catalog) remember(s store.Store, compiler *views.Compiler) {
	if c.AsItWas() {
		c.history = versions.NewHistory(s, compiler, &c.Catalog)
	}
}

// with adds a problem once: a view's shows again in those that read it, a macro's where it is used.
func (p problems) with(one *schemas.Problem) problems {
	for _, other := range p {
		if other.Error() == one.Error() {
			return p
		}
	}
	return append(p, one)
}

// jobParameters stand for a run's interval where a job is only checked.
var jobParameters = map[string]string{
	"scheduled_at": "TIMESTAMPTZ '2000-01-01 00:00:00+00'",
	"from":         "TIMESTAMPTZ '2000-01-01 00:00:00+00'",
	"to":           "TIMESTAMPTZ '2000-01-02 00:00:00+00'",
}

// asProblem is the Problem in an error's chain at a file of the project, or a new one.
func asProblem(file string, err error) *schemas.Problem {
	var p *schemas.Problem
	if !errors.As(err, &p) {
		return &schemas.Problem{Kind: schemas.Failed, File: file, Message: err.Error()}
	}
	out := *p
	if out.File == "" || filepath.IsAbs(out.File) {
		out.File = file
	}
	return &out
}
