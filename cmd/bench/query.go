package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
	"github.com/millrace/millrace/serving"
)

// queryWork asks every view of the flights once, each question from nothing: pin, attach, read the tail, merge.
func queryWork(ctx context.Context, j *Job, s *Sample) error {
	return j.serve(serving.Options{}, func(on *served) error {
		return s.questions(ctx, on.of(j.Topic), func(v *views.View) (rows int64, err error) {
			a, err := on.server.Query(ctx, serving.Request{SQL: "SELECT * FROM " + schemas.QuoteIdent(v.Name)})
			if err != nil {
				return 0, err
			}
			defer a.Close()
			if n := a.Certificate.Topics[flights].Layers; n.Batch.Records == 0 || n.Raw.Records != int64(j.Tail) {
				return 0, fmt.Errorf("the answer stands on %+v", n)
			}
			return rows, a.Rows(ctx, func(json.RawMessage) error {
				rows++
				return nil
			})
		})
	})
}

// questions asks each view once, after the first one as a warm-up.
func (s *Sample) questions(ctx context.Context, all []*views.View, ask func(*views.View) (rows int64, err error)) error {
	if _, err := ask(all[0]); err != nil {
		return err
	}
	if err := s.start(); err != nil {
		return err
	}
	for _, v := range all {
		if err := s.part(ctx, v.Name, func() error {
			rows, err := ask(v)
			s.Check += rows
			s.Events++
			return err
		}); err != nil {
			return err
		}
	}
	return s.stop()
}

// queryDuckDB is the ceiling: for each view one statement over its partials' files and the tail's payloads, in a DuckDB
// opened for it, its rows as JSON too.
func queryDuckDB(ctx context.Context, j *Job, s *Sample) error {
	c, err := openProject(j.Dir)
	if err != nil {
		return err
	}
	c.compiler.Close()
	text, err := os.ReadFile(j.File)
	if err != nil {
		return err
	}
	tail := payloadBatches(bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")))
	if len(tail) != 1 {
		return fmt.Errorf("the tail must fit %d rows", bigBatch)
	}
	log, err := kafkalog.Open(kafkalog.Config{Brokers: j.Brokers})
	if err != nil {
		return err
	}
	defer log.Close()
	files, err := partialFiles(ctx, c, log, j)
	if err != nil {
		return err
	}
	return s.questions(ctx, c.of(j.Topic), func(v *views.View) (int64, error) { return askDuckDB(ctx, c, v, tail[0], files[v.Name]) })
}

// askDuckDB answers one view and counts its rows.
func askDuckDB(ctx context.Context, c *compiled, v *views.View, tail arrow.RecordBatch, files []string) (n int64, err error) {
	session, err := kernel.OpenSession(ctx, kernel.Limits{Memory: c.project.Config.Memory})
	if err != nil {
		return 0, err
	}
	defer session.Close()
	feed, err := decodeInDuckDB(ctx, session, c, v, "tail")
	if err != nil {
		return 0, err
	}
	feed.Set(tail)
	if err := session.Exec(ctx, fmt.Sprintf("CREATE VIEW state AS %s UNION ALL SELECT * FROM read_parquet([%s])", v.PartialSQL("tail"), strings.Join(files, ", "))); err != nil {
		return 0, err
	}
	cells := make([]string, len(v.Columns))
	for i, c := range v.Columns {
		cells[i] = "coalesce(to_json(" + schemas.QuoteIdent(c.Name) + ")::VARCHAR, 'null')"
	}
	rows, err := session.Query(ctx, fmt.Sprintf("SELECT '[' || concat_ws(',', %s) || ']' FROM (%s)", strings.Join(cells, ", "), v.FinalSQL("state")))
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for ; rows.Next(); n++ {
		var row string
		if err := rows.Scan(&row); err != nil {
			return n, err
		}
	}
	return n, rows.Err()
}

// partialFiles lists the files of each view's partials, quoted.
func partialFiles(ctx context.Context, c *compiled, log *kafkalog.Log, j *Job) (map[string][]string, error) {
	st, err := store.Open(j.Store)
	if err != nil {
		return nil, err
	}
	topic := c.catalog.Topics[j.Topic]
	info, err := log.Topic(ctx, topic.Name)
	if err != nil {
		return nil, err
	}
	root := manifest.Root(topic.Name, info.ID, topic.Hash())
	m, err := dataset.Newest(ctx, st, root)
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, p := range m.Partials {
		if p.Rows == 0 {
			continue
		}
		path, err := st.Local(ctx, root+p.Path)
		if err != nil {
			return nil, err
		}
		out[p.View] = append(out[p.View], schemas.QuoteText(path))
	}
	return out, nil
}
