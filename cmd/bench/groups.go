package bench

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/serving"
)

// The topic of the rows about size: every user comes twice, so the view has half as many groups as there are events.
const (
	visits     = "visits"
	visitsView = "users"
	visitsEach = 2
)

const visitsTopic = `format: json
partitions: 4
key: user_id
event_time: seen
fields:
  user_id: VARCHAR NOT NULL
  page: INTEGER NOT NULL
  amount: DECIMAL(9,2)
  seen: TIMESTAMP NOT NULL
`

const visitsSQL = `-- What is known of each user?
SELECT user_id, count(*) AS visits, sum(amount) AS spent, min(seen) AS first_seen, max(seen) AS last_seen
FROM visits
GROUP BY user_id
`

// allVisits is a question that needs every group and every column of the view.
const allVisits = "SELECT count(*), sum(visits)::BIGINT, sum(spent), max(last_seen - first_seen) FROM "

// visitLines makes n events of half as many users, about 90 bytes each. Users come in no order, their second events in that of
// their first.
func visitLines(n int, f func(line []byte) error) error {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range n {
		r := mix(uint64(i))
		if err := f(fmt.Appendf(nil, `{"user_id":"%s","page":%d,"amount":%d.%02d,"seen":"%s"}`,
			userName(i, n), r%1000, r>>20%500, r>>40%100, began.Add(time.Duration(i)*50*time.Millisecond).Format("2006-01-02T15:04:05.000"))); err != nil {
			return err
		}
	}
	return nil
}

// userName is the user of the i-th of n events.
func userName(i, n int) string {
	return fmt.Sprintf("%016x", mix(1<<40+uint64(i%max(1, n/visitsEach))))
}

// mix is splitmix64: each number has another one, which looks like any.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// fillVisits puts the visits into the broker.
func (w *world) fillVisits(ctx context.Context) error {
	return w.once(visits, func() error {
		if _, err := w.broker(ctx); err != nil {
			return err
		}
		file, fill := w.job("file", 0), w.job("fill", 0)
		for _, j := range []*Job{&file, &fill} {
			j.Topic, j.File, j.Events = visits, w.linesOf(visits), visitsEach*w.o.Groups
			if _, err := w.run(ctx, *j); err != nil {
				return fmt.Errorf("%s: %w", j.Work, err)
			}
		}
		return nil
	})
}

// groupsRun makes a run read the visits.
func groupsRun(_ context.Context, w *world, j *Job) error {
	j.Topic, j.File, j.Events = visits, w.linesOf(visits), visitsEach*w.o.Groups
	return nil
}

// groupsWork is a batch cycle from the topic's start into a new store, and a question that needs every group of the view.
func groupsWork(ctx context.Context, j *Job, s *Sample) error {
	defer os.RemoveAll(j.Store)
	return j.serve(serving.Options{}, func(on *served) error {
		in := &batch.Input{Log: on.log, Store: on.store, Topic: on.catalog.Topics[j.Topic], Views: on.of(j.Topic), References: on.catalog.References, Memory: on.project.Config.Memory}
		if err := s.start(); err != nil {
			return err
		}
		if err := s.part(ctx, "cycle", func() error {
			r, err := in.Cycle(ctx)
			if err == nil {
				s.Events = r.Records
			}
			return err
		}); err != nil {
			return err
		}
		if err := s.part(ctx, "answer", func() error {
			a, err := on.server.Query(ctx, serving.Request{SQL: allVisits + visitsView})
			if err != nil {
				return err
			}
			defer a.Close()
			return a.Rows(ctx, func(row json.RawMessage) error {
				var groups, events int64
				err := json.Unmarshal(row, &[]any{&groups, &events, new(any), new(any)})
				s.Check = groups + events
				return err
			})
		}); err != nil {
			return err
		}
		return s.stop()
	})
}

// groupsDuckDB is the ceiling: the same file to Parquet of all columns and of the groups, sorted by user, and the same
// question of the first, as it would be without views.
func groupsDuckDB(ctx context.Context, j *Job, s *Sample) error {
	c, err := openProject(j.Dir)
	if err != nil {
		return err
	}
	c.compiler.Close()
	return j.inDuckDB(ctx, c.project.Config.Memory, func(session *kernel.Session) error {
		if err := s.start(); err != nil {
			return err
		}
		records, groups := filepath.Join(j.Store, "records.parquet"), filepath.Join(j.Store, "groups.parquet")
		view := c.view(visitsView).RawSQL(map[string]string{visits: "records"})
		if err := s.part(ctx, "cycle", func() error {
			if err := toParquet(ctx, session, c.catalog.Topics[visits], j.File, records); err != nil {
				return err
			}
			if err := session.Exec(ctx, "CREATE VIEW records AS SELECT * FROM read_parquet("+schemas.QuoteText(records)+")"); err != nil {
				return err
			}
			return session.Exec(ctx, fmt.Sprintf("COPY (SELECT * FROM (%s) ORDER BY user_id) TO %s (FORMAT parquet, COMPRESSION zstd)", view, schemas.QuoteText(groups)))
		}); err != nil {
			return err
		}
		if err := s.part(ctx, "answer", func() error {
			var many, events int64
			if err := one(ctx, session, allVisits+"("+view+")", &many, &events, new(any), new(any)); err != nil {
				return err
			}
			s.Check = many + events
			return nil
		}); err != nil {
			return err
		}
		if err := s.stop(); err != nil {
			return err
		}
		return one(ctx, session, "SELECT count(*) FROM records", &s.Events)
	})
}

// one reads the first row of a query.
func one(ctx context.Context, session *kernel.Session, query string, into ...any) error {
	rows, err := session.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return err
		}
		return sql.ErrNoRows
	}
	return rows.Scan(into...)
}
