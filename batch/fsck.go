package batch

import (
	"context"
	"fmt"
	"strings"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/schemas/manifest"
)

// Findings are what Fsck found of one topic.
type Findings struct {
	Topic    string   `json:"topic"`
	Manifest int64    `json:"manifest"` // 0: no cycle has committed one
	Files    int      `json:"files"`    // proven whole
	Damage   []string `json:"damage"`
	Orphans  []string `json:"orphans"` // files no manifest names: harmless, a killed cycle leaves them
}

// Fsck proves a topic's dataset: the newest manifest holds its invariants (ranges without a hole from start to frontier),
// every file it names is there with its size and checksum, and the log has not lost what was committed.
func (in *Input) Fsck(ctx context.Context) (*Findings, error) {
	info, err := in.Log.Topic(ctx, in.Topic.Name)
	if err != nil {
		return nil, fmt.Errorf("fsck %s: %w", in.Topic.Name, err)
	}
	_, end, err := in.Log.Offsets(ctx, in.Topic.Name)
	if err != nil {
		return nil, fmt.Errorf("fsck %s: %w", in.Topic.Name, err)
	}
	f := &Findings{Topic: in.Topic.Name, Damage: []string{}, Orphans: []string{}}
	root := manifest.Root(in.Topic.Name, info.ID, in.Topic.Hash())
	there, err := in.Store.List(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("fsck %s: %w", in.Topic.Name, err)
	}
	named := map[string]bool{}
	m, err := dataset.Newest(ctx, in.Store, root)
	if err != nil {
		f.Damage = append(f.Damage, err.Error())
		return f, nil
	}
	if m != nil {
		f.Manifest = m.Sequence
		for p, to := range m.Frontier {
			if to > end[p] {
				f.Damage = append(f.Damage, fmt.Sprintf("%s[%d]: the log ends at %d, below the frontier %d", in.Topic.Name, p, end[p], to))
			}
		}
		check := func(path string, size int64, sum string) error {
			if path == "" {
				return nil
			}
			named[root+path] = true
			data, err := in.Store.Get(ctx, root+path)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				f.Damage = append(f.Damage, err.Error())
			case int64(len(data)) != size || manifest.Checksum(data) != sum:
				f.Damage = append(f.Damage, fmt.Sprintf("%s%s: %d bytes with checksum %s, the manifest says %d with %s", root, path, len(data), manifest.Checksum(data), size, sum))
			default:
				f.Files++
			}
			return nil
		}
		for _, file := range append(append([]manifest.File(nil), m.Files...), m.Rejects...) {
			if err := check(file.Path, file.Bytes, file.CRC32C); err != nil {
				return nil, err
			}
		}
		for _, p := range m.Partials {
			if err := check(p.Path, p.Bytes, p.CRC32C); err != nil {
				return nil, err
			}
		}
	}
	for _, file := range there {
		if !named[file.Name] && !strings.HasPrefix(file.Name, root+"manifests/") {
			f.Orphans = append(f.Orphans, file.Name)
		}
	}
	return f, nil
}
