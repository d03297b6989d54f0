package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/millrace/millrace/ingest/source"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// Options say what Run reads and where it sends it.
type Options struct {
	Topic   *schemas.Topic
	Kafka   kafkalog.Config // see ProducerOptions
	Files   []string        // paths, or "-"; none: standard input
	Format  source.Format   // Auto: by each file's name
	Stdin   io.Reader       // nil: os.Stdin
	Rate    int64           // records a second; 0: as fast as the broker takes them
	Strict  bool            // check everything first, send nothing if one line is bad
	ID      string          // of a run that can be taken up again; see the package's comment
	Timeout time.Duration   // how long a broker that is away is waited for; 0: 30 s
	Settle  time.Duration   // how long the topic must stand still before an ID is taken up again; 0: 1 s

	Progress func(Progress) // called ten times a second by one goroutine; may be nil

	// NewChecker makes what judges the records; nil: the decoder. Each is used by one goroutine.
	NewChecker func(*schemas.Topic) (Checker, error)
}

// Checker judges records as every layer will: nil, or the reject.
type Checker interface {
	Append(*schemas.Record) *schemas.Reject
}

// Progress is how far Run is. Records are acknowledged ones; Total and Left are 0 if they cannot be known.
type Progress struct {
	Records      int64
	Bytes, Total int64   // of the input, as it lies in its files
	Rate         float64 // records a second, over the last seconds
	Left         time.Duration
}

// Result is what Run did; its JSON is what `ingest --json` prints. Records are accepted ones and Rejects those the
// decoder refuses, both in the log. Offsets are every partition's end after the call.
type Result struct {
	Topic   string           `json:"topic"`
	Records int64            `json:"records"`
	Rejects int64            `json:"rejects"`
	Offsets schemas.Frontier `json:"offsets"`
	Refused []Refused        `json:"refused"`
	Seconds float64          `json:"seconds"`

	Resumed int64 `json:"-"` // lines of Records and Rejects that an earlier run of the ID had sent
}

// Refused is a line that was not sent. Line counts over all files of the call.
type Refused struct {
	Line   int64  `json:"line"`
	Reason string `json:"reason"`
}

// Failed says whether the call must end with an exit code other than 0 although it sent what it could.
func (r Result) Failed() bool { return len(r.Refused) > 0 }

// Run sends every line of the input to the topic and returns when all are durable.
//
// Errors: with Strict and a bad line, a Problem of kind Failed, and Result.Refused names the first bad lines; if the
// broker stays away for Timeout, a Problem of kind Environment that says how many lines are acknowledged; if ctx ends,
// what is in flight is waited for, three seconds at most, and the error wraps context.Canceled. Result is filled as far as it is known.
func Run(ctx context.Context, o Options) (Result, error) {
	began := time.Now()
	if len(o.Files) == 0 {
		o.Files = []string{"-"}
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Settle == 0 {
		o.Settle = time.Second
	}
	if o.NewChecker == nil {
		o.NewChecker = newDecoder
	}
	res := Result{Topic: o.Topic.Name, Offsets: schemas.Frontier{}, Refused: []Refused{}}
	err := run(ctx, &o, &res)
	res.Seconds = time.Since(began).Seconds()
	return res, err
}

func run(ctx context.Context, o *Options, res *Result) error {
	if o.Strict {
		spooled, err := spoolStdin(o)
		if err != nil {
			return err
		}
		if spooled != nil {
			defer spooled.Close()
		}
		if err := checkAll(ctx, o, res); err != nil {
			return err
		}
		if spooled != nil {
			if _, err := spooled.Seek(0, io.SeekStart); err != nil {
				return err
			}
		}
	}
	in, err := openInput(o)
	if err != nil {
		return err
	}
	options := ProducerOptions{Kafka: o.Kafka, Timeout: o.Timeout, Linger: 5 * time.Millisecond}
	if o.ID != "" {
		options.owner = newOwner(o)
	}
	p, err := NewProducer(options)
	if err != nil {
		return err
	}
	defer p.Close()
	defer options.owner.end()
	begin, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	t, err := p.target(begin, o.Topic)
	if err != nil {
		return waited(ctx, err, o.Timeout)
	}
	s := newSend(o, p, t)
	if o.ID != "" {
		if s.resume, err = p.resume(ctx, o, t, in); err != nil {
			return err
		}
	}
	err = s.run(ctx, in)
	res.Records, res.Rejects, res.Refused, res.Resumed = s.accepted.Load(), s.rejected.Load(), s.refused, s.skipped.Load()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.Timeout)
	defer cancel()
	if err != nil {
		return s.failure(ctx, err)
	}
	options.owner.disarm()
	if s.resume != nil {
		if err := s.note(end, true); err != nil {
			return err
		}
	}
	res.Offsets, err = p.ends(end, t.name)
	return err
}

// waited says that a broker did not answer in time.
func waited(ctx context.Context, err error, timeout time.Duration) error {
	var prob *schemas.Problem
	if ctx.Err() == nil && errors.As(err, &prob) && errors.Is(err, context.DeadlineExceeded) {
		return &schemas.Problem{Kind: prob.Kind, Message: fmt.Sprintf("%s; waited %s; 0 lines are acknowledged", prob.Message, timeout), Err: prob.Err, Hint: prob.Hint}
	}
	return err
}

// checkAll is the pass of Strict: it sends nothing.
func checkAll(ctx context.Context, o *Options, res *Result) error {
	in, err := openInput(o)
	if err != nil {
		return err
	}
	var bad int64
	err = check(ctx, o, in, nil, func(p *parcel) error {
		bad += p.rejects + int64(len(p.refused))
		for _, r := range append(p.refused, p.reasons...) {
			if len(res.Refused) < maxReasons {
				res.Refused = append(res.Refused, r)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if bad == 0 {
		return nil
	}
	first, bads := res.Refused[0], fmt.Sprintf("%d lines are bad", bad)
	if bad == 1 {
		bads = "1 line is bad"
	}
	return &schemas.Problem{Kind: schemas.Failed, Message: fmt.Sprintf("%s and nothing was sent; line %d: %s", bads, first.Line, first.Reason),
		Hint: "mend the lines, or leave --strict away: they are kept as rejects then"}
}

// maxReasons is how many bad lines a strict run names.
const maxReasons = 100

// spoolStdin keeps standard input for the second pass.
func spoolStdin(o *Options) (*os.File, error) {
	for _, f := range o.Files {
		if f != "-" {
			continue
		}
		in := o.Stdin
		if in == nil {
			in = os.Stdin
		}
		tmp, err := source.Spool(in)
		if err != nil {
			return nil, &schemas.Problem{Kind: schemas.Failed, Message: "standard input cannot be kept for the second pass", Err: err, Hint: "free some space in the folder for temporary files"}
		}
		o.Stdin = tmp
		return tmp, nil
	}
	return nil, nil
}
