package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/millrace/millrace/schemas"
)

// ticks are how many of the kernel's ticks a second of CPU time has, in /proc.
const ticks = 100

// servers are processes beside the child that do a part of its work.
type servers struct {
	pids  []int
	began float64
}

// start begins to count their CPU time, and forgets the peak of their memory.
func (s *servers) start() (err error) {
	for _, pid := range s.pids {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
			return &schemas.Problem{Kind: schemas.Environment, Message: "the engines' memory cannot be looked at", Err: err, Hint: "run this on Linux"}
		}
	}
	s.began, err = s.cpu()
	return err
}

// stop gives their CPU-seconds since start, and their peaks of resident memory in bytes.
func (s *servers) stop() (cpu float64, rss int64, err error) {
	for _, pid := range s.pids {
		rss += statusBytes(fmt.Sprintf("/proc/%d/status", pid), "VmHWM")
	}
	cpu, err = s.cpu()
	return cpu - s.began, rss, err
}

func (s *servers) cpu() (sum float64, err error) {
	for _, pid := range s.pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, fmt.Errorf("an engine is gone: %w", err)
		}
		// The second field is a name in brackets, which may hold anything; user and system time are the 14th and the 15th.
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(fields) < 13 {
			return 0, fmt.Errorf("process %d: %q", pid, text)
		}
		user, err := strconv.ParseFloat(string(fields[11]), 64)
		system, failed := strconv.ParseFloat(string(fields[12]), 64)
		if err := errors.Join(err, failed); err != nil {
			return 0, err
		}
		sum += (user + system) / ticks
	}
	return sum, nil
}
