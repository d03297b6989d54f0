package main

import (
	"os"
	"runtime/debug"
)

// heapLimit is where Go's collector begins to work harder in `up`, which stays small beside what its engines take.
const heapLimit = 128 << 20

// limitMemory keeps a process that runs for weeks small: Go's heap by a soft limit, unless GOMEMLIMIT says another, and
// what C allocates by few arenas.
func limitMemory() {
	fewArenas()
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heapLimit)
	}
}
