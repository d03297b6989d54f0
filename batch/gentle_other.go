//go:build !linux

package batch

// gently runs f. Only Linux has priorities of threads.
func gently(f func()) { f() }
