package main

import (
	"os"
	"runtime/debug"
)

// Go's heap is small beside what the engines hold outside of it, and much of it is the buffers of fetches, so the collector
// may let it grow further than by default, up to a soft limit.
const (
	heapGrowth = 400 // percent of what is live
	heapLimit  = 128 << 20
)

// tuneMemory keeps a process that runs for weeks small, and its collector idle: Go's heap as above, unless GOGC or
// GOMEMLIMIT say otherwise, and what C allocates in one arena.
func tuneMemory() {
	oneArena()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heapLimit)
	}
}
