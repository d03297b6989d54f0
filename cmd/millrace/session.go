package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/millrace/millrace/ingest/broker"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/scratch"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
)

// session is a project and its broker: the cluster, the one a running `up` has, or one of its own for as long as the
// verb runs.
type session struct {
	project *project.Project
	kafka   kafkalog.Config
	up      *upFile // nil: no `up` runs here
	own     *broker.Broker

	temporary *scratch.Folder // nil: none was asked for, or it is the project's own
}

// upFile is .millrace/up.json: where a running `up` can be reached. It is written when all is ready, and counts only as
// long as the process it names holds the broker's lock.
type upFile struct {
	PID   int    `json:"pid"`
	Kafka string `json:"kafka"`
	HTTP  string `json:"http"`
}

// scratchFolder is where engines spill and files are made on their way into the store.
const scratchFolder = "scratch"

// brokerWait is how long a verb waits for another one that holds the embedded broker.
const brokerWait = 30 * time.Second

// knocks is how often a broker that is there is tried, for some seconds each time, before it is called silent.
const knocks = 2

// connect finds the project's broker or opens it. The caller closes the session.
func (a *app) connect(ctx context.Context, p *project.Project) (*session, error) {
	if !p.Config.Embedded() {
		return &session{project: p, kafka: kafkaOf(p)}, nil
	}
	dir := p.Private("broker")
	deadline := time.NewTimer(brokerWait)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	told, silent := false, 0
	for {
		owner, owned := broker.Owner(dir)
		if !owned {
			s, err := a.openBroker(ctx, p, dir)
			if !errors.Is(err, broker.ErrOwned) {
				return s, err
			}
		} else if up := readUp(p); up != nil && up.PID == owner.PID && owner.Addr != "" {
			s := &session{project: p, kafka: embeddedAt(p, owner.Addr), up: up}
			if err := s.kafka.Knock(ctx, owner.Addr); err == nil || ctx.Err() != nil {
				return s, ctx.Err()
			}
			if silent++; silent == knocks {
				return nil, &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("`millrace up`, process %d, has the project's broker, and it does not answer", owner.PID),
					Hint: fmt.Sprintf("if the process is stopped, let it go on: kill -CONT %d; else end it and start it again", owner.PID)}
			}
		} else if !told && owner.PID != 0 {
			a.note("waiting for process %d, which has the project's broker", owner.PID)
			told = true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-deadline.C:
			return nil, &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("process %d has had the project's broker for %s", owner.PID, brokerWait),
				Hint: "wait for it or stop it; while `millrace up` runs, verbs work side by side"}
		}
	}
}

func (a *app) openBroker(ctx context.Context, p *project.Project, dir string) (*session, error) {
	own, err := broker.Open(ctx, broker.Options{Dir: dir, Listen: p.Config.Kafka.Listen, Log: a.logger()})
	if err != nil {
		return nil, err
	}
	// Whoever owns the broker now, it is not the `up` that an old file names, and what lies in the scratch folder was left
	// by a process that was killed.
	err = os.RemoveAll(p.Private(scratchFolder))
	if gone := os.Remove(upPath(p)); gone != nil && !errors.Is(gone, os.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	if err != nil {
		return nil, errors.Join(&schemas.Problem{Kind: schemas.Environment, Message: "the project's private folder cannot be written", Err: err,
			Hint: "give this user the right to write into .millrace of the project, or free space"}, own.Close())
	}
	return &session{project: p, kafka: embeddedAt(p, own.Addr()), own: own}, nil
}

// kafkaOf is the cluster that the project names.
func kafkaOf(p *project.Project) kafkalog.Config {
	k := p.Config.Kafka
	return kafkalog.Config{
		Brokers: p.Config.Brokers, TLS: (*kafkalog.TLS)(k.TLS), SASL: (*kafkalog.SASL)(k.SASL),
		Replication: k.Replication, MinInsync: k.MinInsync, Compression: k.Compression,
	}
}

// embeddedAt is the project's own broker.
func embeddedAt(p *project.Project, addr string) kafkalog.Config {
	return kafkalog.Config{Brokers: []string{addr}, Compression: p.Config.Kafka.Compression}
}

// Close gives the broker free if the session opened it, and removes the session's temporary files.
func (s *session) Close() error {
	if s.temporary != nil {
		s.temporary.Close()
	}
	if s.own == nil {
		return nil
	}
	return s.own.Close()
}

// scratch is the folder for the session's temporary files: the project's own if the broker is, for whoever opens that next
// empties it; else one of the system's for this process alone, which the next process removes if this one is killed.
func (s *session) scratch() (string, error) {
	if s.temporary != nil {
		return s.temporary.Path, nil
	}
	if !s.project.Config.Embedded() {
		var err error
		if s.temporary, err = scratch.New("", "millrace-process-"); err != nil {
			return "", scratch.Refused(err)
		}
		return s.temporary.Path, nil
	}
	dir := s.project.Private(scratchFolder)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", &schemas.Problem{Kind: schemas.Environment, Message: "make the scratch folder", Err: err, Hint: "give this user the right to write into the project's folder, or free space"}
	}
	return dir, nil
}

// log is the client side of the session's broker.
func (s *session) log() (*kafkalog.Log, error) {
	return kafkalog.Open(s.kafka)
}

// logger writes what libraries warn of to stderr.
func (a *app) logger() *slog.Logger {
	level := slog.LevelWarn
	if a.quiet {
		level = slog.LevelError
	}
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level}))
}

func upPath(p *project.Project) string { return p.Private("up.json") }

func readUp(p *project.Project) *upFile {
	text, err := os.ReadFile(upPath(p))
	if err != nil {
		return nil
	}
	up := &upFile{}
	if json.Unmarshal(text, up) != nil {
		return nil
	}
	return up
}

// writeUp makes up.json whole or not at all.
func writeUp(p *project.Project, up upFile) error {
	text, err := json.Marshal(up)
	if err != nil {
		return err
	}
	tmp := upPath(p) + ".tmp"
	if err := os.MkdirAll(filepath.Dir(tmp), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(tmp, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, upPath(p))
}
