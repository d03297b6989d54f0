package millrace_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/serving"
	"github.com/millrace/millrace/speed"
)

// lawWorks are what a process may be doing with these layers, by a clock of its own.
func lawWorks(m mill, clock time.Time) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"cycle": func(ctx context.Context) error {
			_, err := m.cycle.Cycle(ctx)
			return err
		},
		"history": func(ctx context.Context) error {
			_, err := m.cycle.CatchUp(ctx, batch.Pace{})
			return err
		},
		"slices": func(ctx context.Context) error {
			in := speed.Input{Log: m.log, Store: m.store, Topic: m.topic, Views: m.cycle.Views, References: m.refs, Scratch: m.dir, Logger: slog.Default()}
			return in.CatchUp(ctx)
		},
		"folds of slices": m.tidy,
		"collecting": func(ctx context.Context) error {
			in := *m.cycle
			in.Keep = time.Hour
			_, err := in.Collect(ctx, clock)
			return err
		},
		"repair": func(ctx context.Context) error {
			_, err := m.cycle.Repair(ctx, clock)
			return err
		},
	}
}

// doing draws one. The clock that it goes by is off by months, ahead or behind.
func (l *law) doing(m mill) (string, func(context.Context) error) {
	clock := time.Now().Add(time.Duration(rapid.IntRange(-3000, 3000).Draw(l.T, "clock is off by hours")) * time.Hour)
	name := pick(l.T, "doing", "cycle", "cycle", "slices", "slices", "history", "folds of slices", "collecting", "repair")
	return name, lawWorks(m, clock)[name]
}

// death lets a process die at one of its lasting effects, or come to its end; the next finds the answer to a view right.
func (l *law) death() {
	l.sendSome()
	_, do := l.doing(*l.mill)
	at, err := l.fate.live(l.ctx, pick(l.T, "effect", 1, 1, 1, 2, 2, 3, 4, 6), pick(l.T, "stage", before, torn, after), do)
	l.must(err)
	if at != "" {
		l.took["deaths"]++
	}
	l.open()
	l.must(l.mill.check(l.ctx, nil))
}

// pause holds a process at one of its lasting effects while others, who know nothing of it, go on, and lets it go on then: it may
// find that it has lost, and whatever it does, the answers stay right.
func (l *law) pause() {
	l.sendSome()
	zombie := *l.mill
	_, do := l.doing(zombie)
	l.mill.compiler, l.mill.log = nil, nil // they are the zombie's
	defer zombie.close()
	at, err := l.fate.pause(l.ctx, pick(l.T, "effect", 1, 1, 1, 2, 2, 3, 4, 6), pick(l.T, "stage", before, after), do, func() {
		l.open()
		for range pick(l.T, "steps meanwhile", 1, 2, 3) {
			l.step(lawSteps)
		}
	})
	if at == "" {
		l.must(err)
		l.open()
		return
	}
	l.took["pauses"]++
	if err != nil {
		l.took["pauses in which it lost"]++
	}
	l.must(l.mill.check(l.ctx, nil))
}

// beside lets two do something at once while a third asks, in good weather or bad. In good weather they fail only where another has
// won; in bad weather they may fail, and the next does not. Whatever answer is given is right.
func (l *law) beside() {
	l.sendSome()
	var work sync.WaitGroup
	names, errs := make([]string, 2), make([]error, 2)
	good := l.weather()
	for i := range names {
		var do func(context.Context) error
		names[i], do = l.doing(*l.mill)
		work.Go(func() { errs[i] = do(l.ctx) })
	}
	for range pick(l.T, "questions", 0, 1, 2) {
		errs = append(errs, l.ask())
	}
	work.Wait()
	l.fate.under(nil)
	for _, err := range errs {
		switch {
		case err == nil || good && errors.Is(err, store.ErrExist):
		case good:
			l.Fatalf("%s beside %s: %v", names[0], names[1], err)
		default:
			l.took["failures in bad weather"]++
		}
	}
	l.must(l.mill.check(l.ctx, nil))
}

// weather draws what befalls the requests of what follows.
func (l *law) weather() (good bool) {
	kind := pick(l.T, "weather", "good", "slow", "lossy")
	if kind == "good" {
		return true
	}
	chance := rand.New(rand.NewPCG(rapid.Uint64().Draw(l.T, "seed"), 0))
	losses := 4 // of requests or answers; who has lost one waits before the next attempt
	l.fate.under(func() (w weather) {
		if chance.IntN(4) == 0 {
			w.late = time.Duration(chance.IntN(5)) * time.Millisecond
		}
		if kind == "lossy" && losses > 0 && chance.IntN(8) == 0 {
			w.lost = chance.IntN(2) == 0
			w.answerIsLost = !w.lost
			losses--
		}
		return w
	})
	return false
}

// lawAnswer is an answer that was given.
type lawAnswer struct {
	sql         string
	certificate []byte
	rows        []string
}

// ask compares a view's answer with a recompute at its certificate, and keeps one. An error is one to give no answer.
func (l *law) ask() error {
	names := slices.Sorted(maps.Keys(l.mill.defs.Views))
	v := l.mill.defs.Views[names[l.asked%len(names)]]
	l.asked++
	verdict, err := l.mill.server.Verify(l.ctx, l.mill.defs, v, nil)
	if err != nil {
		return err
	}
	if verdict.Differing > 0 {
		l.Fatalf("%s, asked while others were at work: %d of %d rows differ: %+v", v.Name, verdict.Differing, verdict.Rows, verdict.Examples)
	}
	l.took["answers beside"]++
	var exact []string // floating sums hang on the order of adding
	for _, c := range v.Columns {
		if c.Type != "DOUBLE" {
			exact = append(exact, schemas.QuoteIdent(c.Name))
		}
	}
	if len(exact) == 0 {
		return nil
	}
	given := lawAnswer{sql: "SELECT " + strings.Join(exact, ", ") + " FROM " + schemas.QuoteIdent(v.Name)}
	a, err := l.mill.server.Query(l.ctx, serving.Request{SQL: given.sql, Sorted: true})
	if err != nil {
		return err
	}
	defer a.Close()
	if given.rows, err = rowsOf(l.ctx, a); err != nil {
		return err
	}
	given.certificate, err = json.Marshal(a.Certificate)
	l.answers = append(l.answers, given)
	return err
}

// askAgain asks for the last answers that were given as of their certificates: of another process, after all that was done since.
func (l *law) askAgain() {
	for _, given := range l.answers[max(0, len(l.answers)-3):] {
		asOf, err := serving.ParseAsOf(given.certificate)
		l.must(err)
		got, err := rows(l.ctx, l.mill.server, serving.Request{SQL: given.sql, AsOf: asOf, Sorted: true})
		if l.lost && err != nil && strings.Contains(err.Error(), "which are lost since") {
			l.took["answers that are lost"]++
			continue
		}
		l.must(err)
		if !slices.Equal(got, given.rows) {
			l.Fatalf("%s as of %s\ngives %v\nit gave %v", given.sql, given.certificate, got, given.rows)
		}
		l.took["answers again"]++
	}
}
