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
	ready  chan *kernel.Session // nil: none is kept

	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup // what goes on beside questions
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
	s.beside(s.fill)
	select {
	case ready := <-s.ready:
		if err := ready.Exec(ctx, "SET temp_directory = "+schemas.QuoteText(spill)); err != nil {
			ready.Close()
			return nil, err
		}
		return ready, nil
	default:
		return kernel.OpenSession(ctx, limits)
	}
}

// fill opens an engine for a question to come, if there is room for one.
func (s *sessions) fill() {
	session, err := kernel.OpenSession(context.Background(), s.limits)
	if err != nil {
		return // the question that finds none will say why
	}
	select {
	case s.ready <- session:
	default:
		session.Close()
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
			session.Close()
		default:
			return
		}
	}
}
