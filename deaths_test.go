package millrace_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/schemas/slice"
)

// fate stands between a process and all that outlives it, the broker and the object store, and lets it die at its n-th
// lasting effect: nothing that it asks for comes through any more, and no answer reaches it.
type fate struct {
	mu     sync.Mutex
	left   int  // effects until it dies; 0: it does not
	after  bool // it dies when the effect is done, and not before
	dead   bool
	doomed bool   // the last effect is being done: nothing else comes through any more
	at     string // the effect that it died at
	kill   func()
	conns  map[net.Conn]bool
}

// arm says when the next process dies; kill ends what it does in this process.
func (f *fate) arm(left int, after bool, kill func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.after, f.kill, f.at = left, after, kill, ""
}

// revive lets the next process live, and says at which effect the last one died.
func (f *fate) revive() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.dead, f.doomed = 0, false, false
	return f.at
}

// arrives counts an effect and says whether it is done, and whether it is the last.
func (f *fate) arrives(effect string) (done, last bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead || f.doomed {
		return false, true
	}
	if f.left == 0 {
		return true, false
	}
	if f.left--; f.left > 0 {
		return true, false
	}
	f.at = effect
	if f.doomed = f.after; !f.doomed {
		f.die()
	}
	return f.after, true
}

// die is called with the lock.
func (f *fate) die() {
	f.dead, f.doomed = true, false
	f.kill()
	for c := range f.conns {
		c.Close()
	}
}

func (f *fate) isDead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead || f.doomed
}

// storing puts the fate before an object store.
func (f *fate) storing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			if f.isDead() {
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
			return
		}
		done, last := f.arrives(strings.ToLower(r.Method) + " " + kindOf(r.URL.Path))
		switch {
		case !done:
			panic(http.ErrAbortHandler)
		case last:
			next.ServeHTTP(httptest.NewRecorder(), r)
			f.mu.Lock()
			f.die()
			f.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	})
}

// storedKinds are what lies in a store, by the path.
var storedKinds = []struct {
	path *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`/manifests/`), "a manifest"},
	{regexp.MustCompile(`/partials/`), "a partial"},
	{regexp.MustCompile(`/rejects/`), "rejects"},
	{regexp.MustCompile(`/references/.*\.json$`), "a reference's note"},
	{regexp.MustCompile(`/references/`), "a reference's content"},
	{regexp.MustCompile(`/data/`), "a data file"},
	{regexp.MustCompile(`/fence$`), "the fence"},
}

func kindOf(path string) string {
	for _, k := range storedKinds {
		if k.path.MatchString(path) {
			return k.name
		}
	}
	return path
}

// watch lets a process die at what its requests do to a broker.
func (f *fate) watch(broker *kfake.Cluster) {
	of := func(key kmsg.Key, effect func(kmsg.Request) string) {
		broker.ControlKey(int16(key), func(r kmsg.Request) (kmsg.Response, error, bool) {
			broker.KeepControl()
			if done, _ := f.arrives(effect(r)); !done {
				return nil, errDead, true
			}
			return nil, nil, false // the last is answered after it is done
		})
	}
	named := func(text string) func(kmsg.Request) string { return func(kmsg.Request) string { return text } }
	of(kmsg.Produce, func(r kmsg.Request) string {
		for _, t := range r.(*kmsg.ProduceRequest).Topics {
			name := t.Topic
			if known := broker.TopicIDInfo(t.TopicID); name == "" && known != nil {
				name = known.Topic
			}
			switch {
			case name == slice.Topic("t"):
				return "publish slices"
			case strings.HasPrefix(name, "_"):
				return "write a note to " + name
			}
		}
		return "append records"
	})
	of(kmsg.DeleteRecords, named("drop slices"))
	of(kmsg.OffsetCommit, named("commit a hint of offsets"))
	of(kmsg.CreateTopics, named("make a topic"))
	of(kmsg.CreatePartitions, named("add partitions"))
}

var errDead = errors.New("the process is dead")

// listen is a listener whose connections end when the process dies.
func (f *fate) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	return &mortalListener{l, f}, err
}

type mortalListener struct {
	net.Listener
	fate *fate
}

func (l *mortalListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	f := l.fate
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		c.Close()
		return c, nil
	}
	m := &mortalConn{c, f}
	if f.conns == nil {
		f.conns = map[net.Conn]bool{}
	}
	f.conns[m] = true
	return m, nil
}

type mortalConn struct {
	net.Conn
	fate *fate
}

// Write of the answer to the last effect does not come through: the process has died meanwhile.
func (c *mortalConn) Write(p []byte) (int, error) {
	f := c.fate
	f.mu.Lock()
	if f.doomed {
		f.die()
	}
	dead := f.dead
	f.mu.Unlock()
	if dead {
		return 0, errDead
	}
	return c.Conn.Write(p)
}

func (c *mortalConn) Close() error {
	go func() { // die closes with the lock
		c.fate.mu.Lock()
		defer c.fate.mu.Unlock()
		delete(c.fate.conns, c)
	}()
	return c.Conn.Close()
}

// live does something as a process that dies at its n-th effect, and says which that was; empty: it came to its end.
func (f *fate) live(ctx context.Context, n int, after bool, do func(context.Context) error) (diedAt string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.arm(n, after, cancel)
	err = do(ctx)
	if at := f.revive(); at != "" {
		return at, nil
	}
	return "", err
}
