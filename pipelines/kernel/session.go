package kernel

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	duckdb "github.com/duckdb/duckdb-go/v2"

	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// Session is an in-memory DuckDB with one connection. Not safe for concurrent use.
type Session struct {
	db      *sql.DB
	conn    *sql.Conn
	arrow   *duckdb.Arrow
	views   []func() // releases of registered Arrow streams
	streams []*Feed
	feeds   map[string]*Feed // of imported tables
}

// Limits bound what a session may take. Memory is DuckDB's spelling, "256MiB"; empty leaves DuckDB's default. Threads 0
// is one thread. TempDir is where DuckDB spills; empty: it may not spill.
type Limits struct {
	Memory  string `json:"memory,omitempty"`
	Threads int    `json:"threads,omitempty"`
	TempDir string `json:"temp_dir,omitempty"`
}

// OpenSession opens an empty session with the time zone UTC.
func OpenSession(ctx context.Context, l Limits) (*Session, error) {
	connector, err := duckdb.NewConnector("", func(driver.ExecerContext) error { return nil })
	if err != nil {
		return nil, fmt.Errorf("open DuckDB: %w", err)
	}
	s := &Session{db: sql.OpenDB(connector)}
	if s.conn, err = s.db.Conn(ctx); err != nil {
		s.db.Close()
		return nil, fmt.Errorf("open DuckDB: %w", err)
	}
	err = s.conn.Raw(func(c any) (err error) {
		s.arrow, err = duckdb.NewArrowFromConn(c.(driver.Conn))
		return err
	})
	settings := []string{
		"SET TimeZone = 'UTC'",
		fmt.Sprintf("SET threads = %d", max(1, l.Threads)),
		"SET autoinstall_known_extensions = false",
		"SET autoload_known_extensions = false",
		"SET temp_directory = " + schemas.QuoteText(l.TempDir),
	}
	if l.Memory != "" {
		settings = append(settings, "SET memory_limit = "+schemas.QuoteText(l.Memory))
	}
	for _, q := range settings {
		if err == nil {
			err = s.Exec(ctx, q)
		}
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close frees all that the session holds. DuckDB may read on from a stream for a statement that was interrupted until it is closed
// itself: so the streams end, and are released last.
func (s *Session) Close() {
	for _, f := range s.streams {
		f.next = nil
	}
	s.conn.Close()
	s.db.Close()
	for _, release := range s.views {
		release()
	}
}

// Exec runs a statement for its effect.
func (s *Session) Exec(ctx context.Context, query string, args ...any) error {
	if _, err := s.conn.ExecContext(ctx, query, args...); err != nil {
		return fmt.Errorf("%s: %w", abridge(query), err)
	}
	return nil
}

// Query runs a statement and returns its rows.
func (s *Session) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return s.conn.QueryContext(ctx, query, args...)
}

// Arrow runs a query and returns its answer as one batch. Ownership: the caller releases it.
func (s *Session) Arrow(ctx context.Context, query string) (arrow.RecordBatch, error) {
	return s.ArrowWithin(ctx, query, math.MaxInt64)
}

// ArrowWithin is Arrow for an answer of at most so many bytes in memory; a longer one is not read to its end, and is nil.
func (s *Session) ArrowWithin(ctx context.Context, query string, limit int64) (arrow.RecordBatch, error) {
	r, err := s.arrow.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", abridge(query), err)
	}
	defer r.Release()
	var batches []arrow.RecordBatch
	defer func() {
		for _, b := range batches {
			b.Release()
		}
	}()
	var size int64
	for r.Next() {
		b := r.RecordBatch()
		b.Retain()
		batches = append(batches, b)
		if size += sizeOf(b); size > limit {
			return nil, nil
		}
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", abridge(query), err)
	}
	return concatenate(r.Schema(), batches)
}

// sizeOf is the bytes of a batch's buffers.
func sizeOf(b arrow.RecordBatch) (n int64) {
	var of func(d arrow.ArrayData) int64
	of = func(d arrow.ArrayData) (n int64) {
		for _, buffer := range d.Buffers() {
			if buffer != nil {
				n += int64(buffer.Len())
			}
		}
		for _, child := range d.Children() {
			n += of(child)
		}
		return n
	}
	for _, column := range b.Columns() {
		n += of(column.Data())
	}
	return n
}

// Stream registers an Arrow stream of the schema under a name that SQL can read. It yields the batch last given to Set.
func (s *Session) Stream(schema *arrow.Schema, name string) (*Feed, error) {
	f := &Feed{schema: schema}
	s.streams = append(s.streams, f)
	return f, s.Register(f, name)
}

// Register makes a reader's batches readable under a name, once. A statement over it must read every column in order and
// filter nothing: see wholeColumns.
func (s *Session) Register(r array.RecordReader, name string) error {
	release, err := s.arrow.RegisterView(r, name)
	if err != nil {
		return fmt.Errorf("register %s: %w", name, err)
	}
	s.views = append(s.views, release)
	return nil
}

// Import appends batches to a table, which is made if it is not there, in one statement; all must have one schema.
func (s *Session) Import(ctx context.Context, table string, batches ...arrow.RecordBatch) error {
	return s.ImportWhere(ctx, table, "", batches...)
}

// ImportWhere is Import of the rows for which a condition over the table's columns holds; empty: all.
func (s *Session) ImportWhere(ctx context.Context, table, where string, batches ...arrow.RecordBatch) error {
	if len(batches) == 0 {
		return nil
	}
	feed := s.feeds[table]
	if feed == nil {
		var err error
		if feed, err = s.Stream(batches[0].Schema(), table+".import"); err != nil {
			return err
		}
		if s.feeds == nil {
			s.feeds = map[string]*Feed{}
		}
		s.feeds[table] = feed
		if err := s.Exec(ctx, fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s AS SELECT * FROM %s WITH NO DATA", schemas.QuoteIdent(table), schemas.QuoteIdent(table+".import"))); err != nil {
			return err
		}
	}
	rows := "SELECT * FROM " + schemas.QuoteIdent(table+".import")
	if where != "" {
		rows = fmt.Sprintf("SELECT * FROM (%s LIMIT %d) WHERE %s", rows, int64(math.MaxInt64), where) // the limit keeps the condition from the stream
	}
	feed.Set(batches...)
	return s.Exec(ctx, fmt.Sprintf("INSERT INTO %s %s", schemas.QuoteIdent(table), rows))
}

// LoadReferences makes a table of each reference that is not in the session yet.
func (s *Session) LoadReferences(ctx context.Context, refs []*views.Reference) error {
	for _, r := range refs {
		if err := s.Exec(ctx, fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s AS %s", schemas.QuoteIdent(r.Name), r.SQL)); err != nil {
			return &schemas.Problem{Kind: schemas.Usage, Message: "read reference " + r.Name, Err: err, Hint: "check the file and its declared fields"}
		}
	}
	return nil
}

// Feed is the Arrow stream of one session. It implements array.RecordReader: registered once, it yields the batches that
// were set before each statement, then ends.
type Feed struct {
	schema  *arrow.Schema
	next    []arrow.RecordBatch
	current arrow.RecordBatch
}

// Set gives the batches that the next statement reads. They must stay alive until that statement is done.
func (f *Feed) Set(batches ...arrow.RecordBatch) { f.next = batches }

// Retain does nothing: the session owns the feed.
func (f *Feed) Retain() {}

// Release does nothing: the session owns the feed.
func (f *Feed) Release() {}

// Schema is the schema of every batch.
func (f *Feed) Schema() *arrow.Schema { return f.schema }

// Next moves to the next batch that was set, each once.
func (f *Feed) Next() bool {
	if len(f.next) == 0 {
		f.current = nil
		return false
	}
	f.current, f.next = f.next[0], f.next[1:]
	return true
}

// RecordBatch is the current batch.
func (f *Feed) RecordBatch() arrow.RecordBatch { return f.current }

// Record is the current batch.
func (f *Feed) Record() arrow.RecordBatch { return f.current }

// Err is always nil: the batches are in memory.
func (f *Feed) Err() error { return nil }

func concatenate(schema *arrow.Schema, batches []arrow.RecordBatch) (arrow.RecordBatch, error) {
	if len(batches) == 1 {
		batches[0].Retain()
		return batches[0], nil
	}
	if len(batches) == 0 {
		b := array.NewRecordBuilder(allocator, schema)
		defer b.Release()
		return b.NewRecordBatch(), nil
	}
	var rows int64
	columns := make([]arrow.Array, schema.NumFields())
	defer func() {
		for _, c := range columns {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i := range columns {
		parts := make([]arrow.Array, len(batches))
		for j, b := range batches {
			parts[j] = b.Column(i)
		}
		var err error
		if columns[i], err = array.Concatenate(parts, allocator); err != nil {
			return nil, fmt.Errorf("join batches of %s: %w", schema.Field(i).Name, err)
		}
	}
	for _, b := range batches {
		rows += b.NumRows()
	}
	return array.NewRecordBatch(schema, columns, rows), nil
}

// abridge keeps an error that quotes a long statement readable.
func abridge(query string) string {
	if q := strings.Join(strings.Fields(query), " "); len(q) <= 120 {
		return q
	} else {
		return q[:117] + "..."
	}
}
