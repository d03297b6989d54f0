//go:build !linux

package main

// oneArena does nothing: the C library's allocator has no such knob here.
func oneArena() {}
