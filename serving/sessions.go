package serving

import (
	"context"
	"os"
	"sync"

	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/schemas"
)

// sessions hands out engines, each for one question. With spare ones they are opened before they are asked for, which takes
// longer than many a question, and closed after its answer has been given. Safe for concurrent use.
type sessions struct {
	limits kernel.Limits
	ready  chan *kernel.Session // nil: none is kept; one that is nil could not be opened

	mu      sync.Mutex
	closed  bool
	opening int            // engines that are being opened for ready
	waiting int            // questions that wait for one of them
	work    sync.WaitGroup // what goes on beside questions
}

func newSessions(l kernel.Limits, spare int) *sessions {
	s := &sessions{limits: l}
	if spare > 0 {
		s.ready = make(chan *kernel.Session, spare)
	}
	return s
}

// take is an engine that spills to a folder. The caller gives it back.
func (s *sessions) take(ctx context.Context, spill string) (*kernel.Session, error) {
	limits := s.limits
	limits.TempDir = spill
	if s.ready == nil {
		return kernel.OpenSession(ctx, limits)
	}
	ready := s.next(ctx)
	s.refill()
	if ready == nil {
		return kernel.OpenSession(ctx, limits)
	}
	if err := ready.Exec(ctx, "SET temp_directory = "+schemas.QuoteText(spill)); err != nil {
		ready.Close()
		return nil, err
	}
	return ready, nil
}

// next is an engine that is ready, or will be before another one could be opened; nil: there is none.
func (s *sessions) next(ctx context.Context) *kernel.Session {
	select {
	case ready := <-s.ready:
		return ready
	default:
	}
	s.mu.Lock()
	wait := s.opening > s.waiting
	if wait {
		s.waiting++
	}
	s.mu.Unlock()
	if !wait {
		return nil
	}
	defer func() {
		s.mu.Lock()
		s.waiting--
		s.mu.Unlock()
	}()
	select {
	case ready := <-s.ready:
		return ready
	case <-ctx.Done():
		return nil
	}
}

// refill opens an engine for a question to come. Every question that took one calls it, so one that waits gets its own.
func (s *sessions) refill() {
	s.mu.Lock()
	s.opening++
	s.mu.Unlock()
	done := func() {
		s.mu.Lock()
		s.opening--
		s.mu.Unlock()
	}
	if !s.beside(func() {
		defer done()
		s.fill()
	}) {
		done()
	}
}

// fill opens an engine and keeps it, if there is room for one.
func (s *sessions) fill() {
	session, err := kernel.OpenSession(context.Background(), s.limits)
	if err != nil {
		session = nil // the question that gets it will say why
	}
	select {
	case s.ready <- session:
	default:
		if session != nil {
			session.Close()
		}
	}
}

// giveBack closes an engine and removes the folder it may have spilled to.
func (s *sessions) giveBack(session *kernel.Session, spill string) {
	end := func() {
		session.Close()
		os.RemoveAll(spill)
	}
	if s.ready == nil || !s.beside(end) {
		end()
	}
}

// beside does something that nobody waits for, until the server is closed.
func (s *sessions) beside(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.work.Go(f)
	}
	return !s.closed
}

// close waits for what goes on and closes the engines that are ready.
func (s *sessions) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.work.Wait()
	for {
		select {
		case session := <-s.ready:
			if session != nil {
				session.Close()
			}
		default:
			return
		}
	}
}
