package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/millrace/millrace/schemas"
)

// What the cache keeps at most, and how long a file stays that was asked for: whoever asked is about to open it.
const (
	cacheBytes = 10 << 30
	cacheStays = 10 * time.Minute
)

// cache keeps copies of a bucket's files, by name and version, in a folder that processes may share. Above cacheBytes those go
// that were asked for the longest ago. Safe for concurrent use.
type cache struct {
	dir     string
	limit   int64         // bytes
	stays   time.Duration // that a copy stays after it was asked for
	loading singleflight.Group

	mu    sync.Mutex
	bytes int64 // what is there about; negative: not counted yet
}

// userCache is the folder for copies: XDG_CACHE_HOME or what the system has for it, else a temporary one.
func userCache() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "millrace")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("millrace-cache-%d", os.Getuid()))
}

// newCache is in a folder, for the files of an address.
func newCache(dir, address string) *cache {
	return &cache{dir: filepath.Join(dir, fmt.Sprintf("%x", sha256.Sum256([]byte(address)))[:16]), limit: cacheBytes, stays: cacheStays, bytes: -1}
}

// file is the path of a copy of this version of a file, which load fetches if it is not there. Several who ask at once wait for
// one copy, which goes on if one of them ends. Errors: load's; a Problem if the folder takes no copy.
func (c *cache) file(ctx context.Context, name, version string, size int64, load func(context.Context, io.Writer) error) (string, error) {
	path := c.path(name, version)
	done := c.loading.DoChan(path, func() (any, error) {
		now := time.Now()
		if info, err := os.Stat(path); err == nil && info.Size() == size && os.Chtimes(path, now, now) == nil {
			return nil, nil
		}
		return nil, c.load(path, size, func(w io.Writer) error { return load(context.WithoutCancel(ctx), w) })
	})
	select {
	case r := <-done:
		return path, r.Err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (c *cache) load(path string, size int64, load func(io.Writer) error) error {
	err := c.makeRoom(size)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	var f *os.File
	if err == nil {
		f, err = os.CreateTemp(filepath.Dir(path), temporary+"*")
	}
	if err != nil {
		return c.problem(err)
	}
	err = load(f)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return c.problem(err)
}

func (c *cache) path(name, version string) string {
	return filepath.Join(c.dir, fmt.Sprintf("%x", sha256.Sum256([]byte(version)))[:16], filepath.FromSlash(name))
}

// compare removes a copy of a file that is not as another is.
func (c *cache) compare(name, version, other string) error {
	path := c.path(name, version)
	sums := [2][sha256.Size]byte{}
	for i, from := range []string{path, other} {
		f, err := os.Open(from)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		h.Sum(sums[i][:0])
	}
	if sums[0] != sums[1] {
		return os.Remove(path)
	}
	return nil
}

// problem turns what the system says into what a person can act on; other errors stay as they are.
func (c *cache) problem(err error) error {
	if refused := (*fs.PathError)(nil); errors.As(err, &refused) {
		return &schemas.Problem{Kind: schemas.Environment, Message: "copy a file of the store into " + c.dir, Err: refused, Hint: "free space there and make it writable for this user, or set XDG_CACHE_HOME to another folder; nothing is lost"}
	}
	return err
}

// makeRoom removes what was asked for the longest ago until so many bytes more are within the limit.
func (c *cache) makeRoom(size int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bytes += size; c.bytes >= size && c.bytes <= c.limit {
		return nil
	}
	type entry struct {
		path string
		info fs.FileInfo
	}
	var all []entry
	c.bytes = size
	err := filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // another process makes room too
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all = append(all, entry{path, info})
			c.bytes += info.Size()
		}
		return nil
	})
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.info.ModTime().UnixNano(), b.info.ModTime().UnixNano()) })
	for _, e := range all {
		if c.bytes <= c.limit || time.Since(e.info.ModTime()) < c.stays {
			break
		}
		if os.Remove(e.path) == nil {
			c.bytes -= e.info.Size()
		}
	}
	return err
}
