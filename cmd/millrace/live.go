package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/millrace/millrace/ingest"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/serving"
)

// live is a project as its files are now, for a process that runs on while they change: they are read and compiled anew
// once a name, a size or a modification time has changed. What is wrong in one file does not stand in the way of the
// others. Concurrency: safe; a compilation keeps other questions waiting, but not records.
type live struct {
	dir      string
	producer *ingest.Producer // makes the topics that are new

	mu       sync.Mutex
	stamp    string
	project  *project.Project
	problems problems // of files, and of views once they are compiled

	compiling sync.Mutex
	compiled  string // the stamp that defs are of
	defs      *serving.Definitions
}

// read is the project. Errors: a Problem of kind Environment if there is none any more.
func (l *live) read() (*project.Project, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	stamp := stampOf(l.dir)
	if stamp == l.stamp {
		return l.project, nil
	}
	p, found := project.Open(l.dir)
	if p == nil {
		return nil, &schemas.Problem{Kind: schemas.Environment, Message: "the project cannot be read", Err: problems(found), Hint: "put its files back"}
	}
	l.stamp, l.project, l.problems = stamp, p, found
	return p, nil
}

func (l *live) topics(context.Context) (map[string]*schemas.Topic, error) {
	p, err := l.read()
	if err != nil {
		return nil, err
	}
	return p.Topics, nil
}

// definitions are the project's topics, references and views, compiled; the broker has all the topics.
func (l *live) definitions(ctx context.Context) (*serving.Definitions, error) {
	l.compiling.Lock()
	defer l.compiling.Unlock()
	p, err := l.read()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	stamp := l.stamp
	l.mu.Unlock()
	if stamp == l.compiled {
		return l.defs, nil
	}
	c, found, err := compile(p)
	if err != nil {
		return nil, err
	}
	for _, name := range p.TopicNames() {
		if _, _, err := l.producer.Prepare(ctx, p.Topics[name]); err != nil {
			return nil, err
		}
	}
	l.compiled, l.defs = stamp, c.definitions()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stamp == stamp {
		l.problems = append(l.problems, found...)
	}
	return l.defs, nil
}

// wrong is what is known to be wrong in the project's files.
func (l *live) wrong() problems {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.problems
}

// stampOf changes when a file of the project does.
func stampOf(dir string) string {
	var b strings.Builder
	note := func(info fs.FileInfo, err error) {
		if err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", info.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	note(os.Stat(filepath.Join(dir, project.File)))
	for _, folder := range []string{"topics", "views", "reference", "jobs"} {
		b.WriteString(folder + "/\n")
		files, _ := os.ReadDir(filepath.Join(dir, folder)) // one that cannot be read is a problem of the project
		for _, f := range files {
			note(os.Stat(filepath.Join(dir, folder, f.Name())))
		}
	}
	return b.String()
}
