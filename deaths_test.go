package millrace_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/schemas/slice"
)

// fate stands between a process and all that outlives it, the broker and the object store. At the process's n-th lasting effect it
// lets it die, so that nothing that it asks for comes through any more and no answer reaches it; or it holds the effect, or the
// answer to it, until it lets go. Beside that there is weather: requests that are late, lost, or done while the answer is lost.
type fate struct {
	mu     sync.Mutex
	left   int   // effects until it strikes; 0: it does not
	when   stage // it strikes at that effect
	dead   bool
	doomed bool           // the last effect is being done: nothing else comes through any more
	at     string         // the effect that it struck at
	kill   func()         // ends what the process does; nil: it is held
	held   chan struct{}  // closed when it is held
	let    chan struct{}  // closed to let go
	hold   bool           // the answer to the effect that is being done is to be held
	sky    func() weather // nil: it is calm
	lose   bool           // the next answer is lost
	conns  map[net.Conn]bool
}

// stage is when something befalls an effect: before it, in the middle of what is being sent for it, or after it and before its answer.
type stage int

const (
	before stage = iota
	torn
	after
)

func (s stage) String() string { return [...]string{"before", "in the middle of", "after"}[s] }

// weather is what befalls one request.
type weather struct {
	late               time.Duration
	lost, answerIsLost bool
}

// arm says when the next process dies; kill ends what it does in this process.
func (f *fate) arm(left int, when stage, kill func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.when, f.kill, f.at = left, when, kill, ""
	f.held, f.let = make(chan struct{}), make(chan struct{})
}

// revive lets the next process live, and says at which effect the last one died or was held.
func (f *fate) revive() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.dead, f.doomed, f.hold = 0, false, false, false
	return f.at
}

// under is the weather from now on.
func (f *fate) under(sky func() weather) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sky, f.lose = sky, false
}

// feel is the weather that befalls a request. Its source of chance is asked under the lock.
func (f *fate) feel() weather {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sky == nil {
		return weather{}
	}
	return f.sky()
}

// verdict is what fate says of an effect.
type verdict int

const (
	pass    verdict = iota
	refuse          // the process is dead
	tear            // the process dies with half of it sent
	last            // it is done, and the process dies
	hold            // it waits for the one to let go, and is done then
	holdFor         // it is done, and its answer waits
)

// inTurn are the effects that a process is not held at: those who go on are in the same one, where one builds at a time. The fence only has to be there.
var inTurn = map[string]bool{"put a data file": true, "put rejects": true, "put a partial": true, "put the fence": true}

// arrives counts an effect. Only one that comes in pieces can be torn.
func (f *fate) arrives(effect string, pieces bool) verdict {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead || f.doomed {
		return refuse
	}
	if f.left == 0 || f.when == torn && !pieces || f.kill == nil && inTurn[effect] {
		return pass
	}
	if f.left--; f.left > 0 {
		return pass
	}
	f.at = effect
	if f.kill == nil {
		if f.when == after {
			return holdFor
		}
		return hold
	}
	switch f.when {
	case before:
		f.die()
		return refuse
	case torn:
		f.doomed = true
		return tear
	}
	f.doomed = true
	return last
}

// wait holds who calls it until the fate lets go.
func (f *fate) wait() {
	close(f.held)
	<-f.let
}

// die is called with the lock.
func (f *fate) die() {
	f.dead, f.doomed = true, false
	f.kill()
	for c := range f.conns {
		c.Close()
	}
}

// end lets the doomed die.
func (f *fate) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.die()
}

func (f *fate) isDead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead || f.doomed
}

// storing puts the fate before an object store.
func (f *fate) storing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sky := f.feel()
		time.Sleep(sky.late)
		if sky.lost {
			panic(http.ErrAbortHandler)
		}
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			if f.isDead() {
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
			return
		}
		v := f.arrives(strings.ToLower(r.Method)+" "+kindOf(r.URL.Path), r.Method == http.MethodPut)
		switch v {
		case refuse:
			panic(http.ErrAbortHandler)
		case hold:
			f.wait()
		case tear:
			r.Body = io.NopCloser(io.LimitReader(r.Body, r.ContentLength/2))
		}
		if v == pass && !sky.answerIsLost || v == hold {
			next.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		switch v {
		case holdFor:
			f.wait()
			maps.Copy(w.Header(), answer.Header())
			w.WriteHeader(answer.Code)
			_, _ = w.Write(answer.Body.Bytes()) // who hung up has none
			return
		case tear, last:
			f.end()
		}
		panic(http.ErrAbortHandler)
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

// watch lets the fate of a process befall what its requests do to a broker.
func (f *fate) watch(broker *kfake.Cluster) {
	broker.Control(func(r kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		sky := f.feel()
		if sky.late > 0 {
			broker.SleepControl(func() { time.Sleep(sky.late) })
		}
		if sky.lost {
			return nil, errLost, true
		}
		if sky.answerIsLost {
			f.mu.Lock()
			f.lose = true
			f.mu.Unlock()
		}
		effect := effectOf(broker, r)
		if effect == "" {
			return nil, nil, false
		}
		switch f.arrives(effect, false) { // a broker takes a request whole or not at all
		case refuse:
			return nil, errDead, true
		case hold, holdFor: // one that waits to be done would hold up those of others here
			f.mu.Lock()
			f.hold = true
			f.mu.Unlock()
		}
		return nil, nil, false // the last is answered after it is done
	})
}

// effectOf is what a request does to the broker that outlives who sent it; empty: nothing.
func effectOf(broker *kfake.Cluster, r kmsg.Request) string {
	switch r := r.(type) {
	case *kmsg.ProduceRequest:
		for _, t := range r.Topics {
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
	case *kmsg.DeleteRecordsRequest:
		return "drop slices"
	case *kmsg.OffsetCommitRequest:
		return "commit a hint of offsets"
	case *kmsg.CreateTopicsRequest:
		return "make a topic"
	case *kmsg.CreatePartitionsRequest:
		return "add partitions"
	}
	return ""
}

var (
	errDead = errors.New("the process is dead")
	errLost = errors.New("the request is lost")
)

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
	dead, lost, held := f.dead, f.lose, f.hold
	f.lose, f.hold = false, false
	f.mu.Unlock()
	switch {
	case dead:
		return 0, errDead
	case lost:
		c.Conn.Close()
		return 0, errLost
	case held:
		f.wait()
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
func (f *fate) live(ctx context.Context, n int, when stage, do func(context.Context) error) (diedAt string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.arm(n, when, cancel)
	err = do(ctx)
	if at := f.revive(); at != "" {
		return at, nil
	}
	return "", err
}

// pause does something as a process that is held at its n-th effect, and what others do meanwhile; empty: it came to its end before.
func (f *fate) pause(ctx context.Context, n int, when stage, do func(context.Context) error, meanwhile func()) (heldAt string, err error) {
	f.arm(n, when, nil)
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	select {
	case err = <-done:
		f.revive()
		return "", err
	case <-f.held:
	}
	f.mu.Lock()
	f.left = 0
	f.mu.Unlock()
	func() {
		defer close(f.let)
		meanwhile()
	}()
	err = <-done
	return f.revive(), err
}
