package kernel

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/decode"
)

// allocator hands out memory outside Go's heap, as the C data interface demands.
var allocator = mallocator.NewMallocator()

// Rows and bytes that are gathered before the partial plans run: enough that a statement's fixed cost does not show,
// few enough that the columns stay near the caches.
const (
	gatherRows  = 64 << 10
	gatherBytes = 16 << 20
)

// wholeColumns keeps DuckDB from asking the feed for some columns only: an Arrow stream registered through its C interface
// gives all of them whatever is asked, and DuckDB would take them for the ones it asked for, in silence. In the same way
// it would leave filters to the stream; the LIMIT in the chunk's view stops those. Statements that read every column in
// order and filter nothing need neither.
const wholeColumns = "SET disabled_optimizers = 'unused_columns'"

// plainColumns ends wholeColumns. That it may fail does no harm: the session's statements read more than they need.
func (s *Session) plainColumns(ctx context.Context) { _ = s.Exec(ctx, "RESET disabled_optimizers") }

// Spec says what a kernel computes.
type Spec struct {
	Name       string // prefix of the kernel's tables in its session; empty: the topic's name
	Topic      *schemas.Topic
	Views      []*views.View                                        // merged ones of this topic
	References []*views.Reference                                   // those the views join
	Columns    []string                                             // columns to decode beside those the views want
	Keep       []string                                             // columns of every accepted record to keep as the table RowsTable; a subset of Columns
	OnBatch    func(partition int32, batch arrow.RecordBatch) error `json:"-"` // sees each decoded batch before it is released; may be nil
	Together   bool                                                 // one state for all partitions, not one a partition
	Limits     Limits

	// Skip is told of each view whose SQL fails on the records themselves, an overflow or a cast, for example; there is no
	// partial of it then, and the other views' are whole. Nil: the failure is an error of Add, Run, Flush or Drain.
	Skip func(v *views.View, partition int32, err error) `json:"-"`
}

// Partial is the state of one view over the records added since the last Flush.
type Partial struct {
	View      *views.View
	Partition int32             // 0 if the kernel keeps the partitions together
	Rows      arrow.RecordBatch // the view's State columns, sorted by its keys; the receiver releases it. See FlushWithin
}

// Release gives the rows free.
func (p *Partial) Release() {
	if p.Rows != nil {
		p.Rows.Release()
	}
}

// Kernel decodes chunks and runs the partial plans. Not safe for concurrent use.
type Kernel struct {
	spec    Spec
	session *Session
	owned   bool
	name    string // prefix of its tables in the session
	columns []string
	feed    *Feed
	keep    *sql.Stmt
	states  map[int32]*state
	plans   []string // the partial plans over the chunk, in order of spec.Views
}

// state is what one partition's records have come to so far.
type state struct {
	decoder *decode.Decoder
	inserts []*sql.Stmt
	tables  []string
	failed  []error // of each view: why it has no state until the next Flush
	dirty   bool    // chunks were added since the last Flush
}

func (st *state) close() {
	st.decoder.Close()
	for _, ins := range st.inserts {
		ins.Close()
	}
}

// New makes a kernel with a session of its own.
func New(ctx context.Context, spec Spec) (*Kernel, error) {
	s, err := OpenSession(ctx, spec.Limits)
	if err != nil {
		return nil, err
	}
	var k *Kernel
	if err = s.Exec(ctx, wholeColumns); err == nil {
		k, err = within(ctx, s, spec)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	k.owned = true
	return k, nil
}

// In makes a kernel in a session of the caller's beside what is there. Names must differ within a session. A kernel with
// views plans all of the session's statements without column pruning until its Close.
func In(ctx context.Context, s *Session, spec Spec) (*Kernel, error) {
	if len(spec.Views) == 0 {
		spec.Columns = nil
		return within(ctx, s, spec)
	}
	if err := s.Exec(ctx, wholeColumns); err != nil {
		return nil, err
	}
	k, err := within(ctx, s, spec)
	if err != nil {
		s.plainColumns(ctx)
	}
	return k, err
}

func within(ctx context.Context, s *Session, spec Spec) (*Kernel, error) {
	k := &Kernel{spec: spec, session: s, name: "millrace." + cmp.Or(spec.Name, spec.Topic.Name), states: map[int32]*state{}}
	k.columns = columnsOf(spec)
	if err := s.LoadReferences(ctx, spec.References); err != nil {
		return nil, err
	}
	d, err := decode.New(spec.Topic, k.columns, allocator)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if k.feed, err = s.Stream(d.Schema(), k.name+".feed"); err != nil {
		return nil, err
	}
	if err := s.Exec(ctx, fmt.Sprintf("CREATE VIEW %s AS SELECT %s FROM %s LIMIT %d",
		k.table("chunk"), Casts(spec.Topic, k.columns), k.table("feed"), int64(math.MaxInt64))); err != nil {
		return nil, err
	}
	for _, v := range spec.Views {
		k.plans = append(k.plans, v.PartialSQL(k.name+".chunk"))
	}
	if len(spec.Keep) > 0 {
		rows := fmt.Sprintf("SELECT %s FROM %s", identifiers(spec.Keep), k.table("chunk"))
		if err := s.Exec(ctx, fmt.Sprintf("CREATE TABLE %s AS %s WITH NO DATA", k.table("rows"), rows)); err != nil {
			return nil, err
		}
		if k.keep, err = s.conn.PrepareContext(ctx, fmt.Sprintf("INSERT INTO %s %s", k.table("rows"), rows)); err != nil {
			return nil, fmt.Errorf("prepare rows of %s: %w", spec.Topic.Name, err)
		}
	}
	return k, nil
}

// Close frees what the kernel holds.
func (k *Kernel) Close() {
	for _, st := range k.states {
		st.close()
	}
	if k.keep != nil {
		k.keep.Close()
	}
	switch {
	case k.owned:
		k.session.Close()
	case len(k.spec.Views) > 0:
		k.session.plainColumns(context.Background())
	}
}

// Add decodes a chunk's records and returns those it refused. Ownership: the chunk's bytes are copied, the rejects still
// point into them.
func (k *Kernel) Add(ctx context.Context, c *kafkalog.Chunk) ([]schemas.Reject, error) {
	st, err := k.state(ctx, c.Partition)
	if err != nil {
		return nil, err
	}
	st.dirty = true
	var rejects []schemas.Reject
	for i := range c.Records {
		if r := st.decoder.Append(&c.Records[i]); r != nil {
			rejects = append(rejects, *r)
		}
		if st.decoder.Len() >= gatherRows || st.decoder.Bytes() >= gatherBytes {
			if err := k.run(ctx, c.Partition, st); err != nil {
				return nil, err
			}
		}
	}
	return rejects, nil
}

// AddParquet runs the partial plans over the rows of a data file whose offsets lie in the range.
func (k *Kernel) AddParquet(ctx context.Context, path string, r schemas.Range) error {
	st, err := k.state(ctx, r.Partition)
	if err != nil {
		return err
	}
	if err := k.session.Exec(ctx, fmt.Sprintf("CREATE OR REPLACE VIEW %s AS SELECT %s FROM read_parquet(%s) WHERE _offset >= %d AND _offset < %d",
		k.table("history"), Casts(k.spec.Topic, k.columns), schemas.QuoteText(path), r.From, r.To)); err != nil {
		return err
	}
	for i, v := range k.spec.Views {
		if st.failed[i] != nil {
			continue
		}
		if err := k.session.Exec(ctx, fmt.Sprintf("INSERT INTO %s %s", schemas.QuoteIdent(st.tables[i]), v.PartialTableSQL(k.name+".history"))); err != nil {
			if err = fmt.Errorf("view %s over %s: %w", v.Name, path, err); !k.skips(err) {
				return err
			}
			st.failed[i] = err
		}
	}
	if len(k.spec.Keep) > 0 {
		if err := k.session.Exec(ctx, fmt.Sprintf("INSERT INTO %s SELECT %s FROM %s", k.table("rows"), identifiers(k.spec.Keep), k.table("history"))); err != nil {
			return err
		}
	}
	st.dirty = true
	return nil
}

// Want is what the kernel needs of each record beside its offset and value.
func (k *Kernel) Want() kafkalog.Want { return wantOf(k.columns) }

// Want is what a kernel of the spec needs of each record beside its offset and value.
func (s Spec) Want() kafkalog.Want { return wantOf(columnsOf(s)) }

func wantOf(columns []string) kafkalog.Want {
	var w kafkalog.Want
	for _, c := range columns {
		switch c {
		case "_key":
			w |= kafkalog.Keys
		case "_headers":
			w |= kafkalog.Headers
		case "_timestamp":
			w |= kafkalog.Timestamps
		}
	}
	return w
}

// Run brings all added records into the state tables.
func (k *Kernel) Run(ctx context.Context) error {
	for p, st := range k.states {
		if err := k.run(ctx, p, st); err != nil {
			return err
		}
	}
	return nil
}

// Flush hands out the state of every view and partition that saw records, in order of partitions, and starts anew.
func (k *Kernel) Flush(ctx context.Context) ([]Partial, error) {
	return k.FlushWithin(ctx, func(int32) int64 { return math.MaxInt64 })
}

// FlushWithin is Flush with a limit to the bytes of a partial's rows in memory, by its partition: one that is larger, or
// that the engine has not the memory to merge, has nil Rows.
func (k *Kernel) FlushWithin(ctx context.Context, limit func(partition int32) int64) (out []Partial, err error) {
	defer func() {
		if err != nil {
			for _, p := range out {
				p.Release()
			}
			out = nil
		}
	}()
	err = k.Drain(ctx, func(v *views.View, partition int32, query string) error {
		rows, err := k.session.ArrowWithin(ctx, query, limit(partition))
		if err != nil && !OutOfMemory(err) {
			return fmt.Errorf("merge %s: %w", v.Name, err)
		}
		out = append(out, Partial{View: v, Partition: partition, Rows: rows})
		return nil
	})
	return out, err
}

// Drain is Flush for a caller that does not want the rows in memory: for every view and partition that saw records it
// calls each with a query in the kernel's session that gives the view's State columns, sorted by its keys.
func (k *Kernel) Drain(ctx context.Context, each func(v *views.View, partition int32, query string) error) error {
	for _, p := range sortedKeys(k.states) {
		st := k.states[p]
		if err := k.run(ctx, p, st); err != nil {
			return err
		}
		if !st.dirty {
			continue
		}
		for i, v := range k.spec.Views {
			err := st.failed[i]
			if err == nil {
				err = each(v, p, MergeSQL(v, st.tables[i]))
			}
			if err != nil {
				if !k.skips(err) {
					return err
				}
				k.spec.Skip(v, p, err)
				st.failed[i] = nil
			}
			if err := k.session.Exec(ctx, "TRUNCATE "+schemas.QuoteIdent(st.tables[i])); err != nil {
				return err
			}
		}
		st.dirty = false
	}
	// Without it DuckDB keeps the memory of rows that are gone, some 4 MB a state table. One that fails is made up by the next.
	_ = k.session.Exec(ctx, "CHECKPOINT")
	return nil
}

// StateTable brings all added records into the state table of a view, given by its place in the Spec, and returns the
// table's name: state rows in any number a group, in the kernel's session. Run brings there what is added later. Only for a
// kernel that keeps the partitions together; not to be mixed with Flush.
func (k *Kernel) StateTable(ctx context.Context, view int) (string, error) {
	st, err := k.state(ctx, 0)
	if err != nil {
		return "", err
	}
	return st.tables[view], k.run(ctx, 0, st)
}

// Session is where the kernel's tables are.
func (k *Kernel) Session() *Session { return k.session }

// RowsTable is the session's table of the kept columns.
func (k *Kernel) RowsTable() string { return k.name + ".rows" }

func (k *Kernel) run(ctx context.Context, partition int32, st *state) error {
	if st.decoder.Len() == 0 {
		return nil
	}
	batch := st.decoder.Batch()
	defer batch.Release()
	if k.spec.OnBatch != nil {
		if err := k.spec.OnBatch(partition, batch); err != nil {
			return err
		}
	}
	for i, ins := range st.inserts {
		if st.failed[i] != nil {
			continue
		}
		k.feed.Set(batch)
		if _, err := ins.ExecContext(ctx); err != nil {
			if err = fmt.Errorf("view %s over %s[%d]: %w", k.spec.Views[i].Name, k.spec.Topic.Name, partition, err); !k.skips(err) {
				return err
			}
			st.failed[i] = err
		}
	}
	if k.keep != nil {
		k.feed.Set(batch)
		if _, err := k.keep.ExecContext(ctx); err != nil {
			return fmt.Errorf("keep rows of %s[%d]: %w", k.spec.Topic.Name, partition, err)
		}
	}
	return nil
}

func (k *Kernel) state(ctx context.Context, partition int32) (*state, error) {
	if k.spec.Together {
		partition = 0
	}
	if st := k.states[partition]; st != nil {
		return st, nil
	}
	d, err := decode.New(k.spec.Topic, k.columns, allocator)
	if err != nil {
		return nil, err
	}
	st := &state{decoder: d, failed: make([]error, len(k.plans))}
	for i, plan := range k.plans {
		table := k.stateName(partition, i)
		if err := k.session.CreateState(ctx, table, k.spec.Views[i]); err != nil {
			st.close()
			return nil, fmt.Errorf("view %s: %w", k.spec.Views[i].Name, err)
		}
		ins, err := k.session.conn.PrepareContext(ctx, fmt.Sprintf("INSERT INTO %s %s", schemas.QuoteIdent(table), plan)) //nolint:sqlclosecheck // the state closes it
		if err != nil {
			st.close()
			return nil, fmt.Errorf("prepare view %s: %w", k.spec.Views[i].Name, err)
		}
		st.tables, st.inserts = append(st.tables, table), append(st.inserts, ins)
	}
	k.states[partition] = st
	return st, nil
}

func (k *Kernel) stateName(partition int32, view int) string {
	return fmt.Sprintf("%s.state.%d.%s", k.name, partition, k.spec.Views[view].Name)
}

func (k *Kernel) table(part string) string { return schemas.QuoteIdent(k.name + "." + part) }

// Casts is a select list that turns a topic's columns from their carriers into their declared types.
func Casts(t *schemas.Topic, columns []string) string {
	types := map[string]*schemas.Type{}
	for _, f := range slices.Concat(t.Fields, schemas.SystemFields()) {
		types[f.Name] = f.Type
	}
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = fmt.Sprintf("CAST(%s AS %s) AS %[1]s", schemas.QuoteIdent(c), types[c])
	}
	return strings.Join(list, ", ")
}

// columnsOf lists what must be decoded, in the order of the declaration, so that equal sets give equal batches. DuckDB
// needs one column to count rows.
func columnsOf(spec Spec) []string {
	want := map[string]bool{}
	for _, c := range slices.Concat(spec.Columns, spec.Keep) {
		want[c] = true
	}
	for _, v := range spec.Views {
		for _, c := range v.Wanted[spec.Topic.Name] {
			want[c] = true
		}
	}
	var out []string
	for _, f := range slices.Concat(spec.Topic.Fields, schemas.SystemFields()) {
		if want[f.Name] {
			out = append(out, f.Name)
		}
	}
	if len(out) == 0 {
		out = []string{"_offset"}
	}
	return out
}

func sortedKeys(m map[int32]*state) []int32 {
	var keys []int32
	for p := range m {
		keys = append(keys, p)
	}
	slices.Sort(keys)
	return keys
}
