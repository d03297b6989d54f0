package store

import (
	"cmp"
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
	limit   int64 // bytes
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
	return &cache{dir: filepath.Join(dir, fmt.Sprintf("%x", sha256.Sum256([]byte(address)))[:16]), limit: cacheBytes, bytes: -1}
}

// file is the path of a copy of this version of a file, which load fetches if it is not there.
func (c *cache) file(name, version string, size int64, load func(io.Writer) error) (string, error) {
	path := filepath.Join(c.dir, fmt.Sprintf("%x", sha256.Sum256([]byte(version)))[:16], filepath.FromSlash(name))
	_, err, _ := c.loading.Do(path, func() (any, error) {
		now := time.Now()
		if info, err := os.Stat(path); err == nil && info.Size() == size {
			return nil, os.Chtimes(path, now, now)
		}
		return nil, c.load(path, size, load)
	})
	return path, err
}

func (c *cache) load(path string, size int64, load func(io.Writer) error) error {
	if err := c.makeRoom(size); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), temporary+"*")
	if err != nil {
		return err
	}
	err = load(f)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
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
		if c.bytes <= c.limit || time.Since(e.info.ModTime()) < cacheStays {
			break
		}
		if os.Remove(e.path) == nil {
			c.bytes -= e.info.Size()
		}
	}
	return err
}
