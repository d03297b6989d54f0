// Package versions keeps what certificates name by its hash, so that an answer can be given again after the project's files
// have changed: every version of a reference table that was used, and the definitions of views and topics. A file of a table
// that is edited while it is read does no harm: what is read is the kept copy.
//
// # Files
//
//	references/NAME/HASH.ENDING    the content as it was
//	references/NAME/HASH.json      the version: a views.Reference as JSON, without its SQL
//	definitions/views/HASH.json    {"view","sql","sha256"}: a SELECT with all that was put into it, and the SHA-256 of that text
//	definitions/topics/HASH.json   a schemas.Topic as JSON
//
// HASH is that of the version, which covers content and declaration, of the view's definition, or of the topic; ENDING is that
// of the file it was. Of a reference the second file is written after the first and says that it is whole. What a hash stands
// for is never changed, and nothing removes it.
package versions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	folders "github.com/millrace/millrace/pipelines/scratch"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// ErrNotKept: the store does not have the version.
var ErrNotKept = errors.New("the version is not kept")

// ErrChanged: the file is not the version any more.
var ErrChanged = errors.New("the file has changed")

func name(table, hash, ending string) string {
	return "references/" + table + "/" + hash + "." + ending
}

// Keep stores a version whose file lies at the path, if it is not stored yet or damaged, and returns it as it is read from
// the store. A copy on its way is made in the scratch folder. Errors: ErrChanged; the store's.
func Keep(ctx context.Context, s store.Store, r *views.Reference, path, scratch string) (*views.Reference, error) {
	if kept, err := Load(ctx, s, r.Name, r.Hash); err == nil {
		return kept, nil
	}
	if err := copyIn(ctx, s, r, path, scratch); err != nil {
		return nil, err
	}
	bare := *r
	bare.SQL = ""
	text, err := json.Marshal(bare)
	if err == nil {
		err = s.Put(ctx, name(r.Name, r.Hash, "json"), text)
	}
	if err != nil {
		return nil, err
	}
	return find(ctx, s, r.Name, r.Hash)
}

// copyIn stores the content if it is still the version's.
func copyIn(ctx context.Context, s store.Store, r *views.Reference, path, scratch string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(scratch, "millrace-reference-*."+r.Ending)
	if err != nil {
		return folders.Refused(err)
	}
	defer os.Remove(out.Name())
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Chmod(0o644), out.Close()); err != nil {
		return err
	}
	switch hash, err := r.HashAt(out.Name()); {
	case err != nil:
		return err
	case hash != r.Hash:
		return fmt.Errorf("reference %s: %w", r.Name, ErrChanged)
	}
	return s.PutFile(ctx, name(r.Name, r.Hash, r.Ending), out.Name())
}

// isHash is what a version's hash looks like: it may come from anyone.
var isHash = regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString

// find is a version that is kept, unproven.
func find(ctx context.Context, s store.Store, table, hash string) (*views.Reference, error) {
	if !isHash(hash) {
		return nil, ErrNotKept
	}
	text, err := s.Get(ctx, name(table, hash, "json"))
	if errors.Is(err, store.ErrNotExist) {
		return nil, ErrNotKept
	}
	if err != nil {
		return nil, err
	}
	var r views.Reference
	if err := json.Unmarshal(text, &r); err != nil || r.Name != table || r.Hash != hash {
		return nil, damaged(table, hash, err)
	}
	path, err := s.Local(ctx, name(table, hash, r.Ending))
	if errors.Is(err, store.ErrNotExist) {
		return nil, ErrNotKept
	}
	if err != nil {
		return nil, err
	}
	return r.At(path)
}

// Load is a version that is kept, its content proven. Errors: ErrNotKept; a Problem if it is damaged.
func Load(ctx context.Context, s store.Store, table, hash string) (*views.Reference, error) {
	r, err := find(ctx, s, table, hash)
	if err != nil {
		return nil, err
	}
	path, err := s.Local(ctx, name(table, hash, r.Ending))
	if err != nil {
		return nil, err
	}
	if got, err := r.HashAt(path); err != nil || got != hash {
		return nil, damaged(table, hash, err)
	}
	return r, nil
}

// Check proves every version and definition that is kept: it counts the versions that are whole, and says what is wrong.
func Check(ctx context.Context, s store.Store) (whole int, wrong []string, err error) {
	files, err := s.List(ctx, "references/")
	if err != nil {
		return 0, nil, err
	}
	for _, f := range files {
		table, file, _ := strings.Cut(strings.TrimPrefix(f.Name, "references/"), "/")
		hash, isVersion := strings.CutSuffix(file, ".json")
		if !isVersion || !isHash(hash) { // a content file, which is proven with its version
			continue
		}
		switch _, err := Load(ctx, s, table, hash); {
		case err == nil:
			whole++
		case ctx.Err() != nil:
			return 0, nil, ctx.Err()
		case errors.Is(err, ErrNotKept):
			wrong = append(wrong, fmt.Sprintf("the content of the kept version %.12s of reference %s is gone", hash, table))
		default:
			wrong = append(wrong, err.Error())
		}
	}
	more, err := checkDefinitions(ctx, s)
	return whole, append(wrong, more...), err
}

func damaged(table, hash string, err error) error {
	return &schemas.Problem{Message: fmt.Sprintf("the kept version %.12s of reference %s is damaged", hash, table), Err: err,
		Hint: "restore references/" + table + "/ of the store from a copy, or remove the version's files: what is used now is kept anew"}
}
