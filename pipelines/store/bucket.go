package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/aws/smithy-go"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/s3blob" // s3://
	"gocloud.dev/gcerrors"

	"github.com/millrace/millrace/schemas"
)

// bucket is a Store in an object store. A write is whole and durable when the store has answered it; what is read as a file
// is copied into the cache.
type bucket struct {
	url   string
	blobs *blob.Bucket
	cache *cache

	before *cache // its copies are compared with new ones; nil: there is none
	fence  sync.Mutex
	fenced bool // the store was seen to refuse a second writer
}

// openBucket opens s3://BUCKET/PREFIX?OPTIONS. The options are those of gocloud.dev: region, endpoint, use_path_style, profile ...
// Who asks, and the key, are in the environment or in the files that other tools read for that store.
func openBucket(address string) (Store, error) {
	problem := func(err error) error {
		return &schemas.Problem{Kind: schemas.Usage, Message: "store " + address, Err: err, Hint: "set store: to s3://BUCKET/PREFIX?region=REGION, or to a folder"}
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, problem(err)
	}
	if u.User != nil {
		return nil, &schemas.Problem{Kind: schemas.Usage, Message: "store: the address names a user or a key", Hint: "put the key into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or into a profile"}
	}
	prefix := strings.Trim(u.Path, "/")
	u.Path = ""
	blobs, err := blob.OpenBucket(context.Background(), u.String())
	if err != nil {
		return nil, problem(err)
	}
	return newBucket(address, blobs, prefix), nil
}

func newBucket(address string, blobs *blob.Bucket, prefix string) *bucket {
	if prefix != "" {
		blobs = blob.PrefixedBucket(blobs, prefix+"/")
	}
	return &bucket{url: address, blobs: blobs, cache: newCache(userCache(), address)}
}

func (b *bucket) URL() string { return b.url }

func (b *bucket) Get(ctx context.Context, name string) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	data, err := b.blobs.ReadAll(ctx, name)
	return data, b.problem("read", name, err)
}

func (b *bucket) Put(ctx context.Context, name string, data []byte) error {
	return b.write(ctx, name, bytes.NewReader(data), false)
}

// Create: an answer may be lost and the request sent again, and then the store refuses what it has taken. So who is refused
// looks at what is there.
func (b *bucket) Create(ctx context.Context, name string, data []byte) error {
	if err := b.checkFence(ctx); err != nil {
		return err
	}
	err := b.create(ctx, name, data)
	if errors.Is(err, ErrExist) {
		if there, failed := b.Get(ctx, name); failed == nil && bytes.Equal(there, data) {
			return nil
		}
	}
	return err
}

// create asks for a file where there is none, again while the store cannot decide between two that do.
func (b *bucket) create(ctx context.Context, name string, data []byte) error {
	err := b.write(ctx, name, bytes.NewReader(data), true)
	for isRace(err) && ctx.Err() == nil {
		err = b.write(ctx, name, bytes.NewReader(data), true)
	}
	return err
}

func isRace(err error) bool {
	said := (smithy.APIError)(nil)
	return errors.As(err, &said) && said.ErrorCode() == "ConditionalRequestConflict"
}

func (b *bucket) PutFile(ctx context.Context, name, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return b.problem("write", name, err)
	}
	err = b.write(ctx, name, file, false)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return b.problem("write", name, os.Remove(path))
}

func (b *bucket) List(ctx context.Context, prefix string) ([]Info, error) {
	var out []Info
	if err := checkName(strings.TrimSuffix(prefix, "/")); prefix != "" && err != nil {
		return nil, err
	}
	for all := b.blobs.List(&blob.ListOptions{Prefix: prefix}); ; {
		o, err := all.Next(ctx)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, b.problem("list", prefix, err)
		}
		out = append(out, Info{Name: o.Key, Size: o.Size, Modified: o.ModTime})
	}
}

func (b *bucket) Stat(ctx context.Context, name string) (Info, error) {
	if err := checkName(name); err != nil {
		return Info{}, err
	}
	a, err := b.blobs.Attributes(ctx, name)
	if err != nil {
		return Info{}, b.problem("read", name, err)
	}
	return Info{Name: name, Size: a.Size, Modified: a.ModTime}, nil
}

func (b *bucket) Delete(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := b.blobs.Delete(ctx, name); gcerrors.Code(err) != gcerrors.NotFound {
		return b.problem("delete", name, err)
	}
	return nil
}

func (b *bucket) Local(ctx context.Context, name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	a, err := b.blobs.Attributes(ctx, name)
	if err != nil {
		return "", b.problem("read", name, err)
	}
	path, err := b.cache.file(ctx, name, a.ETag, a.Size, func(ctx context.Context, w io.Writer) error { return b.blobs.Download(ctx, name, w, nil) })
	if err == nil && b.before != nil {
		err = b.before.compare(name, a.ETag, path)
	}
	return path, b.problem("read", name, err)
}

func (b *bucket) Check(ctx context.Context) error { return b.checkFence(ctx) }

// fenceName is a file that is there, for the store to refuse.
const fenceName = "fence"

// checkFence sees, once, that the store refuses to create a file that is there. One that takes it would let two cycles commit the
// same manifest.
func (b *bucket) checkFence(ctx context.Context) error {
	b.fence.Lock()
	defer b.fence.Unlock()
	if b.fenced {
		return nil
	}
	text := []byte("This file is there so that a store can be seen to refuse another of its name.\n")
	err := fences(b.url, "use a store with conditional writes (If-None-Match): two cycles could commit the same manifest here, and records be lost",
		func() error { return b.create(ctx, fenceName, text) })
	b.fenced = err == nil
	return err
}

func (b *bucket) write(ctx context.Context, name string, data io.Reader, create bool) error {
	if err := checkName(name); err != nil {
		return err
	}
	// A writer that is cancelled stores nothing.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := b.blobs.NewWriter(ctx, name, &blob.WriterOptions{IfNotExist: create, ContentType: "application/octet-stream"})
	if err != nil {
		return b.problem("write", name, err)
	}
	if _, err = io.Copy(w, data); err != nil {
		cancel()
		_ = w.Close() // says that it was cancelled
		return b.problem("write", name, err)
	}
	return b.problem("write", name, w.Close())
}

// problem turns what the store says into what a caller or a person can act on.
func (b *bucket) problem(verb, name string, err error) error {
	if known := (*schemas.Problem)(nil); errors.As(err, &known) {
		return err
	}
	hint := "see that the store can be reached, and run it again; nothing is lost"
	switch code := gcerrors.Code(err); {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case code == gcerrors.NotFound && verb == "read":
		return fmt.Errorf("store: %s %s: %w", verb, name, ErrNotExist)
	case code == gcerrors.FailedPrecondition:
		return fmt.Errorf("store: %s %s: %w", verb, name, ErrExist)
	case code == gcerrors.NotFound:
		hint = "make the bucket, or set store: to another; nothing is lost"
	case code == gcerrors.PermissionDenied:
		hint = "give this user's key the right to read, write, list and delete there; nothing is lost"
	case strings.Contains(err.Error(), "get credentials"):
		hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; nothing is lost"
	}
	return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("store %s: %s %s", b.url, verb, name), Err: cause(err), Hint: hint}
}

// answer is what a store says to a request.
type answer struct{ smithy.APIError }

func (a *answer) Error() string { return a.ErrorCode() + ": " + a.ErrorMessage() }

// cause is what the store or the network says, without the stages that it came through.
func cause(err error) error {
	if said := (smithy.APIError)(nil); errors.As(err, &said) {
		return &answer{said}
	}
	if broken := (*net.OpError)(nil); errors.As(err, &broken) {
		return broken
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}
