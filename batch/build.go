package batch

import (
	"context"
	"errors"
	"fmt"

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

// Build reads a range through the kernel and stores what comes of it. The files and what it returns are a function of
// the range's records, the topic and the views alone: fetches of another size, another machine or another day give the
// same bytes. All files are finished in scratch before the first goes into the store. Files that are in the store when a
// later one fails stay there: another cycle may have stored the same ones, and be about to name them.
//
// Its memory is bounded whatever the range's length: a fetch, the batches in flight, a row group, and for the partials'
// state DuckDB's limit, beyond which it spills to scratch.
//
// Concurrency: builds of any ranges may run side by side. Errors: a Problem of kind Environment where Kafka, the store
// or scratch cannot be used; the context's.
func (in *Input) Build(ctx context.Context, root string, r schemas.Range) (*Built, error) {
	s, err := newScratch(in.Scratch)
	if err != nil {
		return nil, in.of(ctx, "build", r, err)
	}
	defer s.close()
	m, err := in.make(ctx, s, r, in.Views)
	if err == nil {
		err = in.put(ctx, root, m)
	}
	if err != nil {
		return nil, in.of(ctx, "build", r, err)
	}
	return &m.Built, nil
}

// of says which range an error is of. What an engine says when it is interrupted is not told.
func (in *Input) of(ctx context.Context, verb string, r schemas.Range, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	what := fmt.Sprintf("%s %s[%d]@[%d,%d)", verb, in.Topic.Name, r.Partition, r.From, r.To)
	var known *schemas.Problem
	if !errors.As(err, &known) {
		if short := shortage(what, err); short != nil {
			return short
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// made is what a range comes to: its files, still in scratch.
type made struct {
	Built
	paths  []string          // under the dataset's folder, data first
	local  map[string]string // path -> file in scratch
	failed map[string]string // view -> why it has no partial
}

func newMade() *made { return &made{local: map[string]string{}, failed: map[string]string{}} }

// file notes a finished file and says what the manifest will. One without rows is no file.
func (m *made) file(path, local string) (name string, rows, size int64, sum string, err error) {
	rows, size, sum, err = describe(local)
	if err != nil || rows == 0 {
		return "", 0, 0, "", err
	}
	m.paths, m.local[path] = append(m.paths, path), local
	return path, rows, size, sum, nil
}

// make reads a range and makes its data file, its rejects file and the views' partials.
func (in *Input) make(ctx context.Context, s *scratch, r schemas.Range, of []*views.View) (*made, error) {
	m := newMade()
	m.Data, m.Rejects = manifest.File{Partition: r.Partition, From: r.From, To: r.To}, manifest.File{Partition: r.Partition, From: r.From, To: r.To}
	data := newDataFile(ctx, in, s)
	defer data.close()
	rejects := newRejects(ctx, in, s)
	defer rejects.close()
	k, err := in.kernel(ctx, s, m, of, data.add)
	if err != nil {
		return nil, err
	}
	defer k.Close()
	records, refused, err := in.read(ctx, k, r, rejects)
	if err == nil {
		err = k.Run(ctx)
	}
	if err == nil {
		err = data.finish(m)
	}
	if err == nil {
		err = rejects.finish(m)
	}
	if err == nil {
		m.Partials, err = in.partials(ctx, s, k, of, r, m)
	}
	if err == nil && (m.Data.Records != records || m.Rejects.Records != refused) {
		err = fmt.Errorf("%d records and %d rejects were read, %d and %d were written", records, refused, m.Data.Records, m.Rejects.Records)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// read brings a range's records into the kernel and says how many it accepted and refused.
func (in *Input) read(ctx context.Context, k *kernel.Kernel, r schemas.Range, rejects *rejects) (records, refused int64, err error) {
	reader := in.Log.Read(in.Topic.Name, r, kafkalog.ReadOptions{Want: kafkalog.Everything, MaxBytes: in.fetchBytes})
	defer reader.Close()
	for {
		chunk, err := reader.Next(ctx)
		if errors.Is(err, kafkalog.ErrEnd) {
			return records, refused, nil
		}
		if err != nil {
			return 0, 0, err
		}
		bad, err := k.Add(ctx, chunk)
		for i := 0; err == nil && i < len(bad); i++ {
			err = rejects.add(&bad[i])
		}
		records, refused = records+int64(len(chunk.Records)-len(bad)), refused+int64(len(bad))
		chunk.Release()
		if err != nil {
			return 0, 0, err
		}
	}
}

// fill makes a partial that is missing from the data files of its range, and stores it.
func (in *Input) fill(ctx context.Context, root string, lack Missing) ([]manifest.Partial, error) {
	var out []manifest.Partial
	err := in.prove(ctx, root, lack.Files, map[string]bool{})
	if err == nil {
		err = in.fromFiles(ctx, root, lack, func(_ *scratch, _ *kernel.Session, m *made) error {
			out = m.Partials
			return in.put(ctx, root, m)
		})
	}
	if err != nil {
		return nil, in.of(ctx, "make the partial of "+lack.View.Name+" over", lack.Range, err)
	}
	return out, nil
}

// put moves what was made into the store.
func (in *Input) put(ctx context.Context, root string, m *made) error {
	for _, path := range m.paths {
		if err := in.Store.PutFile(ctx, root+path, m.local[path]); err != nil {
			return err
		}
	}
	return nil
}

// fromFiles makes the one partial of a view over a range from data files, and hands it out while it lies in scratch, with
// the session that made it.
func (in *Input) fromFiles(ctx context.Context, root string, lack Missing, use func(*scratch, *kernel.Session, *made) error) error {
	s, err := newScratch(in.Scratch)
	if err != nil {
		return err
	}
	defer s.close()
	of, m := []*views.View{lack.View}, newMade()
	k, err := in.with(lack.References).kernel(ctx, s, m, of, nil)
	if err != nil {
		return err
	}
	defer k.Close()
	for _, f := range lack.Files {
		if f.Records == 0 {
			continue
		}
		path, err := in.Store.Local(ctx, root+f.Path)
		if err == nil {
			err = k.AddParquet(ctx, path, lack.Range)
		}
		if err != nil {
			return err
		}
	}
	if m.Partials, err = in.partials(ctx, s, k, of, lack.Range, m); err != nil {
		return err
	}
	return use(s, k.Session(), m)
}

// kernel opens one that decodes every column if onBatch is to see them, else those the views want. A view whose SQL fails
// on the records is noted in m: it must not keep the records, and the other views, from the store.
func (in *Input) kernel(ctx context.Context, s *scratch, m *made, of []*views.View, onBatch func(int32, arrow.RecordBatch) error) (*kernel.Kernel, error) {
	spec := kernel.Spec{Topic: in.Topic, Views: of, Together: true, OnBatch: onBatch, Limits: in.limits(s),
		Skip: func(v *views.View, _ int32, err error) { m.failed[v.Name] = kernel.Sentence(err) }}
	if onBatch != nil {
		for _, f := range fieldsOf(in.Topic) {
			spec.Columns = append(spec.Columns, f.Name)
		}
	}
	spec.References = views.Joined(of, in.References)
	return kernel.New(ctx, spec)
}

func (in *Input) limits(s *scratch) kernel.Limits {
	return kernel.Limits{Memory: in.Memory, TempDir: s.spill()}
}

// partials makes a partial of every view, with an empty path for one without rows. They are written where the kernel
// has them: a view with a group a record never lies in memory whole.
func (in *Input) partials(ctx context.Context, s *scratch, k *kernel.Kernel, of []*views.View, r schemas.Range, m *made) ([]manifest.Partial, error) {
	files := map[string]string{}
	err := k.Drain(ctx, func(v *views.View, _ int32, query string) error {
		path := s.path()
		if err := s.writePartial(ctx, k.Session(), query, path, ""); err != nil {
			return fmt.Errorf("partial of %s: %w", v.Name, err)
		}
		files[v.Name] = path
		return nil
	})
	if err != nil {
		return nil, err
	}
	var out []manifest.Partial
	for _, v := range of {
		p := manifest.Partial{View: v.Name, Definition: v.Definition, Partition: r.Partition, From: r.From, To: r.To, Failed: m.failed[v.Name]}
		if local := files[v.Name]; local != "" {
			p.Path, p.Rows, p.Bytes, p.CRC32C, err = m.file(partialName(p), local)
			if err != nil {
				return nil, err
			}
		}
		out = append(out, p)
	}
	return out, nil
}

func partialName(p manifest.Partial) string {
	return manifest.Folder(p.View, p.Definition) + rangeName(p.Range())
}

func rangeName(r schemas.Range) string {
	return fmt.Sprintf("%d/%020d-%020d.parquet", r.Partition, r.From, r.To)
}
