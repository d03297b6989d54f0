//go:build !linux

package kernel

// Gently runs f. Only Linux has priorities of threads.
func Gently(f func()) { f() }
