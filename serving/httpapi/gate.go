package httpapi

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// gate lets so many through at once, and so many wait for a while.
type gate struct {
	slots    chan struct{}
	waiting  atomic.Int64
	queue    int64
	patience time.Duration
	what     string
}

// enter waits for a slot; leave gives it free. Errors: a 503 problem if the queue is full or the wait too long.
func (g *gate) enter(ctx context.Context) (leave func(), err error) {
	leave = func() { <-g.slots }
	select {
	case g.slots <- struct{}{}:
		return leave, nil
	default:
	}
	full := &problem{Status: http.StatusServiceUnavailable, Detail: "too many " + g.what + " at once", Hint: "try again in a moment", retry: time.Second}
	if g.waiting.Add(1) > g.queue {
		g.waiting.Add(-1)
		return nil, full
	}
	defer g.waiting.Add(-1)
	timer := time.NewTimer(g.patience)
	defer timer.Stop()
	select {
	case g.slots <- struct{}{}:
		return leave, nil
	case <-timer.C:
		return nil, full
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
