package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/millrace/millrace/schemas"
)

// SoakPhase is one process that Soak ran, or a share of its run.
type SoakPhase struct {
	Name       string  `json:"name"`
	Records    int64   `json:"records"`
	Bytes      int64   `json:"bytes,omitempty"` // of input
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_seconds"`
	MaxRSS     int64   `json:"max_rss_bytes"`
}

// endless is the flights' lines over and over, up to a size and then to the line's end.
type endless struct {
	lines   [][]byte
	left    int64 // bytes
	records int64
	bytes   int64
	rest    []byte
}

// Read gives whole lines in the end.
func (e *endless) Read(into []byte) (n int, err error) {
	for n < len(into) {
		if len(e.rest) == 0 {
			if e.left <= 0 {
				if n == 0 {
					return 0, io.EOF
				}
				return n, nil
			}
			line := e.lines[int(e.records)%len(e.lines)]
			e.rest = append(append(e.rest, line...), '\n')
			e.records, e.left, e.bytes = e.records+1, e.left-int64(len(line))-1, e.bytes+int64(len(line))+1
		}
		part := copy(into[n:], e.rest)
		e.rest, n = e.rest[part:], n+part
	}
	return n, nil
}

// fill lets `ingest` take that many bytes from its standard input, and `batch` read them in one cycle, each in a process of its own.
func (r *SoakReport) fill(ctx context.Context, o SoakOptions, dir string) error {
	size := int64(o.GiB * (1 << 30))
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err == nil && int64(disk.Bavail)*int64(disk.Bsize) < 2*size {
		return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("%d MiB are free in %s, the log of %g GiB and its files need twice as much", int64(disk.Bavail)*int64(disk.Bsize)>>20, dir, o.GiB),
			Hint: "give a smaller --gib, or a --scratch folder on a larger disk"}
	}
	lines, err := payloads(flights, 60_000)
	if err != nil {
		return err
	}
	input := &endless{lines: lines, left: size}
	ingested, err := r.phase(ctx, o, "ingest", exec.CommandContext(ctx, o.Program, "-C", dir, "ingest", flights, "-q"), input)
	if err != nil {
		return err
	}
	ingested.Records, ingested.Bytes = input.records, input.bytes
	cycle, err := r.phase(ctx, o, "a cycle", exec.CommandContext(ctx, o.Program, "-C", dir, "batch", flights, "-q"), nil)
	if err != nil {
		return err
	}
	cycle.Records = input.records
	answer, err := exec.CommandContext(ctx, o.Program, "-C", dir, "query", "-f", "csv", "SELECT count(*) AS n FROM "+flights).Output()
	if want := fmt.Sprintf("n\n%d\n", input.records); err == nil && string(answer) != want {
		err = fmt.Errorf("%d records were put in, the answer is %q", input.records, answer)
	}
	return err
}

// phase runs a process and watches its memory. Ownership: the phase is the report's.
func (r *SoakReport) phase(ctx context.Context, o SoakOptions, name string, cmd *exec.Cmd, input io.Reader) (*SoakPhase, error) {
	cmd.Stdin, cmd.Stderr = input, o.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &SoakPhase{Name: name}
	status := filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "status")
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var err error
	for running := true; running; {
		select {
		case err = <-ended:
			running = false
		case <-tick.C:
			p.MaxRSS = max(p.MaxRSS, statusBytes(status, "VmHWM"))
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		p.CPUSeconds = cpuSeconds(u)
	}
	p.Seconds = time.Since(began).Seconds()
	r.Phases = append(r.Phases, p)
	o.Note("%s took %.0f s, at most %d MiB", name, p.Seconds, p.MaxRSS>>20)
	return p, nil
}

// removeFilled makes room before `up` begins with a project of its own.
func removeFilled(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Mkdir(dir, 0o755)
}
