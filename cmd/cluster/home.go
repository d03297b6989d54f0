package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/schemas"
)

const (
	stateFile    = "state.json"
	addressFile  = "addresses.json" // the engine's cluster as JSON, once it is up
	lockFile     = "lock"
	recordSuffix = ".pid.json"
)

// home is an engine's folder.
type home struct {
	dir    string
	tied   bool
	note   Note
	unlock func()

	mu      sync.Mutex
	started []*Process // by this home
}

// open makes an engine's folder and holds its lock until close.
func open(ctx context.Context, dir string, tied bool, note Note) (*home, error) {
	if dir == "" {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: "an engine needs a folder", Hint: "name one in Dir"}
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return nil, &schemas.Problem{Kind: schemas.Environment, Message: "the engine's folder cannot be made", Err: err, Hint: "name another folder"}
	}
	h := &home{dir: dir, tied: tied, note: note}
	h.unlock, err = lock(ctx, h.path(lockFile), func() { note.say("another process works on %s: waiting for it", dir) })
	return h, err
}

func (h *home) path(names ...string) string {
	return filepath.Join(append([]string{h.dir}, names...)...)
}

// write writes a file of the folder as JSON, whole or not at all.
func (h *home) write(name string, v any) error { return write(h.path(name), v) }

func write(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".part", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}

// recall gives the state that fits what is asked for: the one of the folder, or the one that fresh makes if the folder is new.
// A folder that was made for something else is refused.
func recall[Asked comparable, State any](h *home, engine string, asked Asked, fresh func() (State, error)) (State, error) {
	type file struct {
		Engine string `json:"engine"`
		Asked  Asked  `json:"asked"`
		State  State  `json:"state"`
	}
	var f file
	text, err := os.ReadFile(h.path(stateFile))
	if errors.Is(err, os.ErrNotExist) {
		f.Engine, f.Asked = engine, asked
		if f.State, err = fresh(); err != nil {
			return f.State, err
		}
		return f.State, h.write(stateFile, f)
	}
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	if err != nil {
		return f.State, fmt.Errorf("read %s: %w", h.path(stateFile), err)
	}
	if f.Engine != engine || f.Asked != asked {
		was, _ := json.Marshal(f.Asked)
		return f.State, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("%s was made with other settings: %s", h.dir, was),
			Hint: "use the same ones, or another folder; `millrace cluster down --wipe` removes it, with all data"}
	}
	return f.State, nil
}

// process makes the process NAME of this engine, and finds it if it runs already.
func (h *home) process(name string, command, env []string, ready string, ports ...int) (*Process, error) {
	p := &Process{Name: name, Log: h.path(name + ".log"), command: command, env: env, ready: regexp.MustCompile(ready), ports: ports, tied: h.tied,
		record: h.path(name + recordSuffix)}
	var err error
	p.life, err = readLife(p.record)
	return p, err
}

// start starts the processes that do not run, side by side, and tells of each. If one does not come up, those that were
// started are stopped.
func (h *home) start(ctx context.Context, processes ...*Process) error {
	var names []string
	for _, p := range processes {
		if !p.Running() {
			names = append(names, p.Name)
		}
	}
	if len(names) > 0 {
		h.note.say("starting %s", strings.Join(names, ", "))
	}
	results := make(chan error)
	for _, p := range processes {
		go func() { results <- h.startOne(ctx, p) }()
	}
	var err error
	for range processes {
		err = errors.Join(err, <-results)
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return errors.Join(err, stopAll(h.started))
	}
	return nil
}

func (h *home) startOne(ctx context.Context, p *Process) error {
	if p.Running() {
		h.note.say("%s runs already", p.Name)
		return nil
	}
	began := time.Now()
	if err := p.Start(ctx); err != nil {
		return err
	}
	h.mu.Lock()
	h.started = append(h.started, p)
	h.mu.Unlock()
	h.note.say("%s is up after %.1f s", p.Name, time.Since(began).Seconds())
	return nil
}

// stopAll stops processes side by side.
func stopAll(processes []*Process) error {
	results := make(chan error)
	for _, p := range processes {
		go func() { results <- p.Stop() }()
	}
	var err error
	for range processes {
		err = errors.Join(err, <-results)
	}
	return err
}
