package serving

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// errNotWhole: a stored file's bytes are not those that its manifest names, or it is not there.
var errNotWhole = errors.New("the manifest names other bytes")

// proofStays is for how long a file is believed that was read through once: disks rot.
const proofStays = time.Hour

// proofs are the files whose bytes this process has found to be those that a manifest names. Files do not change, so each is read
// for that once, and again if it is not the same file any more, or after a while. Safe for concurrent use.
type proofs struct {
	of   sync.Map // path -> proof
	told sync.Map // names of files that were told of as not whole
}

type proof struct {
	file fs.FileInfo
	at   time.Time
}

// has says whether a file is proven. The time of a copy of an object store's file is that of its last use.
func (p *proofs) has(path string, now fs.FileInfo, isCopy bool) bool {
	known, ok := p.of.Load(path)
	if !ok {
		return false
	}
	then := known.(proof)
	return os.SameFile(then.file, now) && then.file.Size() == now.Size() && (isCopy || then.file.ModTime().Equal(now.ModTime())) && time.Since(then.at) < proofStays
}

// prove gives the path of a file that a manifest names, when its bytes are proven to be those. Errors: store.ErrNotExist, or what is
// wrong with them; those of a store that does not answer are Problems.
func (s *Server) prove(ctx context.Context, name string, size int64, sum, scratch string) (path string, err error) {
	path, err = s.store.Local(ctx, name)
	if err != nil {
		return "", err
	}
	isCopy := store.IsBucket(s.store.URL())
	info, err := os.Stat(path)
	if err != nil || s.proofs.has(path, info, isCopy) {
		return path, err
	}
	err = dataset.Whole(ctx, s.store, name, size, sum)
	if err != nil && isCopy { // it may be the copy alone
		if _, again := store.Anew(s.store, scratch).Local(ctx, name); again == nil {
			err = dataset.Whole(ctx, s.store, name, size, sum)
		}
		if err == nil {
			info, err = os.Stat(path)
		}
	}
	if err == nil {
		s.proofs.of.Store(path, proof{info, time.Now()})
	}
	return path, err
}

// found is a file that a manifest names, as a question has found it.
type found struct {
	path  string
	wrong error // with its bytes, or that it is not there; nil: it is whole
}

// find proves a file, once a question. Errors: the store's, which say nothing of the file.
func (q *question) find(ctx context.Context, p *pinned, name string, size int64, sum string) (found, error) {
	name = p.root + name
	if known, looked := q.proven[name]; looked {
		return known, nil
	}
	path, err := q.server.prove(ctx, name, size, sum, q.scratch)
	var away *schemas.Problem
	if ctx.Err() != nil || errors.As(err, &away) {
		return found{}, cmp.Or(ctx.Err(), err)
	}
	if err == nil {
		q.files = append(q.files, path)
	} else if _, told := q.server.proofs.told.LoadOrStore(name, true); !told && q.server.opts.Warn != nil {
		q.server.opts.Warn("a stored file is not as it was written; answers do without it where they can", "file", name, "error", err, "hint", "run `millrace fsck --repair`")
	}
	if q.proven == nil {
		q.proven = map[string]found{}
	}
	q.proven[name] = found{path, err}
	return q.proven[name], nil
}

// local is the path of a file that nothing can stand in for.
func (q *question) local(ctx context.Context, p *pinned, name string, size int64, sum string) (string, error) {
	f, err := q.find(ctx, p, name, size, sum)
	if err == nil && f.wrong != nil {
		err = &schemas.Problem{Message: "a stored file is not as it was written: " + p.root + name, Err: fmt.Errorf("%w: %w", errNotWhole, f.wrong), Hint: "run `millrace fsck --repair`, which makes again what can be made"}
	}
	return f.path, err
}

// readLog runs the records of a file that cannot be read through the kernel, as far as they are in a range, from the log. Errors: a
// Problem about the file if Kafka does not have them any more.
func (q *question) readLog(ctx context.Context, k *kernel.Kernel, p *pinned, f manifest.File, r schemas.Range, want kafkalog.Want, reject func(*schemas.Reject) error) error {
	r.From, r.To = max(r.From, f.From), min(r.To, f.To)
	_, err := q.readRaw(ctx, k, p, []schemas.Range{r}, want, reject)
	var dropped *kafkalog.RangeError
	if errors.As(err, &dropped) {
		_, err = q.local(ctx, p, f.Path, f.Bytes, f.CRC32C)
	}
	return err
}
