package cluster

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
)

// attributes make a process the head of its own session; a tied one dies with the thread that started it.
func attributes(tied bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true}
	if tied {
		a.Pdeathsig = syscall.SIGKILL
	}
	return a
}

// startTime is when a process began, in the kernel's ticks; false if it does not run, or has ended and nobody waited for it.
func startTime(pid int) (string, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false
	}
	// The second field is a name in brackets, which may hold anything.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 || string(fields[0]) == "Z" {
		return "", false
	}
	return string(fields[19]), true
}
