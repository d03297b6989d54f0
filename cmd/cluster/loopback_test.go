//go:build engines

package cluster

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// onlyLoopback fails if a process of the given sessions listens on an address that is not this machine's own, and gives
// how many sockets it has looked at. A process leads the session of all that it has started.
func onlyLoopback(t *testing.T, processes ...*Process) int {
	t.Helper()
	listening := map[string]netip.AddrPort{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
			if f := strings.Fields(lines.Text()); len(f) > 9 && f[3] == "0A" {
				listening["socket:["+f[9]+"]"] = procAddress(t, f[1])
			}
		}
	}
	seen := 0
	for _, p := range processes {
		pids := session(t, p.PID())
		if len(pids) == 0 {
			t.Errorf("%s does not run", p.Name)
		}
		for _, pid := range pids {
			links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
			if err != nil {
				t.Fatal(err)
			}
			for _, link := range links {
				target, err := os.Readlink(link)
				if err != nil {
					continue // closed meanwhile
				}
				if address, ok := listening[target]; ok {
					seen++
					if !address.Addr().Unmap().IsLoopback() {
						t.Errorf("%s (process %d) listens on %v", p.Name, pid, address)
					}
				}
			}
		}
	}
	return seen
}

// session gives the processes of the session that pid leads.
func session(t *testing.T, pid int) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if fields[3] == strconv.Itoa(pid) {
			one, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, one)
		}
	}
	return out
}

// procAddress reads an address of /proc/net: words of four bytes in the machine's order, then the port.
func procAddress(t *testing.T, text string) netip.AddrPort {
	t.Helper()
	host, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	if err != nil {
		t.Fatal(err)
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		t.Fatal(err)
	}
	address, ok := netip.AddrFromSlice(raw)
	if !ok {
		t.Fatalf("%q is no address", text)
	}
	return netip.AddrPortFrom(address, uint16(n))
}
