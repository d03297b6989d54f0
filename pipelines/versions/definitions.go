package versions

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
)

// keptView is the file of a view's definition.
type keptView struct {
	View       string `json:"view"` // whose it was first
	SQL        string `json:"sql"`
	SHA256     string `json:"sha256"`     // of sql
	Definition string `json:"definition"` // its hash, the file's name
}

func definition(kind, hash string) string { return "definitions/" + kind + "/" + hash + ".json" }

func digest(sql string) string {
	sum := sha256.Sum256([]byte(sql))
	return hex.EncodeToString(sum[:])
}

// KeepView stores a view's SELECT under its definition's hash, if it is not stored yet.
func KeepView(ctx context.Context, s store.Store, v *views.View) error {
	if _, err := LoadView(ctx, s, v.Definition); err == nil {
		return nil
	}
	return keep(ctx, s, definition("views", v.Definition), keptView{v.Name, v.SQL, digest(v.SQL), v.Definition})
}

// LoadView is the SELECT of a definition that is kept: it holds all that it is made of, and is compiled without macros and
// other views. Errors: ErrNotKept; a Problem if it is damaged.
func LoadView(ctx context.Context, s store.Store, hash string) (sql string, err error) {
	var kept keptView
	err = load(ctx, s, "views", hash, &kept, func() bool { return digest(kept.SQL) == kept.SHA256 && kept.Definition == hash })
	return kept.SQL, err
}

// KeepTopic stores a topic's declaration under its hash, if none of that hash is stored yet.
func KeepTopic(ctx context.Context, s store.Store, t *schemas.Topic) error {
	if _, err := LoadTopic(ctx, s, t.Hash()); err == nil {
		return nil
	}
	return keep(ctx, s, definition("topics", t.Hash()), t)
}

// LoadTopic is the declaration of that hash. Errors: as LoadView's.
func LoadTopic(ctx context.Context, s store.Store, hash string) (*schemas.Topic, error) {
	t := new(schemas.Topic)
	err := load(ctx, s, "topics", hash, t, func() bool { return t.Hash() == hash })
	return t, err
}

func keep(ctx context.Context, s store.Store, name string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.Put(ctx, name, text)
}

func load(ctx context.Context, s store.Store, kind, hash string, into any, whole func() bool) error {
	if !isHash(hash) {
		return ErrNotKept
	}
	text, err := s.Get(ctx, definition(kind, hash))
	if errors.Is(err, store.ErrNotExist) {
		return ErrNotKept
	}
	if err != nil {
		return err
	}
	if err = json.Unmarshal(text, into); err != nil || !whole() {
		return &schemas.Problem{Message: fmt.Sprintf("the kept definition %.12s of %s is damaged", hash, kind), Err: err,
			Hint: "restore " + definition(kind, hash) + " of the store from a copy, or remove it: what is used now is kept anew"}
	}
	return nil
}

// checkDefinitions proves every definition that is kept, as Check does.
func checkDefinitions(ctx context.Context, s store.Store) (wrong []string, err error) {
	files, err := s.List(ctx, "definitions/")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		kind, hash := path.Base(path.Dir(f.Name)), strings.TrimSuffix(path.Base(f.Name), ".json")
		switch kind {
		case "views":
			_, err = LoadView(ctx, s, hash)
		case "topics":
			_, err = LoadTopic(ctx, s, hash)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil && !errors.Is(err, ErrNotKept) { // a file of another name is none of ours
			wrong = append(wrong, err.Error())
		}
	}
	return wrong, nil
}
