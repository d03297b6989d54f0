package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/millrace/millrace/schemas"
)

const (
	readyWithin = 3 * time.Minute  // a JVM on a busy machine takes its time
	stopWithin  = 15 * time.Second // from SIGTERM to SIGKILL
)

// Process is one process of an engine: it runs in a session of its own, writes to its log and is named by a record in the
// engine's folder, so that another run of the program finds it again. Its methods may be called from several goroutines.
type Process struct {
	Name string // such as kafka-1
	Log  string // the path of its log, which is appended to

	command []string
	env     []string       // beside the environment's own
	ready   *regexp.Regexp // a line of the log that says it is up
	ports   []int          // that it will listen on
	tied    bool
	record  string // the record's path

	mu   sync.Mutex
	life *life // nil: it has not run yet
}

// life is one run of a process.
type life struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // as the system tells it
	Log     string `json:"log"`

	reaped chan struct{} // closed when it has ended, if this program started it; else nil
}

func (l *life) running() bool {
	if l == nil {
		return false
	}
	if l.reaped != nil {
		select {
		case <-l.reaped:
			return false
		default:
			return true
		}
	}
	started, ok := startTime(l.PID)
	return ok && started == l.Started
}

// readLife gives what a record says, nil if there is none.
func readLife(path string) (*life, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l := &life{}
	if err := json.Unmarshal(text, l); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return l, nil
}

// PID is the id of the running process, 0 if it does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.life.running() {
		return 0
	}
	return p.life.PID
}

// Running says whether the process runs.
func (p *Process) Running() bool { return p.PID() != 0 }

// Start starts the process and waits until it is ready; one that runs is left alone.
func (p *Process) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life.running() {
		return nil
	}
	for _, port := range p.ports {
		if err := free(p.Name, port); err != nil {
			return err
		}
	}
	from, err := p.launch()
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	if err := p.wait(ctx, from); err != nil {
		return errors.Join(err, p.life.signal(syscall.SIGKILL), p.life.gone(stopWithin), os.Remove(p.record))
	}
	return nil
}

// launch starts the process; from is where its part of the log begins.
func (p *Process) launch() (from int64, err error) {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	if from, err = log.Seek(0, io.SeekEnd); err != nil {
		return 0, err
	}
	cmd := exec.Command(p.command[0], p.command[1:]...)
	cmd.Dir = filepath.Dir(p.Log)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes(p.tied)
	started, reaped := make(chan error), make(chan struct{})
	go func() {
		// A tied process ends with the thread that started it, so that thread waits for it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(reaped)
		}
	}()
	if err := <-started; err != nil {
		return 0, err
	}
	l := &life{PID: cmd.Process.Pid, Log: p.Log, reaped: reaped}
	l.Started, _ = startTime(l.PID)
	p.life = l
	if err := write(p.record, l); err != nil {
		return 0, errors.Join(err, l.signal(syscall.SIGKILL))
	}
	return from, nil
}

// wait waits for the line that says the process is ready.
func (p *Process) wait(ctx context.Context, from int64) error {
	limit := time.After(readyWithin)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ended := !p.life.running()
		text, err := readFrom(p.Log, from)
		if err != nil {
			return err
		}
		switch {
		case p.ready.Match(text):
			return nil
		case ended:
			return p.trouble("ended before it was ready", text)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit:
			return p.trouble(fmt.Sprintf("was not ready after %v", readyWithin), text)
		case <-tick.C:
		}
	}
}

// trouble tells why a process did not come up, with the end of its log.
func (p *Process) trouble(what string, log []byte) error {
	hint := "its log is " + p.Log
	if bytes.Contains(log, []byte("Address already in use")) || bytes.Contains(log, []byte("BindException")) {
		hint = "a port that it wants is taken; " + hint
	}
	if bytes.Contains(log, []byte("OutOfMemoryError")) || bytes.Contains(log, []byte("insufficient memory")) {
		hint = "it ran out of memory; " + hint
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	last := lines[max(0, len(lines)-3):]
	return &schemas.Problem{Kind: schemas.Environment, Message: p.Name + " " + what, Err: errors.New(strings.Join(last, " | ")), Hint: hint}
}

func readFrom(path string, from int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

// Kill ends the process and what it has started as a crash of its machine would, with SIGKILL, and waits until it is gone.
func (p *Process) Kill() error { return p.end(syscall.SIGKILL) }

// Stop asks the process and what it has started to end, and kills them if it takes too long.
func (p *Process) Stop() error { return p.end(syscall.SIGTERM) }

func (p *Process) end(signal syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life.end(signal, p.record)
}

// end ends a life and takes its record away.
func (l *life) end(signal syscall.Signal, record string) error {
	if l.running() {
		if err := l.signal(signal); err != nil {
			return err
		}
		if err := l.gone(stopWithin); err != nil && signal != syscall.SIGKILL {
			if err := l.signal(syscall.SIGKILL); err != nil {
				return err
			}
			if err := l.gone(stopWithin); err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
	}
	if err := os.Remove(record); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// signal sends a signal to the process and its children, if it still is the one that was started: it leads their group.
func (l *life) signal(s syscall.Signal) error {
	if !l.running() {
		return nil
	}
	if err := syscall.Kill(-l.PID, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process %d: %w", l.PID, err)
	}
	return nil
}

// gone waits until the process has ended.
func (l *life) gone(within time.Duration) error {
	for end := time.Now().Add(within); l.running(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("process %d does not end", l.PID)
		}
	}
	return nil
}
