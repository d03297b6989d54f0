package serving

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// question is one question's DuckDB and what has been brought into it.
type question struct {
	server  *Server
	session *kernel.Session
	defs    *Definitions
	history *versions.History // of its reference tables
	pins    map[string]*pinned
	topics  map[string]bool // all that the question reads, also through views
	views   map[string]bool
	refs    map[string]bool
	direct  map[string]bool // of refs those that the question itself reads
	layers  map[string]Layers
	sources []Source         // what has been attached, in order
	files   []string         // Parquet files the session may read
	proven  map[string]found // those that the question has looked at, by name
	scratch string           // a folder of its own
	closers []func()
}

func (q *question) close() {
	for _, c := range slices.Backward(q.closers) {
		c()
	}
	q.server.engines.giveBack(q.session, q.scratch)
}

// attachRows makes the table of a topic's accepted records, with the columns asked for, under names that begin with
// the one given, and returns its name.
func (q *question) attachRows(ctx context.Context, name, topic string, columns []string) (string, error) {
	p := q.pins[topic]
	c := p.coverRows()
	k, err := kernel.In(ctx, q.session, kernel.Spec{Name: name, Topic: p.topic, Keep: columns, Together: true})
	if err != nil {
		return "", fmt.Errorf("topic %s: %w", topic, err)
	}
	q.closers = append(q.closers, k.Close)
	raw, err := q.addRaw(ctx, k, p, c.raw)
	if err != nil {
		return "", err
	}
	q.count(p, c, raw)
	q.sources = append(q.sources, sourceOf(topic, "", "", p, c))
	source := fmt.Sprintf("SELECT * FROM %s", schemas.QuoteIdent(k.RowsTable()))
	for _, r := range c.history {
		for _, f := range p.filesIn(r) {
			there, err := q.find(ctx, p, f.Path, f.Bytes, f.CRC32C)
			if err != nil {
				return "", err
			}
			if there.wrong != nil {
				if err := q.readLog(ctx, k, p, f, r, k.Want(), accepted); err != nil {
					return "", err
				}
				continue
			}
			source += fmt.Sprintf(" UNION ALL SELECT %s FROM read_parquet(%s)", kernel.Casts(p.topic, columns), list([]string{there.path}))
			if f.From < r.From || f.To > r.To {
				source += fmt.Sprintf(" WHERE _offset >= %d AND _offset < %d", r.From, r.To)
			}
		}
	}
	rows := name + ".all"
	return rows, q.session.Exec(ctx, fmt.Sprintf("CREATE VIEW %s AS %s", schemas.QuoteIdent(rows), source))
}

// attachRejects makes the table of a topic's rejects and returns its name.
func (q *question) attachRejects(ctx context.Context, topic string) (string, error) {
	p := q.pins[topic]
	name := "millrace.rejects." + topic
	const columns = "_partition INTEGER, _offset BIGINT, _timestamp TIMESTAMPTZ, _key BLOB, _headers STRUCT(key VARCHAR, value BLOB)[], value BLOB, field VARCHAR, reason VARCHAR"
	if err := q.session.Exec(ctx, fmt.Sprintf("CREATE TABLE %s (%s)", schemas.QuoteIdent(name+".log"), columns)); err != nil {
		return "", err
	}
	k, err := kernel.In(ctx, q.session, kernel.Spec{Name: name, Topic: p.topic, Together: true})
	if err != nil {
		return "", err
	}
	q.closers = append(q.closers, k.Close)
	c := p.coverRows()
	insert := fmt.Sprintf(`INSERT INTO %s VALUES (?, ?, make_timestamptz(?::BIGINT * 1000), ?, list_transform(from_json(?, '[{"key":"VARCHAR","value":"VARCHAR"}]'), lambda h: {key: h.key, value: unhex(h.value)}), ?, ?, ?)`, schemas.QuoteIdent(name+".log"))
	keep := func(r *schemas.Reject) error {
		headers, err := headersJSON(r.Headers)
		if err != nil {
			return err
		}
		var field any
		if r.Field != "" {
			field = r.Field
		}
		return q.session.Exec(ctx, insert, r.Partition, r.Offset, r.Timestamp, blob(r.Key), headers, blob(r.Value), field, r.Reason)
	}
	raw, err := q.readRaw(ctx, k, p, c.raw, kafkalog.Everything, keep)
	if err != nil {
		return "", err
	}
	q.count(p, c, raw)
	source := fmt.Sprintf("SELECT * FROM %s", schemas.QuoteIdent(name+".log"))
	if p.manifest != nil {
		for _, f := range p.manifest.Rejects {
			if f.Path == "" || f.From >= p.below[f.Partition] {
				continue
			}
			there, err := q.find(ctx, p, f.Path, f.Bytes, f.CRC32C)
			if err != nil {
				return "", err
			}
			if there.wrong != nil {
				below := schemas.Range{Partition: f.Partition, To: p.below[f.Partition]}
				if err := q.readLog(ctx, k, p, f, below, kafkalog.Everything, keep); err != nil {
					return "", err
				}
				continue
			}
			source += fmt.Sprintf(" UNION ALL SELECT _partition, _offset, _timestamp, _key, _headers, value, field, reason FROM read_parquet(%s) WHERE _offset < %d", list([]string{there.path}), p.below[f.Partition])
		}
	}
	all := name + ".all"
	return all, q.session.Exec(ctx, fmt.Sprintf("CREATE VIEW %s AS %s", schemas.QuoteIdent(all), source))
}

func (q *question) addHistory(ctx context.Context, k *kernel.Kernel, p *pinned, r schemas.Range) error {
	for _, f := range p.filesIn(r) {
		there, err := q.find(ctx, p, f.Path, f.Bytes, f.CRC32C)
		switch {
		case err != nil:
		case there.wrong != nil:
			err = q.readLog(ctx, k, p, f, r, k.Want(), accepted)
		default:
			err = k.AddParquet(ctx, there.path, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (q *question) addRaw(ctx context.Context, k *kernel.Kernel, p *pinned, ranges []schemas.Range) (Counts, error) {
	return q.readRaw(ctx, k, p, ranges, k.Want(), accepted)
}

// accepted is for one who reads accepted records alone.
func accepted(*schemas.Reject) error { return nil }

// readRaw runs the log's records in the ranges through the kernel.
func (q *question) readRaw(ctx context.Context, k *kernel.Kernel, p *pinned, ranges []schemas.Range, want kafkalog.Want, reject func(*schemas.Reject) error) (n Counts, err error) {
	for _, r := range ranges {
		reader := q.server.log.Read(p.topic.Name, r, kafkalog.ReadOptions{Want: want, MaxBytes: q.server.opts.FetchBytes, TopicID: p.id})
		for {
			chunk, err := reader.Next(ctx)
			if errors.Is(err, kafkalog.ErrEnd) {
				break
			}
			if err != nil {
				reader.Close()
				return n, fmt.Errorf("read %s[%d]@%d: %w", p.topic.Name, r.Partition, r.From, err)
			}
			rejects, err := k.Add(ctx, chunk)
			for i := range rejects {
				if err == nil {
					err = reject(&rejects[i])
				}
			}
			n.Records += int64(len(chunk.Records) - len(rejects))
			n.Rejects += int64(len(rejects))
			chunk.Release()
			if err != nil {
				reader.Close()
				return n, err
			}
		}
		reader.Close()
	}
	return n, k.Run(ctx)
}

// count notes where a reader of the topic found its records; the reader that read most from the log speaks for all.
func (q *question) count(p *pinned, c *cover, raw Counts) {
	l := Layers{Raw: raw}
	for i := range c.slices {
		l.Speed.Slices++
		l.Speed.Records += c.slices[i].Records
		l.Speed.Rejects += c.slices[i].Rejects
	}
	if old, seen := q.layers[p.topic.Name]; !seen || raw.Records+raw.Rejects > old.Raw.Records+old.Raw.Rejects {
		q.layers[p.topic.Name] = l
	}
}

// countBatch counts accepted and refused records below the frontier: from the manifest, and by reading a file where the
// bound cuts through it.
func (q *question) countBatch(ctx context.Context, p *pinned) (n Counts, err error) {
	if p.manifest == nil {
		return n, nil
	}
	count := func(f manifest.File, whole int64, sum *int64) error {
		to := p.below[f.Partition]
		if f.From >= to || whole == 0 {
			return nil
		}
		if f.To <= to {
			*sum += whole
			return nil
		}
		path, err := q.local(ctx, p, f.Path, f.Bytes, f.CRC32C)
		if err != nil {
			return err
		}
		return q.scan(ctx, fmt.Sprintf("SELECT count(*) FROM read_parquet(%s) WHERE _offset < %d", list([]string{path}), to), func(r *sql.Rows) error {
			var cut int64
			err := r.Scan(&cut)
			*sum += cut
			return err
		})
	}
	for _, f := range p.manifest.Files {
		if err := count(f, f.Records, &n.Records); err != nil {
			return n, err
		}
	}
	for _, f := range p.manifest.Rejects {
		if err := count(f, f.Records, &n.Rejects); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (p *pinned) filesIn(r schemas.Range) []manifest.File {
	var out []manifest.File
	for _, f := range p.manifest.Files {
		if f.Partition == r.Partition && f.From < r.To && f.To > r.From && f.Records > 0 {
			out = append(out, f)
		}
	}
	return out
}

func (q *question) references(names []string) ([]*views.Reference, error) {
	var out []*views.Reference
	for _, n := range names {
		r := q.defs.Catalog.References[n]
		if r == nil {
			return nil, fmt.Errorf("reference %s is gone", n)
		}
		out = append(out, r)
	}
	return out, nil
}

// headersJSON is the headers as JSON with values in hex, the way a statement's parameter can carry them.
func headersJSON(headers []schemas.Header) (string, error) {
	type header struct {
		Key   string  `json:"key"`
		Value *string `json:"value"`
	}
	out := make([]header, len(headers))
	for i, h := range headers {
		out[i].Key = h.Key
		if h.Value != nil {
			text := hex.EncodeToString(h.Value)
			out[i].Value = &text
		}
	}
	text, err := json.Marshal(out)
	return string(text), err
}

// blob is a parameter of type BLOB; nil stays NULL.
func blob(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

func list(paths []string) string {
	quoted := make([]string, len(paths))
	for i, p := range paths {
		quoted[i] = schemas.QuoteText(p)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
