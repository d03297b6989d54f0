//go:build !linux

package main

// fewArenas does nothing: the C library's allocator has no such knob here.
func fewArenas() {}
