// Package store keeps immutable files by name: the batch layer's data files, partials and manifests. A file is there
// whole or not at all, and durable once a write has returned. Create is the one operation that fences: of two writers of
// one name, one wins.
package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/millrace/millrace/schemas"
)

// ErrNotExist: there is no file of that name.
var ErrNotExist = errors.New("no such file")

// ErrExist: Create found the name taken.
var ErrExist = errors.New("file exists")

// Info describes one file.
type Info struct {
	Name     string
	Size     int64 // bytes
	Modified time.Time
}

// Store holds files by slash-separated names. Safe for concurrent use. Errors: ErrNotExist, ErrExist, and Problems of
// kind Environment where a person must make room or give access.
//
// Of several that Create a name one wins; in an object store also those that bring its very bytes are told so.
type Store interface {
	URL() string // what Open opens this store with, in another process too
	Get(ctx context.Context, name string) ([]byte, error)
	Put(ctx context.Context, name string, data []byte) error         // replaces
	Create(ctx context.Context, name string, data []byte) error      // only if absent, else ErrExist
	PutFile(ctx context.Context, name, path string) error            // moves a local file in; replaces
	List(ctx context.Context, prefix string) ([]Info, error)         // by name, ascending
	Stat(ctx context.Context, name string) (Info, error)             // of one file
	Delete(ctx context.Context, name string) error                   // absent is no error
	Local(ctx context.Context, name string) (path string, err error) // a path that DuckDB can read
	Check(ctx context.Context) error                                 // tries that it can be written and that Create fences
}

// Open opens the store of a URL: a folder, file:// and a folder, or s3://BUCKET/PREFIX?OPTIONS, whose files are copied into
// the user's cache folder to be read. A folder is made at the first write.
func Open(url string) (Store, error) {
	path := strings.TrimPrefix(url, "file://")
	if IsBucket(path) {
		return openBucket(path)
	}
	if path == "" {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: "store: no folder given", Hint: "set store: to a folder, like ./data"}
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, &schemas.Problem{Kind: schemas.Environment, Message: "store " + url, Err: err, Hint: "set store: to an absolute folder"}
	}
	return &folder{root: path}, nil
}

// Anew is the same store whose files are read from it and not from copies that were made before: dir takes the new ones, few at a
// time. An old copy that differs is removed. For one who reads a file before the next is asked for.
func Anew(s Store, dir string) Store {
	if b, ok := s.(*bucket); ok {
		again := &bucket{url: b.url, blobs: b.blobs, cache: newCache(dir, b.url), before: b.cache}
		again.cache.limit, again.cache.stays = 1<<30, time.Second
		return again
	}
	return s
}

// IsBucket says whether a URL is an object store's, which is not a folder of this machine.
func IsBucket(url string) bool {
	return strings.Contains(url, "://") && !strings.HasPrefix(url, "file://")
}

// fences tries that a store refuses to create what is there: a Problem with the hint if it does not.
func fences(url, hint string, create func() error) error {
	err := create()
	if err == nil {
		err = create()
	}
	if err == nil {
		return &schemas.Problem{Kind: schemas.Environment, Message: "store " + url + ": it replaces a file where it was asked to create one only if there is none", Hint: hint}
	}
	if errors.Is(err, ErrExist) {
		return nil
	}
	return err
}

// checkName refuses what is no name: of no file, or of one outside the store.
func checkName(name string) error {
	if !filepath.IsLocal(name) || strings.Contains(name, `\`) {
		return fmt.Errorf("store: %q is not a name", name)
	}
	return nil
}
