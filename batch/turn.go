package batch

import (
	"context"
	"errors"
	"sync"
)

// turn is taken by the one build that a process works on: a build has two engines' memory, and a cycle is not in a hurry. On
// a cluster it is the workers that work side by side.
var turn = &turns{free: make(chan struct{}, 1)}

// turns lets one build run at a time. Builds of new records come first: one that wants its turn interrupts a build of old
// ones that can be interrupted. Concurrency: safe.
type turns struct {
	free chan struct{} // full: someone has the turn

	mu      sync.Mutex
	waiting int                     // builds of new records that want their turn
	yield   context.CancelCauseFunc // of the build that can be interrupted and has the turn
}

// errYield interrupts a build of old records, which is begun again later.
var errYield = errors.New("new records come first")

// take waits for the turn; done gives it back. Errors: the context's.
func (t *turns) take(ctx context.Context) (done func(), err error) {
	t.mu.Lock()
	t.waiting++
	if t.yield != nil {
		t.yield(errYield)
	}
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		t.waiting--
		t.mu.Unlock()
	}()
	select {
	case t.free <- struct{}{}:
		return func() { <-t.free }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// lend waits for the turn until no build of new records wants it, and gives a context that ends with the cause errYield
// when one does. done gives the turn back. Errors: the context's.
func (t *turns) lend(ctx context.Context) (lent context.Context, done func(), err error) {
	for {
		select {
		case t.free <- struct{}{}:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		t.mu.Lock()
		if t.waiting == 0 {
			lent, yield := context.WithCancelCause(ctx)
			t.yield = yield
			t.mu.Unlock()
			return lent, func() {
				t.mu.Lock()
				t.yield = nil
				t.mu.Unlock()
				yield(nil)
				<-t.free
			}, nil
		}
		t.mu.Unlock()
		<-t.free // for whoever waits for it
	}
}
