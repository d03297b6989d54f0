package batch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// Findings are what Fsck found of one topic, and what Repair did about it.
type Findings struct {
	Topic    string   `json:"topic"`
	Manifest int64    `json:"manifest"` // 0: no cycle has committed one
	Files    int      `json:"files"`    // proven whole
	Damage   []string `json:"damage"`
	Orphans  []string `json:"orphans"` // files no manifest names: harmless, a killed cycle leaves them

	Repaired []string `json:"repaired,omitempty"` // files made again
	Removed  []string `json:"removed,omitempty"`  // orphans that were removed
	Lost     []string `json:"lost,omitempty"`     // damage that is still there, and why
}

// inspection is what Fsck saw.
type inspection struct {
	*Findings
	root       string
	start, end schemas.Frontier // of the log
	manifest   *manifest.Manifest
	parts      []manifest.Partial // that folded partials were made of, as far as they are there
	broken     map[string]bool    // paths of damaged files
	beyond     []string           // damage that is not a file's
}

// Fsck proves a topic's dataset: the newest manifest holds its invariants (ranges without a hole from start to frontier),
// every file it names is there with its size, checksum and rows, so are the parts of folded partials that are there, a
// data or rejects file's offsets ascend within its range, and the log has not lost what was committed.
func (in *Input) Fsck(ctx context.Context) (*Findings, error) {
	i, err := in.inspect(ctx)
	if err != nil {
		return nil, fmt.Errorf("fsck %s: %w", in.Topic.Name, err)
	}
	return i.Findings, nil
}

func (in *Input) inspect(ctx context.Context) (*inspection, error) {
	info, err := in.Log.Topic(ctx, in.Topic.Name)
	if err != nil {
		return nil, err
	}
	i := &inspection{Findings: &Findings{Topic: in.Topic.Name, Damage: []string{}, Orphans: []string{}}, broken: map[string]bool{},
		root: manifest.Root(in.Topic.Name, info.ID, in.Topic.Hash())}
	// What is listed after a manifest was read is there, and the log reaches its frontier, whatever a cycle adds meanwhile.
	if i.manifest, err = dataset.Newest(ctx, in.Store, i.root); err != nil {
		if schemas.KindOf(err) == schemas.Environment {
			return nil, err
		}
		i.beyond = append(i.beyond, err.Error())
		i.Damage = append(i.Damage, err.Error())
		return i, nil
	}
	if i.start, i.end, err = in.Log.Offsets(ctx, in.Topic.Name); err != nil {
		return nil, err
	}
	there, err := in.Store.List(ctx, i.root)
	if err != nil {
		return nil, err
	}
	named := map[string]bool{}
	if m := i.manifest; m != nil {
		i.Manifest = m.Sequence
		for _, p := range m.Frontier.Partitions() {
			if to := m.Frontier[p]; to > i.end[p] {
				i.beyond = append(i.beyond, fmt.Sprintf("%s[%d]: the log ends at %d, below the frontier %d", in.Topic.Name, p, i.end[p], to))
			}
		}
		for n := int64(1); n < m.Sequence; n++ { // a moment of the past may ask for any
			if _, err := dataset.Read(ctx, in.Store, i.root, i.root+manifest.Name(n)); err != nil {
				i.beyond = append(i.beyond, fmt.Sprintf("%s%s: %v", i.root, manifest.Name(n), err))
			}
		}
		i.Damage = append(i.Damage, i.beyond...)
		for _, f := range append(append([]manifest.File(nil), m.Files...), m.Rejects...) {
			r := f.Range()
			named[i.root+f.Path] = true
			if err := in.check(ctx, i, f.Path, f.Records, f.Bytes, f.CRC32C, &r); err != nil {
				return nil, err
			}
		}
		for _, p := range m.Partials {
			if err := in.checkPartial(ctx, i, p, named); err != nil {
				return nil, err
			}
		}
	}
	for _, file := range there {
		if !named[file.Name] && !strings.HasPrefix(file.Name, i.root+"manifests/") && !strings.HasPrefix(file.Name, i.root+manifest.Drift) && !i.retired(file.Name) {
			i.Orphans = append(i.Orphans, file.Name)
		}
	}
	return i, nil
}

// retired says whether a file is of a definition that the manifest knows to be gone: Collect removes it in its time.
func (i *inspection) retired(name string) bool {
	return i.manifest != nil && slices.ContainsFunc(i.manifest.Retired, func(r manifest.Retired) bool {
		return strings.HasPrefix(name, i.root+manifest.Folder(r.View, r.Definition))
	})
}

// checkPartial checks a partial's file, and those of the parts it was folded of that are still there.
func (in *Input) checkPartial(ctx context.Context, i *inspection, p manifest.Partial, named map[string]bool) error {
	named[i.root+p.Path] = true
	if err := in.check(ctx, i, p.Path, p.Rows, p.Bytes, p.CRC32C, nil); err != nil {
		return err
	}
	if p.Tier == 0 || p.Path == "" || i.broken[p.Path] {
		return nil
	}
	local, err := in.Store.Local(ctx, i.root+p.Path)
	if err != nil {
		return err
	}
	parts, err := partsOf(local, p)
	if err != nil {
		return fmt.Errorf("%s%s: %w", i.root, p.Path, err)
	}
	for _, part := range parts {
		if _, err := in.Store.Stat(ctx, i.root+part.Path); part.Path == "" || errors.Is(err, store.ErrNotExist) {
			continue
		}
		i.parts = append(i.parts, part)
		if err := in.checkPartial(ctx, i, part, named); err != nil {
			return err
		}
	}
	return nil
}

// check notes a named file as whole or as damage. Its offsets are checked if r is not nil. Errors: the context's.
func (in *Input) check(ctx context.Context, i *inspection, path string, rows, size int64, sum string, r *schemas.Range) error {
	if path == "" {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	local, err := in.Store.Local(ctx, i.root+path)
	if err == nil {
		if err = proof(local, rows, size, sum, r); err != nil {
			err = fmt.Errorf("%s%s: %w", i.root, path, err)
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		i.broken[path] = true
		i.Damage = append(i.Damage, err.Error())
		return nil
	}
	i.Files++
	return nil
}

// proof says what of a Parquet file is not as its manifest says.
func proof(path string, rows, size int64, sum string, r *schemas.Range) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	gotSize, gotSum, err := manifest.Sum(f)
	if err != nil {
		return err
	}
	if gotSize != size || gotSum != sum {
		return fmt.Errorf("%d bytes with checksum %s, the manifest says %d with %s", gotSize, gotSum, size, sum)
	}
	p, err := parquet.OpenFile(f, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return err
	}
	if p.NumRows() != rows {
		return fmt.Errorf("%d rows, the manifest says %d", p.NumRows(), rows)
	}
	if r == nil {
		return nil
	}
	if err := eachInteger(p, "_partition", func(v int64) error {
		if v != int64(r.Partition) {
			return fmt.Errorf("a record of partition %d in a file of partition %d", v, r.Partition)
		}
		return nil
	}); err != nil {
		return err
	}
	last := r.From - 1
	return eachInteger(p, "_offset", func(v int64) error {
		if v <= last || v >= r.To {
			return fmt.Errorf("offset %d follows %d in a file of [%d,%d)", v, last, r.From, r.To)
		}
		last = v
		return nil
	})
}

// eachInteger hands out a column's values in order, page by page.
func eachInteger(p *parquet.File, name string, each func(int64) error) error {
	leaf, ok := p.Schema().Lookup(name)
	if !ok {
		return fmt.Errorf("it has no column %s", name)
	}
	buffer := make([]parquet.Value, 1024)
	for _, group := range p.RowGroups() {
		if err := eachOf(group.ColumnChunks()[leaf.ColumnIndex], buffer, each); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func eachOf(chunk parquet.ColumnChunk, buffer []parquet.Value, each func(int64) error) error {
	pages := chunk.Pages()
	defer pages.Close()
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		values := page.Values()
		for err == nil {
			var n int
			n, err = values.ReadValues(buffer)
			for _, v := range buffer[:n] {
				if v.IsNull() {
					return fmt.Errorf("a NULL")
				}
				if err := each(integer(v)); err != nil {
					return err
				}
			}
		}
		parquet.Release(page)
		if !errors.Is(err, io.EOF) {
			return err
		}
	}
}

func integer(v parquet.Value) int64 {
	if v.Kind() == parquet.Int32 {
		return int64(v.Int32())
	}
	return v.Int64()
}
