package main

/*
#include <malloc.h>

static void one_arena(void) {
#ifdef M_ARENA_MAX
	mallopt(M_ARENA_MAX, 1);
#endif
}
*/
import "C"

// oneArena has glibc allocate from one arena. It would make one for each of Go's many threads, and what an engine gives
// back in one thread's arena is of no use to the next, which runs on another.
func oneArena() { C.one_arena() }
