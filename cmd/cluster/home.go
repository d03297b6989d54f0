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
	"syscall"

	"github.com/millrace/millrace/schemas"
)

const (
	stateFile    = "state.json"
	recordSuffix = ".pid.json"
)

// home is an engine's folder.
type home struct {
	dir    string
	tied   bool
	note   Note
	unlock func()
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
	h.unlock, err = lock(ctx, h.path("lock"), func() { note.say("another process works on %s: waiting for it", dir) })
	return h, err
}

func (h *home) path(names ...string) string {
	return filepath.Join(append([]string{h.dir}, names...)...)
}

// write writes a file of the folder as JSON, whole or not at all.
func (h *home) write(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	part := h.path(name + ".part")
	if err := os.WriteFile(part, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(part, h.path(name))
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
		return f.State, &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("%s holds %s made with other settings: %s", h.dir, f.Engine, was),
			Hint: "use the same settings, or another folder, or remove it first with `millrace cluster down --wipe`"}
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

// start starts processes one after the other, and tells of each.
func (h *home) start(ctx context.Context, processes ...*Process) error {
	for _, p := range processes {
		if p.Running() {
			h.note.say("%s runs already", p.Name)
			continue
		}
		if err := p.Start(ctx); err != nil {
			return err
		}
		h.note.say("%s is up", p.Name)
	}
	return nil
}

// together starts processes side by side.
func (h *home) together(ctx context.Context, processes ...*Process) error {
	results := make(chan error)
	for _, p := range processes {
		go func() { results <- h.start(ctx, p) }()
	}
	var err error
	for range processes {
		err = errors.Join(err, <-results)
	}
	return err
}

// stopAll stops processes side by side.
func stopAll(processes ...*Process) error {
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

// Record is a process that a folder tells of.
type Record struct {
	Engine  string `json:"engine"`
	Name    string `json:"name"`
	PID     int    `json:"pid"`
	Running bool   `json:"running"`
	Log     string `json:"log"`

	life *life
	path string
}

// Records gives the processes that the engines in a folder have: those that run, and those that ended without being stopped.
func Records(dir string) ([]Record, error) {
	var out []Record
	for _, engine := range Engines {
		paths, err := filepath.Glob(filepath.Join(dir, engine, "*"+recordSuffix))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			l, err := readLife(path)
			if err != nil {
				return nil, err
			}
			if l != nil {
				out = append(out, Record{Engine: engine, Name: strings.TrimSuffix(filepath.Base(path), recordSuffix), PID: l.PID, Running: l.running(), Log: l.Log, life: l, path: path})
			}
		}
	}
	return out, nil
}

// Down stops every process that the engines in a folder have, side by side.
func Down(dir string, note Note) error {
	records, err := Records(dir)
	if err != nil {
		return err
	}
	results := make(chan error)
	for _, r := range records {
		go func() {
			err := r.life.end(syscall.SIGTERM, r.path)
			if err == nil && r.Running {
				note.say("%s is down", r.Name)
			}
			results <- err
		}()
	}
	for range records {
		err = errors.Join(err, <-results)
	}
	return err
}
