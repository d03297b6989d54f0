package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/serving"
)

// keysAsked is how many questions for one key a run asks, one after the other.
const keysAsked = 200

// keepVisits runs a cycle over the visits into a store that the runs share, and writes the view's rows, sorted by user, to a
// plain Parquet file beside it.
func (w *world) keepVisits(ctx context.Context) error {
	if err := w.fillVisits(ctx); err != nil {
		return err
	}
	return w.once("keep", func() error {
		if err := w.serveProject(); err != nil {
			return err
		}
		for _, work := range []string{"cycle", "plain"} {
			j := w.job(work, 0)
			if err := keyRun(ctx, w, &j); err != nil {
				return err
			}
			if _, err := w.run(ctx, j); err != nil {
				return fmt.Errorf("%s: %w", work, err)
			}
		}
		return nil
	})
}

// serveProject is a project of its own for the process that serves, which finds the broker and the store by its millrace.yaml.
func (w *world) serveProject() error {
	if err := writeProject(w.served()); err != nil {
		return err
	}
	config := fmt.Sprintf("brokers: [%s]\nstore: %s\n", w.kafka.addr, w.visitsStore())
	return os.WriteFile(filepath.Join(w.served(), "millrace.yaml"), []byte(config), 0o644)
}

func (w *world) served() string      { return filepath.Join(w.dir, "served") }
func (w *world) visitsStore() string { return filepath.Join(w.dir, "visits-store") }

// keyRun makes a run ask for users of the shared store.
func keyRun(_ context.Context, w *world, j *Job) error {
	j.Topic, j.Events, j.Store, j.File = visits, visitsEach*w.o.Groups, w.visitsStore(), filepath.Join(w.dir, "users.parquet")
	if j.Work == "key-http" {
		j.Dir = w.served()
	}
	return nil
}

// plainWork writes the view's rows to a file as a person would.
func plainWork(ctx context.Context, j *Job, _ *Sample) error {
	return j.serve(serving.Options{}, func(on *served) error {
		a, err := on.server.Query(ctx, serving.Request{SQL: "SELECT * FROM " + visitsView + " ORDER BY user_id"})
		if err != nil {
			return err
		}
		defer a.Close()
		path, err := a.File(ctx, serving.Parquet, "")
		if err != nil {
			return err
		}
		return copyFile(path, j.File)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// keys asks for users spread over all of them, after a few that warm up. Ask gives the visits of a user's row.
func (s *Sample) keys(events int, ask func(where string) (visits int64, err error)) error {
	where := func(i int) string {
		return " WHERE user_id = " + schemas.QuoteText(userName(i*7919, events))
	}
	for i := range 5 {
		if _, err := ask(where(keysAsked + i)); err != nil {
			return err
		}
	}
	if err := s.start(); err != nil {
		return err
	}
	for i := range keysAsked {
		n, err := ask(where(i))
		if err != nil {
			return err
		}
		s.Check += n
		s.Events++
	}
	return s.stop()
}

// visitsOf reads a row of the view.
func visitsOf(row []json.RawMessage) (n int64, err error) {
	if len(row) != 5 {
		return 0, fmt.Errorf("a row of %d columns", len(row))
	}
	return n, json.Unmarshal(row[1], &n)
}

// keyWork asks a serving layer with what a process that serves keeps ready.
func keyWork(ctx context.Context, j *Job, s *Sample) error {
	return j.serve(serving.Options{Spare: 1, SliceBytes: slicesMemory}, func(on *served) error {
		return s.keys(j.Events, func(where string) (n int64, err error) {
			a, err := on.server.Query(ctx, serving.Request{SQL: "SELECT * FROM " + visitsView + where})
			if err != nil {
				return 0, err
			}
			defer a.Close()
			return n, a.Rows(ctx, func(text json.RawMessage) error {
				var row []json.RawMessage
				if err := json.Unmarshal(text, &row); err != nil {
					return err
				}
				n, err = visitsOf(row)
				return err
			})
		})
	})
}

// keyHTTP asks `serve`, a process of its own.
func keyHTTP(ctx context.Context, j *Job, s *Sample) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "-C", j.Dir, "--json", "serve", "--listen", "127.0.0.1:0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, cmd.Process.Signal(syscall.SIGTERM), cmd.Wait())
	}()
	var at struct{ HTTP string }
	if err := json.NewDecoder(out).Decode(&at); err != nil {
		return fmt.Errorf("start serve: %w", err)
	}
	s.servers = servers{pids: []int{cmd.Process.Pid}}
	return s.keys(j.Events, func(where string) (int64, error) { return askHTTP(ctx, at.HTTP, "SELECT * FROM "+visitsView+where) })
}

func askHTTP(ctx context.Context, url, sql string) (int64, error) {
	question, err := json.Marshal(map[string]string{"sql": sql})
	if err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/query", bytes.NewReader(question))
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	var answer struct{ Rows [][]json.RawMessage }
	if err := json.Unmarshal(text, &answer); err != nil || len(answer.Rows) != 1 {
		return 0, fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(text)))
	}
	return visitsOf(answer.Rows[0])
}

// keyDuckDB is the ceiling: a DuckDB that stays open, and the plain file.
func keyDuckDB(ctx context.Context, j *Job, s *Sample) error {
	session, err := kernel.OpenSession(ctx, kernel.Limits{})
	if err != nil {
		return err
	}
	defer session.Close()
	return s.keys(j.Events, func(where string) (n int64, err error) {
		rows, err := session.Query(ctx, "SELECT to_json(users)::VARCHAR FROM read_parquet("+schemas.QuoteText(j.File)+") AS users"+where)
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		for rows.Next() {
			var text string
			var user struct{ Visits int64 }
			if err := errors.Join(rows.Scan(&text), json.Unmarshal([]byte(text), &user)); err != nil {
				return 0, err
			}
			n += user.Visits
		}
		return n, rows.Err()
	})
}
