package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/millrace/millrace/pipelines/runner"
)

// Job is one run as the child gets it.
type Job struct {
	Work    string   `json:"work"`
	Run     int      `json:"run"`
	Dir     string   `json:"dir"`     // the scratch project
	Topic   string   `json:"topic"`   // of the scratch project
	Kafka   string   `json:"kafka"`   // the topic's name in the broker where that differs
	Brokers []string `json:"brokers"` //
	Events  int      `json:"events"`
	File    string   `json:"file"`  // NDJSON, or the flights
	Tail    int      `json:"tail"`  // lines of the tail's file
	Store   string   `json:"store"` //
	Profile string   `json:"profile,omitempty"`

	Engine  runner.Engine `json:"engine"`            // zero: prism
	Servers []int         `json:"servers,omitempty"` // other processes that do a part of the work
}

// Sample is what a run measured.
type Sample struct {
	Events     int64      `json:"events"` // or lines, or answers
	Check      int64      `json:"check"`  // what the work came to: equal on both sides of a row
	CPUSeconds float64    `json:"cpu_seconds"`
	MaxRSS     int64      `json:"max_rss_bytes"` // over the measured part where the system tells, else over the process
	Parts      []PartTime `json:"parts,omitempty"`
	Seconds    float64    `json:"seconds"`    // on the wall's clock
	ServerCPU  float64    `json:"server_cpu"` // of CPUSeconds, what other processes took
	began      syscall.Rusage
	since      time.Time
	servers    servers
	profile    *os.File
}

// PartTime is the CPU time of a share of the work.
type PartTime struct {
	Name       string  `json:"name"`
	CPUSeconds float64 `json:"cpu_seconds"`
}

func (s *Sample) rate() float64 { return float64(s.Events) / s.CPUSeconds }

// works are what a child can do.
func works() map[string]func(context.Context, *Job, *Sample) error {
	return map[string]func(context.Context, *Job, *Sample) error{
		"kernel": kernelWork, "kernel-duckdb": kernelDuckDB,
		"batch": batchWork, "batch-duckdb": batchDuckDB,
		"query": queryWork, "query-duckdb": queryDuckDB,
		"ingest": ingestWork, "ingest-kgo": ingestKgo,
		"speed":  speedWork,
		"groups": groupsWork, "groups-duckdb": groupsDuckDB,
		"plain": plainWork, "key": keyWork, "key-http": keyHTTP, "key-duckdb": keyDuckDB,
		"slice": sliceWork, "slices": slicesTiered, "slices-folded": slicesFolded,
		"file": fileWork, "fill": fillWork, "cycle": cycleWork,
		"engine-speed": engineSpeed, "engine-batch": engineBatch,
		"tally-file": tallyFile, "tally-topic": tallyTopic, "tally-parquet": tallyParquet,
	}
}

// Child is the whole of a child process: it reads a Job and writes a Sample, or serves a broker.
func Child(ctx context.Context, in io.Reader, out io.Writer) error {
	var j Job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	if j.Work == "broker" {
		return serveBroker(ctx, j.Dir, in, out)
	}
	do, ok := works()[j.Work]
	if !ok {
		return fmt.Errorf("no work %q", j.Work)
	}
	s := &Sample{servers: servers{pids: j.Servers}}
	if j.Profile != "" {
		f, err := os.Create(j.Profile)
		if err != nil {
			return err
		}
		defer f.Close()
		s.profile = f
	}
	if err := do(ctx, &j, s); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(s)
}

// start begins the measured part of a run.
func (s *Sample) start() error {
	runtime.GC()
	// Linux forgets the peak that the preparation had.
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	if s.profile != nil {
		if err := pprof.StartCPUProfile(s.profile); err != nil {
			return err
		}
	}
	if err := s.servers.start(); err != nil {
		return err
	}
	s.since = time.Now()
	return syscall.Getrusage(syscall.RUSAGE_SELF, &s.began)
}

// stop ends it.
func (s *Sample) stop() error {
	var now syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &now); err != nil {
		return err
	}
	s.Seconds = time.Since(s.since).Seconds()
	if s.profile != nil {
		pprof.StopCPUProfile()
	}
	cpu, rss, err := s.servers.stop()
	s.ServerCPU = cpu
	s.CPUSeconds = cpuSeconds(&now) - cpuSeconds(&s.began) + cpu
	s.MaxRSS = peak(&now) + rss
	return err
}

// part measures a share of the work within start and stop.
func (s *Sample) part(ctx context.Context, name string, f func() error) error {
	var began, now syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &began); err != nil {
		return err
	}
	var err error
	pprof.Do(ctx, pprof.Labels("part", name), func(context.Context) { err = f() })
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &now); err != nil {
		return err
	}
	s.Parts = append(s.Parts, PartTime{name, cpuSeconds(&now) - cpuSeconds(&began)})
	return nil
}

func cpuSeconds(u *syscall.Rusage) float64 {
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// peak is the largest resident size in bytes. A child's ru_maxrss is never below its parent's at the fork, so what the
// kernel notes of the process itself comes first.
func peak(u *syscall.Rusage) int64 {
	if n := statusBytes("/proc/self/status", "VmHWM"); n > 0 {
		return n
	}
	if runtime.GOOS == "darwin" {
		return u.Maxrss
	}
	return u.Maxrss << 10
}

// statusBytes reads a size from a process' status file; 0 where there is none.
func statusBytes(path, key string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				return 0
			}
			return kb << 10
		}
	}
	return 0
}

// procs is GOMAXPROCS of a work: 1, but for pipelines on prism, whose last stage busily waits for its worker. With one
// thread they take turns, ten milliseconds each; with two the wait is as short as the work. What is counted is CPU time.
func procs(work string) int {
	if work == "speed" || work == "batch" || work == "groups" || work == "engine-speed" || work == "engine-batch" {
		return 2
	}
	return 1
}

// command is a child process that is not started yet.
func (w *world) command(ctx context.Context, procs int) *exec.Cmd {
	cmd := exec.CommandContext(ctx, w.o.Command[0], w.o.Command[1:]...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", procs), "TZ=UTC")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	return cmd
}

// run runs a job in a child process.
func (w *world) run(ctx context.Context, j Job) (*Sample, error) {
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	cmd := w.command(ctx, procs(j.Work))
	var complaint bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(text), &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(complaint.String()))
	}
	s := &Sample{}
	if err := json.Unmarshal(out, s); err != nil {
		return nil, fmt.Errorf("read the sample %q: %w", out, err)
	}
	return s, nil
}
