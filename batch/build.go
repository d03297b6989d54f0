package batch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// Built is what Build stored of one range.
type Built struct {
	Data     manifest.File
	Rejects  manifest.File
	Partials []manifest.Partial
}

// Build reads a range through the kernel and stores what comes of it.
func (in *Input) Build(ctx context.Context, root string, r schemas.Range) (*Built, error) {
	columns := allColumns(in.Topic)
	k, err := in.kernel(ctx, in.Views, columns)
	if err != nil {
		return nil, fmt.Errorf("build %s %s: %w", in.Topic.Name, r, err)
	}
	defer k.Close()
	b := &Built{Data: manifest.File{Partition: r.Partition, From: r.From, To: r.To}, Rejects: manifest.File{Partition: r.Partition, From: r.From, To: r.To}}
	rejects := newRejects()
	defer rejects.release()
	reader := in.Log.Read(in.Topic.Name, r, kafkalog.ReadOptions{Want: kafkalog.Everything})
	defer reader.Close()
	for {
		chunk, err := reader.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", r, err)
		}
		refused, err := k.Add(ctx, chunk)
		for i := range refused {
			rejects.add(&refused[i])
		}
		b.Data.Records += int64(len(chunk.Records) - len(refused))
		b.Rejects.Records += int64(len(refused))
		chunk.Release()
		if err != nil {
			return nil, fmt.Errorf("build %s %s: %w", in.Topic.Name, r, err)
		}
	}
	if b.Partials, err = in.flush(ctx, k, root, in.Views, r); err != nil {
		return nil, err
	}
	if b.Data.Records > 0 {
		source := fmt.Sprintf("SELECT %s FROM %s", kernel.Carriers(in.Topic, columns), schemas.QuoteIdent(k.RowsTable()))
		if err := in.bounds(ctx, k.Session(), k.RowsTable(), &b.Data); err != nil {
			return nil, err
		}
		b.Data.Path = "data/" + rangeName(r)
		if b.Data.Bytes, b.Data.CRC32C, err = in.save(ctx, k.Session(), source, root+b.Data.Path); err != nil {
			return nil, err
		}
	}
	if b.Rejects.Records > 0 {
		batch := rejects.batch()
		defer batch.Release()
		if err := k.Session().Import(ctx, "rejects", batch); err != nil {
			return nil, err
		}
		b.Rejects.Path = "rejects/" + rangeName(r)
		if b.Rejects.Bytes, b.Rejects.CRC32C, err = in.save(ctx, k.Session(), "SELECT * FROM rejects", root+b.Rejects.Path); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Rebuild makes the partials that committed ranges lack, from their data files.
func (in *Input) Rebuild(ctx context.Context, root string, missing []Missing) ([]manifest.Partial, error) {
	var out []manifest.Partial
	for _, m := range missing {
		k, err := in.kernel(ctx, []*views.View{m.View}, nil)
		if err != nil {
			return nil, fmt.Errorf("rebuild %s: %w", m.View.Name, err)
		}
		if m.File.Records > 0 {
			var path string
			if path, err = in.Store.Local(ctx, root+m.File.Path); err == nil {
				err = k.AddParquet(ctx, path, m.File.Range())
			}
		}
		var made []manifest.Partial
		if err == nil {
			made, err = in.flush(ctx, k, root, []*views.View{m.View}, m.File.Range())
		}
		k.Close()
		if err != nil {
			return nil, fmt.Errorf("rebuild %s: %w", m.View.Name, err)
		}
		out = append(out, made...)
	}
	return out, nil
}

func (in *Input) kernel(ctx context.Context, of []*views.View, keep []string) (*kernel.Kernel, error) {
	var refs []*views.Reference
	seen := map[string]bool{}
	for _, v := range of {
		for _, name := range v.References {
			if !seen[name] {
				seen[name] = true
				refs = append(refs, in.References[name])
			}
		}
	}
	return kernel.New(ctx, kernel.Spec{Topic: in.Topic, Views: of, References: refs, Keep: keep, Together: true, Limits: kernel.Limits{Memory: in.Memory, TempDir: in.Scratch}})
}

// flush stores a partial of every view, with an empty path for one without rows.
func (in *Input) flush(ctx context.Context, k *kernel.Kernel, root string, of []*views.View, r schemas.Range) ([]manifest.Partial, error) {
	partials, err := k.Flush(ctx)
	if err != nil {
		return nil, fmt.Errorf("build %s %s: %w", in.Topic.Name, r, err)
	}
	rows := map[string]arrow.RecordBatch{}
	for _, p := range partials {
		rows[p.View.Name] = p.Rows
		defer p.Rows.Release()
	}
	var out []manifest.Partial
	for _, v := range of {
		p := manifest.Partial{View: v.Name, Definition: v.Definition, Partition: r.Partition, From: r.From, To: r.To}
		if batch := rows[v.Name]; batch != nil && batch.NumRows() > 0 {
			table := "partial." + v.Name
			if err := k.Session().Import(ctx, table, batch); err != nil {
				return nil, err
			}
			p.Rows = batch.NumRows()
			p.Path = "partials/" + v.Name + "-" + v.Definition[:12] + "/" + rangeName(r)
			if p.Bytes, p.CRC32C, err = in.save(ctx, k.Session(), "SELECT * FROM "+schemas.QuoteIdent(table), root+p.Path); err != nil {
				return nil, err
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// save writes a query's rows to a Parquet file in the store.
func (in *Input) save(ctx context.Context, s *kernel.Session, query, name string) (size int64, sum string, err error) {
	dir, err := os.MkdirTemp(in.Scratch, "millrace-build-")
	if err != nil {
		return 0, "", &schemas.Problem{Kind: schemas.Environment, Message: "make a scratch folder", Err: err, Hint: "free some space or set TMPDIR to a folder that can be written"}
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "file.parquet")
	if err := s.Exec(ctx, fmt.Sprintf("COPY (%s) TO '%s' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)", query, strings.ReplaceAll(path, "'", "''"))); err != nil {
		return 0, "", &schemas.Problem{Kind: schemas.Environment, Message: "write " + name, Err: err, Hint: "free some space and run the cycle again; nothing is lost"}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, "", err
	}
	if err := in.Store.PutFile(ctx, name, path); err != nil {
		return 0, "", err
	}
	return int64(len(data)), manifest.Checksum(data), nil
}

// bounds notes a data file's event and append times.
func (in *Input) bounds(ctx context.Context, s *kernel.Session, table string, f *manifest.File) error {
	event := "NULL::BIGINT"
	if e := in.Topic.EventTime; e != nil && e.Unit == "" {
		event = "epoch_us(" + schemas.QuoteIdent(e.Field) + "::TIMESTAMP)"
	}
	rows, err := s.Query(ctx, fmt.Sprintf("SELECT min(%s), max(%[1]s), min(epoch_ms(_timestamp)), max(epoch_ms(_timestamp)) FROM %s", event, schemas.QuoteIdent(table)))
	if err != nil {
		return fmt.Errorf("bounds of %s %s: %w", in.Topic.Name, f.Range(), err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&f.MinEvent, &f.MaxEvent, &f.MinAppend, &f.MaxAppend); err != nil {
			return fmt.Errorf("bounds of %s %s: %w", in.Topic.Name, f.Range(), err)
		}
	}
	return rows.Err()
}

func rangeName(r schemas.Range) string {
	return fmt.Sprintf("%d/%020d-%020d.parquet", r.Partition, r.From, r.To)
}

func allColumns(t *schemas.Topic) []string {
	var out []string
	for _, f := range append(append([]schemas.Field(nil), t.Fields...), schemas.SystemFields()...) {
		out = append(out, f.Name)
	}
	return out
}
