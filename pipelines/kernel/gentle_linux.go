package kernel

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// gentleNice is the nice value of a thread that works beside what is waited for: about a tenth of a processor that others
// want too, all of one that nobody wants.
const gentleNice = 10

// Gently runs f in a thread of its own that comes after the others at the processors; a Session with one thread works in
// the caller's.
func Gently(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()                                             // never unlocked: the thread ends with the goroutine
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), gentleNice) // without it f only takes more than it should
		f()
	}()
	<-done
}
