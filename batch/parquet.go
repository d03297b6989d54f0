package batch

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/parquet-go/parquet-go"

	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// parquetOptions are those of every file. Level 1 of zstd takes a fifth less time than the default 3 and gives files from
// an eighth smaller (random text) to a thirtieth larger (flights). A row group
// is what a writer holds in memory: it ends after so many rows, or at so many bytes when rows are large. Of a partial it
// is also what a question for one key reads: fewer rows would cost that question more in the footer than they spare. Without
// Bloom filters: DuckDB's tell 0.0 and -0.0 apart, which are equal, so that WHERE x = 0 would leave out row groups in silence.
const (
	parquetOptions = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE_BYTES '16MiB', WRITE_BLOOM_FILTER false"
	dataGroup      = ", ROW_GROUP_SIZE 122880"
	partialGroup   = ", ROW_GROUP_SIZE 20480"
)

// unordered lets DuckDB bound row groups by bytes, which it does only if it need not keep the order of rows. With its one
// thread it keeps it.
const unordered = "SET preserve_insertion_order = false"

// writePartial writes a query's rows, sorted by the view's keys, to a file in scratch; more are options of the file's own.
func (s *scratch) writePartial(ctx context.Context, session *kernel.Session, query, path, more string) error {
	err := session.Exec(ctx, unordered)
	if err == nil {
		err = session.Exec(ctx, fmt.Sprintf("COPY (%s) TO %s (%s)", query, schemas.QuoteText(path), parquetOptions+partialGroup+more))
	}
	if err != nil && !kernel.OfRecords(err) {
		return scratchProblem("write to "+s.dir, err)
	}
	return err
}

// writer writes batches to a Parquet file as they come. A DuckDB of its own runs one COPY over a stream that waits for
// the next batch, so the memory it takes is a batch and a row group whatever the file's length. Not safe for concurrent
// use.
type writer struct {
	session *kernel.Session
	feed    *stream
	cancel  context.CancelFunc
	done    chan struct{}
	err     error // of the COPY, once done is closed
}

// newWriter begins a file. The list selects every column of the schema, in its order: see kernel.Session.Register.
// Errors after it come from write and close.
func newWriter(ctx context.Context, limits kernel.Limits, schema *arrow.Schema, list, path string) (*writer, error) {
	s, err := kernel.OpenSession(ctx, limits)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &writer{session: s, cancel: cancel, done: make(chan struct{}), feed: &stream{ctx: ctx, schema: schema, next: make(chan arrow.RecordBatch)}}
	if err = s.Exec(ctx, unordered); err == nil {
		err = s.Register(w.feed, "feed")
	}
	if err != nil {
		cancel()
		s.Close()
		return nil, err
	}
	go func() {
		defer close(w.done)
		w.err = s.Exec(ctx, fmt.Sprintf("COPY (SELECT %s FROM feed) TO %s (%s)", list, schemas.QuoteText(path), parquetOptions+dataGroup))
	}()
	return w, nil
}

// write adds a batch's rows. Ownership: the batch stays the caller's.
func (w *writer) write(b arrow.RecordBatch) error {
	b.Retain()
	select {
	case w.feed.next <- b:
		return nil
	case <-w.done:
		b.Release()
		return w.err
	}
}

// finish ends the file: it is whole if there is no error.
func (w *writer) finish() error {
	close(w.feed.next)
	<-w.done
	return w.err
}

// close frees what the writer holds, and stops it if it was not finished.
func (w *writer) close() {
	w.cancel()
	<-w.done
	w.session.Close()
	w.feed.drop()
}

// stream is an array.RecordReader that waits for the next batch, until there is no more or the context ends.
type stream struct {
	ctx     context.Context
	schema  *arrow.Schema
	next    chan arrow.RecordBatch
	current arrow.RecordBatch
	err     error
}

func (s *stream) Next() bool {
	s.drop()
	select {
	case s.current = <-s.next:
	case <-s.ctx.Done():
		s.err = s.ctx.Err()
	}
	return s.current != nil
}

func (s *stream) drop() {
	if s.current != nil {
		s.current.Release()
		s.current = nil
	}
}

func (s *stream) Retain()                        {}
func (s *stream) Release()                       {}
func (s *stream) Schema() *arrow.Schema          { return s.schema }
func (s *stream) RecordBatch() arrow.RecordBatch { return s.current }
func (s *stream) Record() arrow.RecordBatch      { return s.current }
func (s *stream) Err() error                     { return s.err }

// stored is a select list that turns a topic's columns from their carriers into the types of a data file.
func stored(t *schemas.Topic) string {
	var list []string
	for _, f := range fieldsOf(t) {
		list = append(list, fmt.Sprintf("CAST(%s AS %s) AS %[1]s", schemas.QuoteIdent(f.Name), storedType(f.Type.Carrier())))
	}
	return strings.Join(list, ", ")
}

// fieldsOf is every column of a topic's accepted records, declared ones first.
func fieldsOf(t *schemas.Topic) []schemas.Field {
	return slices.Concat(t.Fields, schemas.SystemFields())
}

// storedType is a carrier with its timestamps in microseconds, which Parquet's readers agree on; only TIMESTAMP_NS
// cannot be.
func storedType(t *schemas.Type) *schemas.Type {
	switch t.ID {
	case schemas.TimestampS, schemas.TimestampMS:
		return &schemas.Type{ID: schemas.Timestamp}
	case schemas.Struct:
		fields := make([]schemas.Field, len(t.Fields))
		for i, f := range t.Fields {
			fields[i] = schemas.Field{Name: f.Name, Type: storedType(f.Type)}
		}
		return &schemas.Type{ID: schemas.Struct, Fields: fields}
	case schemas.List:
		return &schemas.Type{ID: schemas.List, Elem: storedType(t.Elem)}
	case schemas.Map:
		return &schemas.Type{ID: schemas.Map, Key: storedType(t.Key), Elem: storedType(t.Elem)}
	}
	return t
}

// describe is what a manifest says of a Parquet file: its rows, as its footer counts them, its size and its checksum.
func describe(path string) (rows, size int64, sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, "", err
	}
	defer f.Close()
	if size, sum, err = manifest.Sum(f); err != nil {
		return 0, 0, "", err
	}
	p, err := parquet.OpenFile(f, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return 0, 0, "", err
	}
	return p.NumRows(), size, sum, nil
}
