// Package store keeps immutable files by name: the batch layer's data files, partials and manifests. A file is there
// whole or not at all, and durable once a write has returned. Create is the one operation that fences: of two writers of
// one name, one wins.
package store

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/millrace/millrace/schemas"
)

// ErrNotExist: there is no file of that name.
var ErrNotExist = errors.New("no such file")

// ErrExist: Create found the name taken.
var ErrExist = errors.New("file exists")

// Info describes one file.
type Info struct {
	Name string
	Size int64 // bytes
}

// Store holds files by slash-separated names. Safe for concurrent use. Errors: ErrNotExist, ErrExist, and Problems of
// kind Environment where a person must make room or give access.
type Store interface {
	URL() string // what Open opens this store with, in another process too
	Get(ctx context.Context, name string) ([]byte, error)
	Put(ctx context.Context, name string, data []byte) error         // replaces
	Create(ctx context.Context, name string, data []byte) error      // only if absent, else ErrExist
	PutFile(ctx context.Context, name, path string) error            // moves a local file in; replaces
	List(ctx context.Context, prefix string) ([]Info, error)         // by name, ascending
	Delete(ctx context.Context, name string) error                   // absent is no error
	Local(ctx context.Context, name string) (path string, err error) // a path that DuckDB can read
}

// Open opens the store of a URL: a folder, or file:// and a folder. The folder is made at the first write.
func Open(url string) (Store, error) {
	path := strings.TrimPrefix(url, "file://")
	if strings.Contains(path, "://") {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: "store " + url + ": object stores are not supported yet", Hint: "set store: to a folder"}
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
