package ingest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

func TestStoppedRunsGoOn(t *testing.T) {
	b := start(t)
	const n = 60_000
	in := inputFile(t, n)
	o := Options{Topic: flights(), Kafka: kafkalog.Config{Brokers: []string{b.Addr()}}, Files: []string{in}, ID: "flights-2001", Settle: 10 * time.Millisecond, Timeout: 20 * time.Second}
	for stops := 0; ; stops++ {
		ctx, cancel := context.WithCancel(t.Context())
		limit := int64(rand.IntN(n / 4))
		if stops == 8 {
			limit = 1 << 60
		}
		run := o
		run.Progress = nil
		checker := newCounting(limit, cancel)
		run.NewChecker = func(*schemas.Topic) (Checker, error) { return checker, nil }
		res, err := Run(ctx, run)
		cancel()
		if err == nil {
			if res.Records != n || res.Rejects != 0 {
				t.Errorf("%+v", res)
			}
			t.Logf("%d stops, %d lines of the last run were there", stops, res.Resumed)
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	wantLines(t, b.Addr(), n)
	res, err := Run(t.Context(), o) // once more: nothing to do
	if err != nil || res.Records != n || res.Resumed != n {
		t.Errorf("%+v %v", res, err)
	}
	wantLines(t, b.Addr(), n)
	o.Files = []string{inputFile(t, n+1)}
	if _, err := Run(t.Context(), o); schemas.KindOf(err) != schemas.Usage || !strings.Contains(err.Error(), "not what it was") {
		t.Errorf("another input: %v", err)
	}
}

// counting stops a run after some records.
type counting struct {
	mu   sync.Mutex
	left int64
	stop func()
}

func newCounting(limit int64, stop func()) *counting { return &counting{left: limit, stop: stop} }

func (c *counting) Append(*schemas.Record) *schemas.Reject {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left == 0 {
		c.stop()
	}
	return nil
}

func process(t testing.TB, env string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), env)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, bufio.NewReader(out)
}

func brokerProcess(t testing.TB, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd, out := process(t, brokerEnv+"="+dir)
	addr, err := out.ReadString('\n')
	if err != nil || strings.HasPrefix(addr, "error") {
		t.Fatalf("the broker said %q, %v", addr, err)
	}
	return cmd, strings.TrimSpace(addr)
}

// watchEnds gives what says how many records the topic has had.
func watchEnds(t *testing.T, addr string) func() int64 {
	t.Helper()
	p, err := NewProducer(ProducerOptions{Kafka: kafkalog.Config{Brokers: []string{addr}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if _, _, err := p.Prepare(t.Context(), flights()); err != nil {
		t.Fatal(err)
	}
	return func() (sum int64) {
		f, err := p.ends(t.Context(), "flights")
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range f {
			sum += o
		}
		return sum
	}
}

func TestKilledIngestGoesOn(t *testing.T) {
	b := start(t)
	const n, kills = 100_000, 6
	in := inputFile(t, n)
	ends := watchEnds(t, b.Addr())
	for kill := 0; ; kill++ {
		rate := 60_000
		if kill == kills {
			rate = 0
		}
		opts := fmt.Sprintf(`{"Broker":%q,"File":%q,"ID":"job","Rate":%d}`, b.Addr(), in, rate)
		before := ends()
		cmd, out := process(t, ingestEnv+"="+opts)
		if kill < kills {
			until := before + 1 + int64(rand.IntN(n/kills/2))
			for limit := time.Now().Add(20 * time.Second); ends() < until && time.Now().Before(limit); {
			}
			cmd.Process.Kill()
			cmd.Wait()
			continue
		}
		text, _ := out.ReadString('\n')
		var res Result
		if err := json.Unmarshal([]byte(text), &res); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if res.Records != n {
			t.Errorf("%+v", res)
		}
		break
	}
	wantLines(t, b.Addr(), n)
}

// A run that is stopped while another one goes on with its ID sends nothing when it wakes, whatever it had in its hands.
func TestAPausedRunThatWasTakenUpSendsNothing(t *testing.T) {
	b := start(t)
	const n = 100_000
	in := inputFile(t, n)
	ends := watchEnds(t, b.Addr())
	cmd, out := process(t, ingestEnv+"="+fmt.Sprintf(`{"Broker":%q,"File":%q,"ID":"job","Settle":%d,"Rate":50000}`, b.Addr(), in, time.Second))
	for until := ends() + 10_000; ends() < until; {
		if t.Context().Err() != nil {
			t.Fatal("the run has not begun")
		}
	}
	signal := func(s os.Signal) {
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	res, err := Run(t.Context(), Options{Topic: flights(), Kafka: kafkalog.Config{Brokers: []string{b.Addr()}}, Files: []string{in}, ID: "job"})
	if err != nil || res.Records != n || res.Resumed == 0 || res.Resumed == n {
		t.Fatalf("%+v, %v", res, err)
	}
	signal(syscall.SIGCONT)
	said, err := io.ReadAll(out)
	if werr := cmd.Wait(); err != nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(said), "another run of this --id has gone on with it, and this one sends nothing more; ") {
		t.Errorf("the run that was stopped: %v, %q", werr, said)
	}
	wantLines(t, b.Addr(), n)
}

// Runs of one ID that begin at the same moment and go on at the same time double nothing: one of them sends the lines to their
// end, or whoever comes after them does.
func TestRunsOfOneIDAtOnce(t *testing.T) {
	b := start(t)
	const n = 60_000
	o := Options{Topic: flights(), Kafka: kafkalog.Config{Brokers: []string{b.Addr()}}, Files: []string{inputFile(t, n)}, ID: "job", Rate: 40_000, Settle: 300 * time.Millisecond}
	errs := make(chan error, 3)
	for range cap(errs) {
		go func() {
			_, err := Run(t.Context(), o)
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil && !strings.Contains(err.Error(), "another run of this --id") {
			t.Error(err)
		}
	}
	o.Rate = 0
	if res, err := Run(t.Context(), o); err != nil || res.Records != n {
		t.Errorf("%+v, %v", res, err)
	}
	wantLines(t, b.Addr(), n)
}

func TestBrokerGoesAndComesBack(t *testing.T) {
	dir := t.TempDir()
	cmd, addr := brokerProcess(t, dir)
	const n = 60_000
	reached := make(chan int64, 1000)
	done := make(chan error, 1)
	in := inputFile(t, n)
	go func() {
		res, err := Run(t.Context(), Options{Topic: flights(), Kafka: kafkalog.Config{Brokers: []string{addr}}, Files: []string{in}, Rate: 30_000, Progress: func(p Progress) {
			select {
			case reached <- p.Records:
			default:
			}
		}})
		if err == nil && res.Records != n {
			err = fmt.Errorf("%+v", res)
		}
		done <- err
	}()
	for _, at := range []int64{5000, 20_000, 40_000} {
		for got := range reached {
			if got > at {
				break
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		cmd, _ = brokerProcess(t, dir)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantLines(t, addr, n)

	in = inputFile(t, n)
	go func() {
		_, err := Run(t.Context(), Options{Topic: flights(), Kafka: kafkalog.Config{Brokers: []string{addr}}, Files: []string{in}, Rate: 30_000, Timeout: 300 * time.Millisecond, Progress: func(p Progress) {
			if p.Records > 5000 {
				cmd.Process.Kill()
			}
		}})
		done <- err
	}()
	if err := <-done; schemas.KindOf(err) != schemas.Environment || !strings.Contains(err.Error(), "lines are acknowledged") {
		t.Errorf("the broker is gone: %v", err)
	}
	_, err := Run(t.Context(), Options{Topic: flights(), Kafka: kafkalog.Config{Brokers: []string{addr}}, Files: []string{in}, Timeout: 300 * time.Millisecond})
	if schemas.KindOf(err) != schemas.Environment || !strings.Contains(err.Error(), "0 lines are acknowledged") {
		t.Errorf("no broker: %v", err)
	}
}

// A log that lost lines of a run after they were acknowledged is named: they are not taken for being there.
func TestARunWhoseLinesTheLogLost(t *testing.T) {
	b := start(t)
	const n = 1000
	o := Options{Topic: flights(), Kafka: kafkalog.Config{Brokers: []string{b.Addr()}}, Files: []string{inputFile(t, n)}, ID: "job", Settle: 10 * time.Millisecond}
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	p, err := NewProducer(ProducerOptions{Kafka: o.Kafka})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	notes, err := p.find(t.Context(), notesTopic, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	last, _, err := p.lastNote(t.Context(), notes, "flights/job")
	if err != nil {
		t.Fatal(err)
	}
	for part, m := range last.At { // as if the log had been longer
		last.At[part] = mark{Offset: m.Offset + 1, Line: m.Line}
	}
	if _, err := p.write(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "the log has lost some") {
		t.Errorf("%v", err)
	}
}
