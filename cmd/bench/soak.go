package bench

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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/millrace/millrace/ingest"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/schemas"
)

// SoakOptions say how long `up` is fed, and how fast.
type SoakOptions struct {
	Program    string
	Minutes    int
	For        time.Duration // in place of Minutes if not 0
	Rate       int           // records a second
	GiB        float64       // that `ingest` and a cycle take before that; 0: neither runs
	BatchEvery time.Duration
	Dir        string
	Note       func(format string, args ...any)
	Stderr     io.Writer // of `up`
}

// SoakReport is what Soak saw.
type SoakReport struct {
	Phases []*SoakPhase `json:"phases,omitempty"` // before `up`, in order

	Records        int64   `json:"records"`
	Seconds        float64 `json:"seconds"`
	RSS            []int64 `json:"rss_bytes"` // every ten seconds
	LastRSS        int64   `json:"last_rss_bytes"`
	MaxRSS         int64   `json:"max_rss_bytes"`
	SlopePerMinute float64 `json:"slope_bytes_per_minute"` // from the median of the third quarter to that of the last
	CPUSeconds     float64 `json:"cpu_seconds"`
	Flat           bool    `json:"flat"` // `up` was never over 512 MiB, and a slope that would need ten minutes for a tenth of that
}

const (
	soakLimit = 512 << 20
	soakSlope = soakLimit / 10 / 10 // bytes a minute
	soakEvery = 10 * time.Second
)

// Soak starts `up` on a scratch project, feeds it flights by the gateway's producer and watches its memory.
func Soak(ctx context.Context, o SoakOptions) (*SoakReport, error) {
	if o.For == 0 {
		o.For = time.Duration(o.Minutes) * time.Minute
	}
	if o.For <= 0 || o.Rate < 1 {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: "--minutes and --rate must be above 0"}
	}
	if statusBytes("/proc/self/status", "VmRSS") == 0 {
		return nil, &schemas.Problem{Kind: schemas.Environment, Message: "this system does not tell a process' memory in /proc", Hint: "run soak on Linux"}
	}
	dir, err := os.MkdirTemp(o.Dir, "millrace-soak-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	r := &SoakReport{}
	if err := soakProject(dir, o.BatchEvery); err != nil {
		return nil, err
	}
	if o.GiB > 0 {
		err := r.fill(ctx, o, dir)
		if err == nil {
			err = removeFilled(dir)
		}
		if err == nil {
			err = soakProject(dir, o.BatchEvery)
		}
		if err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, o.Program, "-C", dir, "up")
	cmd.Stderr = o.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	err = r.feed(ctx, o, dir, cmd.Process.Pid)
	stop := cmd.Process.Signal(syscall.SIGTERM)
	ended := cmd.Wait()
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.CPUSeconds = cpuSeconds(u)
	}
	if err == nil && ctx.Err() == nil {
		err = errors.Join(stop, ended)
	}
	r.judge()
	return r, err
}

// soakProject is the flights example with an address and a schedule of its own.
func soakProject(dir string, every time.Duration) error {
	if err := writeProject(dir); err != nil {
		return err
	}
	config := fmt.Sprintf("brokers: embedded\nlisten: 127.0.0.1:0\nbatch: {every: %s}\n", every)
	return os.WriteFile(filepath.Join(dir, "millrace.yaml"), []byte(config), 0o644)
}

// feed sends records at the rate and notes the process' memory.
func (r *SoakReport) feed(ctx context.Context, o SoakOptions, dir string, pid int) error {
	kafka, err := soakBroker(ctx, dir, pid)
	if err != nil {
		return err
	}
	c, err := openProject(dir)
	if err != nil {
		return err
	}
	c.compiler.Close()
	producer, err := ingest.NewProducer(ingest.ProducerOptions{Kafka: kafkalog.Config{Brokers: []string{kafka}}})
	if err != nil {
		return err
	}
	defer producer.Close()
	lines, err := payloads(flights, 60_000)
	if err != nil {
		return err
	}
	const part = 100 * time.Millisecond
	n := max(1, o.Rate/int(time.Second/part))
	status := filepath.Join("/proc", strconv.Itoa(pid), "status")
	began := time.Now()
	pace := time.NewTicker(part)
	defer pace.Stop()
	for time.Since(began) < o.For {
		at := int(r.Records) % (len(lines) - n + 1)
		if _, err := producer.Append(ctx, c.catalog.Topics[flights], lines[at:at+n]); err != nil {
			return err
		}
		r.Records += int64(n)
		if due := time.Duration(len(r.RSS)+1) * soakEvery; time.Since(began) >= due {
			now := statusBytes(status, "VmRSS")
			r.RSS = append(r.RSS, now)
			r.MaxRSS = statusBytes(status, "VmHWM")
			o.Note("%4.0f s  %12d records  resident %4d MiB (anonymous %d MiB)", time.Since(began).Seconds(), r.Records, now>>20, statusBytes(status, "RssAnon")>>20)
		}
		// A late part does not wait, so that the rate is kept over the whole run.
		if ahead := time.Duration(float64(r.Records)/float64(o.Rate)*float64(time.Second)) - time.Since(began); ahead > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-pace.C:
			}
		}
	}
	r.Seconds = time.Since(began).Seconds()
	return nil
}

// soakBroker waits for `up` to be ready and returns the address of its broker.
func soakBroker(ctx context.Context, dir string, pid int) (string, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	for {
		text, err := os.ReadFile(filepath.Join(dir, ".millrace", "up.json"))
		var up struct {
			PID   int    `json:"pid"`
			Kafka string `json:"kafka"`
		}
		if err == nil && json.NewDecoder(bytes.NewReader(text)).Decode(&up) == nil && up.PID == pid && strings.Contains(up.Kafka, ":") {
			return up.Kafka, nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-patience.C:
			return "", &schemas.Problem{Kind: schemas.Environment, Message: "`up` was not ready within a minute", Hint: "see what it wrote"}
		case <-tick.C:
		}
	}
}

// Over names the phases that passed 512 MiB.
func (r *SoakReport) Over() (names []string) {
	for _, p := range r.Phases {
		if p.MaxRSS > soakLimit {
			names = append(names, p.Name)
		}
	}
	return names
}

// judge says whether the memory is flat. A cycle takes memory for some seconds, so medians are compared: of the last
// quarter and of the one before it.
func (r *SoakReport) judge() {
	n := len(r.RSS)
	if n < 4 {
		return
	}
	r.LastRSS = r.RSS[n-1]
	middle := func(v []int64) float64 {
		v = slices.Sorted(slices.Values(v))
		return float64(v[len(v)/2])
	}
	quarter := n / 4
	before, last := r.RSS[n-2*quarter:n-quarter], r.RSS[n-quarter:]
	r.SlopePerMinute = (middle(last) - middle(before)) / (float64(quarter) * soakEvery.Minutes())
	r.Flat = r.MaxRSS < soakLimit && r.SlopePerMinute < soakSlope
}
