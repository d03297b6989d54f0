// Package dataset finds a dataset's newest manifest in a store and commits the next one. A dataset is all that the store
// holds for one (topic, topic id, schema); its folder is manifest.Root.
package dataset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// Known finds the newest manifests of datasets again and again: it reads only those that were not there the last time. The
// zero value is ready. Safe for concurrent use.
type Known struct {
	mu sync.Mutex
	of map[string]*manifest.Manifest // by root
}

// Newest is what the function of that name gives. Ownership: it is shared; nobody changes it.
func (k *Known) Newest(ctx context.Context, s store.Store, root string) (*manifest.Manifest, error) {
	k.mu.Lock()
	before := k.of[root]
	k.mu.Unlock()
	m := following(ctx, s, root, before)
	if m == nil {
		var err error
		if m, err = Newest(ctx, s, root); m == nil || err != nil {
			return nil, err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of == nil {
		k.of = map[string]*manifest.Manifest{}
	}
	k.of[root] = m
	return m, nil
}

// following is the last of the manifests that follow on m; nil: whoever wants to know must look at all of them.
func following(ctx context.Context, s store.Store, root string, m *manifest.Manifest) *manifest.Manifest {
	if m == nil {
		return nil
	}
	if _, err := s.Stat(ctx, root+manifest.Name(m.Sequence)); err != nil {
		return nil
	}
	for {
		next, err := Read(ctx, s, root, root+manifest.Name(m.Sequence+1))
		if errors.Is(err, store.ErrNotExist) {
			return m
		}
		if err != nil {
			return nil
		}
		m = next
	}
}

// Newest is the manifest with the highest sequence number, nil if there is none. A manifest that cannot be read is an
// error, never passed over: an older one would answer as if its successor had not been.
func Newest(ctx context.Context, s store.Store, root string) (*manifest.Manifest, error) {
	files, err := s.List(ctx, root+"manifests/")
	if err != nil || len(files) == 0 {
		return nil, err
	}
	return Read(ctx, s, root, files[len(files)-1].Name)
}

// Versions are the versions of reference tables that were in force for a topic's records, as the dataset's newest manifest
// knows them; before the first, nil, as that one does which reaches farthest among those of all the topic's datasets: their
// offsets are the same.
func Versions(ctx context.Context, s store.Store, newest *manifest.Manifest, topic, topicID string) ([]manifest.TableVersion, error) {
	if newest != nil {
		return newest.Versions, nil
	}
	files, err := s.List(ctx, "topics/"+topic+"/"+topicID+"-")
	if err != nil {
		return nil, err
	}
	last := map[string]string{} // dataset -> manifest
	for _, f := range files {
		if root, name, ok := strings.Cut(f.Name, "manifests/"); ok && strings.HasSuffix(name, ".manifest") {
			last[root] = f.Name
		}
	}
	var out []manifest.TableVersion
	farthest := int64(-1)
	for _, root := range slices.Sorted(maps.Keys(last)) {
		m, err := Read(ctx, s, root, last[root])
		if err != nil {
			return nil, err
		}
		var reach int64
		for _, offset := range m.Frontier {
			reach += offset
		}
		if reach > farthest && len(m.Versions) > 0 {
			farthest, out = reach, m.Versions
		}
	}
	return out, nil
}

// Shortened is the Problem that a topic's log ends below what cycles have committed of it; nil: it does not.
func Shortened(topic string, frontier, end schemas.Frontier) error {
	for _, part := range frontier.Partitions() {
		if end[part] < frontier[part] {
			return &schemas.Problem{Message: fmt.Sprintf("%s[%d] ends at %d, below the frontier %d", topic, part, end[part], frontier[part]),
				Hint: "the log lost records that were already committed; restore it, or make the topic anew. What is committed still answers --as-of offsets up to the frontier"}
		}
	}
	return nil
}

// Holes are the ranges, one a partition, that Kafka has dropped before a cycle had read them: between the frontier and the first
// offset that the log still has. Those that an operator has given up lie below the frontier and are none. None without a manifest:
// history begins where the log does.
func Holes(m *manifest.Manifest, start schemas.Frontier) []schemas.Range {
	if m == nil {
		return nil
	}
	known := schemas.Frontier{}
	for part := range m.Frontier {
		known[part] = start[part]
	}
	return m.Frontier.Ranges(known)
}

// Dropped is the Problem that a topic has a hole.
func Dropped(topic string, hole schemas.Range) error {
	return &schemas.Problem{Message: fmt.Sprintf("%s[%d]: Kafka dropped offsets [%d, %d) before a cycle had read them", topic, hole.Partition, hole.From, hole.To),
		Hint: "lengthen the topic's retention.ms, then run `millrace batch " + topic + " --accept-loss` to go on without these records; --as-of offsets below them is answered all the same"}
}

// Read reads the manifest file of that name.
func Read(ctx context.Context, s store.Store, root, name string) (*manifest.Manifest, error) {
	data, err := s.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	m, err := manifest.Decode(data)
	if err == nil {
		if self := manifest.Root(m.Topic, m.TopicID, m.Schema) + manifest.Name(m.Sequence); self != name {
			err = fmt.Errorf("it calls itself %s", self)
		}
	}
	if err != nil {
		return nil, &schemas.Problem{Message: "read " + name, Err: err, Hint: "run `millrace fsck`"}
	}
	return m, nil
}

// Commit creates the manifest if no other has its sequence number. One that the same cycle has made is as good: an engine may
// run a commit again that had succeeded. Errors: a Problem that says another cycle won.
func Commit(ctx context.Context, s store.Store, root string, m *manifest.Manifest) error {
	data, err := manifest.Encode(m)
	if err != nil {
		return err
	}
	err = s.Create(ctx, root+manifest.Name(m.Sequence), data)
	if errors.Is(err, store.ErrExist) {
		if there, rerr := Read(ctx, s, root, root+manifest.Name(m.Sequence)); rerr == nil && m.Cycle != "" && there.Cycle == m.Cycle {
			return nil
		}
		return Late(m)
	}
	return err
}

// Late is the Problem, over store.ErrExist, that another cycle has committed a manifest first.
func Late(m *manifest.Manifest) error {
	return &schemas.Problem{Message: fmt.Sprintf("another cycle of %s committed manifest %d first", m.Topic, m.Sequence), Err: store.ErrExist,
		Hint: "nothing is lost: run the cycle again, it goes on from there"}
}

// Whole says what is wrong with a stored file's bytes, by its manifest entry's size and checksum. Errors: store.ErrNotExist
// among others.
func Whole(ctx context.Context, s store.Store, name string, size int64, sum string) error {
	path, err := s.Local(ctx, name)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	gotSize, gotSum, err := manifest.Sum(f)
	if err == nil && (gotSize != size || gotSum != sum) {
		err = fmt.Errorf("%d bytes with checksum %s, the manifest says %d with %s", gotSize, gotSum, size, sum)
	}
	return err
}
