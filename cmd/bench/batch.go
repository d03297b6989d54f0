package bench

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/millrace/millrace/batch"
	"github.com/millrace/millrace/ingest"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/schemas"
)

// batchWork is a batch cycle from the topic's start, committed into a new store.
func batchWork(ctx context.Context, j *Job, s *Sample) error {
	defer os.RemoveAll(j.Store)
	return cycle(ctx, j, s)
}

// cycleWork is the same, and leaves the store to the runs that come.
func cycleWork(ctx context.Context, j *Job, s *Sample) error { return cycle(ctx, j, s) }

func cycle(ctx context.Context, j *Job, s *Sample) error {
	c, log, st, err := j.open()
	if err != nil {
		return err
	}
	defer log.Close()
	in := &batch.Input{Log: log, Store: st, Topic: c.catalog.Topics[j.Topic], Views: c.of(j.Topic), References: c.catalog.References, Memory: c.project.Config.Memory, Engine: j.Engine}
	if err := s.start(); err != nil {
		return err
	}
	r, err := in.Cycle(ctx)
	if err != nil {
		return err
	}
	if err := s.stop(); err != nil {
		return err
	}
	if r.Rejects > 0 {
		return fmt.Errorf("%d of the generated records are rejects", r.Rejects)
	}
	s.Events, s.Check = r.Records, r.Records
	return nil
}

// batchDuckDB is the ceiling: the same events as an NDJSON file, all fields, to Parquet.
func batchDuckDB(ctx context.Context, j *Job, s *Sample) error {
	c, err := openProject(j.Dir)
	if err != nil {
		return err
	}
	c.compiler.Close()
	return j.inDuckDB(ctx, "", func(session *kernel.Session) error {
		if err := s.start(); err != nil {
			return err
		}
		out := filepath.Join(j.Store, "file.parquet")
		if err := toParquet(ctx, session, c.catalog.Topics[j.Topic], j.File, out); err != nil {
			return err
		}
		if err := s.stop(); err != nil {
			return err
		}
		err = one(ctx, session, fmt.Sprintf("SELECT count(*) FROM read_parquet('%s')", out), &s.Events)
		s.Check = s.Events
		return err
	})
}

// toParquet has DuckDB write a topic's NDJSON file as Parquet. A file has no offsets and no append times: a sequence and
// constants stand for the columns that a record has of its own.
func toParquet(ctx context.Context, session *kernel.Session, topic *schemas.Topic, file, out string) error {
	if err := session.Exec(ctx, "CREATE SEQUENCE offsets MINVALUE 0 START 0"); err != nil {
		return err
	}
	return session.Exec(ctx, fmt.Sprintf("COPY (SELECT *, 0::INTEGER AS _partition, nextval('offsets') AS _offset, TIMESTAMPTZ '2020-01-01 00:00:00+00' AS _timestamp, NULL::BLOB AS _key, "+
		"[]::STRUCT(key VARCHAR, value BLOB)[] AS _headers, NULL::VARCHAR AS _extra FROM read_json('%s', format = 'newline_delimited', columns = {%s})) TO '%s' (FORMAT parquet, COMPRESSION zstd)",
		file, strings.ReplaceAll(structure(topic, nil), `"`, `'`), out))
}

// fileWork writes a topic's lines as NDJSON.
func fileWork(_ context.Context, j *Job, _ *Sample) error {
	f, err := os.Create(j.File)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = generate(j.Topic, j.Events, func(line []byte) error {
		_, err := w.Write(append(line, '\n'))
		return err
	})
	if err == nil {
		err = w.Flush()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// fillWork puts a file's lines into the broker.
func fillWork(ctx context.Context, j *Job, s *Sample) error {
	c, err := openProject(j.Dir)
	if err != nil {
		return err
	}
	c.compiler.Close()
	r, err := ingest.Run(ctx, ingest.Options{Topic: c.catalog.Topics[j.Topic], Kafka: kafkalog.Config{Brokers: j.Brokers}, Files: []string{j.File}})
	if err == nil && r.Rejects > 0 {
		err = fmt.Errorf("%d of the generated records are rejects", r.Rejects)
	}
	s.Events = r.Records
	return err
}
