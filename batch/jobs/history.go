package jobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/schemas"
)

// State is how a run stands.
type State string

// The states of a run.
const (
	Done        State = "done"        // the output is there
	Failed      State = "failed"      // all attempts failed
	Interrupted State = "interrupted" // it was told to end
	Lost        State = "lost"        // its process ended without a word
	Running     State = "running"
)

// Who asked for a run.
const (
	BySchedule = "schedule"
	ByHand     = "hand"
	ByBackfill = "backfill"
)

// Run is one run as the history tells it.
type Run struct {
	Job         string          `json:"job"`
	Due         time.Time       `json:"due"`
	From        time.Time       `json:"from"` // the interval is [From, To)
	To          time.Time       `json:"to"`
	By          string          `json:"by"`
	State       State           `json:"state"`
	Started     time.Time       `json:"started"`
	Ended       time.Time       `json:"ended,omitzero"` // zero: lost or running
	PID         int             `json:"pid"`
	Host        string          `json:"host,omitempty"`
	Attempts    int             `json:"attempts"`
	Pinned      bool            `json:"pinned"` // over the snapshot of the interval's run before
	Output      string          `json:"output"` // absolute
	Bytes       int64           `json:"bytes"`
	SHA256      string          `json:"sha256,omitempty"`
	Certificate json.RawMessage `json:"certificate,omitempty"` // what was covered; nil: nothing was
	Error       string          `json:"error,omitempty"`       // of the last attempt that failed
}

// event is one line of the history.
type event struct {
	Event       string          `json:"event"`
	At          time.Time       `json:"at"`
	Due         time.Time       `json:"due,omitzero"`
	From        time.Time       `json:"from,omitzero"`
	To          time.Time       `json:"to,omitzero"`
	By          string          `json:"by,omitempty"`
	PID         int             `json:"pid,omitempty"`
	Host        string          `json:"host,omitempty"`
	Output      string          `json:"output,omitempty"`
	Pinned      bool            `json:"pinned,omitempty"`
	Bytes       int64           `json:"bytes,omitempty"`
	SHA256      string          `json:"sha256,omitempty"`
	Certificate json.RawMessage `json:"certificate,omitempty"`
	Outcome     State           `json:"outcome,omitempty"`
	Error       string          `json:"error,omitempty"`
}

const (
	startEvent = "start"
	retryEvent = "retry"
	coverEvent = "cover"
	endEvent   = "end"
)

const ending = ".history"

// day is the name of the file that holds an interval's runs.
func day(due time.Time) string { return due.UTC().Format(time.DateOnly) + ending }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (e event) line() ([]byte, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(body, castagnoli), body), nil
}

// parseLine reads a line without its line feed.
func parseLine(line []byte) (e event, err error) {
	if len(line) < 10 || line[8] != ' ' {
		return e, errors.New("not a line of a history")
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	if err != nil {
		return e, errors.New("not a line of a history")
	}
	if uint32(sum) != crc32.Checksum(line[9:], castagnoli) {
		return e, errors.New("checksum does not fit")
	}
	return e, json.Unmarshal(line[9:], &e)
}

// parse reads a file's bytes. Good is where its last good line ends.
func parse(text []byte) (events []event, good int, err error) {
	var bad error
	at := 0
	for n := 1; at < len(text); n++ {
		line, _, whole := bytes.Cut(text[at:], []byte("\n"))
		e, err := parseLine(line)
		switch {
		case err != nil || !whole:
			if bad == nil {
				bad = fmt.Errorf("line %d: %w", n, errors.Join(err))
			}
		case bad != nil:
			return nil, 0, bad
		default:
			events, good = append(events, e), at+len(line)+1
		}
		at += len(line) + 1
	}
	return events, good, nil
}

// fold makes the runs of a file's events, in the order they started. A run without an end is lost.
func fold(job string, events []event) []*Run {
	var runs []*Run
	for _, e := range events {
		if e.Event == startEvent {
			runs = append(runs, &Run{Job: job, Due: e.Due, From: e.From, To: e.To, By: e.By, State: Lost, Started: e.At, PID: e.PID, Host: e.Host,
				Output: e.Output, Pinned: e.Pinned, Attempts: 1})
		} else if len(runs) > 0 {
			runs[len(runs)-1].add(e)
		}
	}
	return runs
}

func (r *Run) add(e event) {
	switch e.Event {
	case retryEvent:
		r.Attempts++
		r.Error = e.Error
	case coverEvent:
		r.Bytes, r.SHA256, r.Certificate = e.Bytes, e.SHA256, e.Certificate
	case endEvent:
		r.State, r.Ended = e.Outcome, e.At
		if e.Error != "" || e.Outcome == Done {
			r.Error = e.Error
		}
	}
}

// readDay is the runs of one file of a job's folder, none if it is not there.
func readDay(dir, name string) ([]*Run, error) {
	path := filepath.Join(dir, name)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, historyProblem(path, err)
	}
	events, _, err := parse(text)
	if err != nil {
		return nil, damaged(path, err)
	}
	return fold(filepath.Base(dir), events), nil
}

// days are a job's files, the newest first.
func days(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, historyProblem(dir, err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ending) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	slices.Reverse(names)
	return names, nil
}

// journal is one file of a history, open for adding. The job's lock is held as long as it is.
type journal struct {
	file *os.File
	path string
	good int64
	runs []*Run
}

// openJournal reads the file and cuts off what a crash left half written.
func openJournal(dir string, due time.Time) (*journal, error) {
	j := &journal{path: filepath.Join(dir, day(due))}
	f, err := os.OpenFile(j.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, historyProblem(j.path, err)
	}
	j.file = f
	text, err := os.ReadFile(j.path)
	if err == nil {
		err = syncFolder(dir) // the file may be new
	}
	if err != nil {
		f.Close()
		return nil, historyProblem(j.path, err)
	}
	events, good, err := parse(text)
	if err != nil {
		f.Close()
		return nil, damaged(j.path, err)
	}
	j.good, j.runs = int64(good), fold(filepath.Base(dir), events)
	if good < len(text) {
		if err := f.Truncate(j.good); err != nil {
			f.Close()
			return nil, historyProblem(j.path, err)
		}
	}
	return j, nil
}

// add writes an event and syncs it. An event that could not be written leaves the file as it was.
func (j *journal) add(e event) error {
	e.At = e.At.UTC()
	line, err := e.line()
	if err != nil {
		return err
	}
	_, err = j.file.Write(line)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return historyProblem(j.path, errors.Join(err, j.file.Truncate(j.good)))
	}
	j.good += int64(len(line))
	if e.Event == startEvent {
		j.runs = append(j.runs, fold(filepath.Base(filepath.Dir(j.path)), []event{e})...)
	} else {
		j.runs[len(j.runs)-1].add(e)
	}
	return nil
}

func (j *journal) close() error { return j.file.Close() }

// last is the last of the runs that are due then, nil if there is none.
func last(runs []*Run, due time.Time) *Run {
	for _, r := range slices.Backward(runs) {
		if r.Due.Equal(due) {
			return r
		}
	}
	return nil
}

// covered is the certificate of the last run of an interval that got so far, nil if none has.
func covered(runs []*Run, due time.Time) json.RawMessage {
	for _, r := range slices.Backward(runs) {
		if r.Due.Equal(due) && r.Certificate != nil {
			return r.Certificate
		}
	}
	return nil
}

func historyProblem(path string, err error) error {
	return &schemas.Problem{Kind: schemas.Environment, Message: "the jobs' history " + path, Err: err, Hint: "make the folder writable and give it room; no output is touched until then"}
}

func damaged(path string, err error) error {
	return &schemas.Problem{Kind: schemas.Environment, Message: "the jobs' history " + path + " is damaged", Err: err,
		Hint: "move the file away: the runs of that day are then not known, and may be run again"}
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
