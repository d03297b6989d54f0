package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/millrace/millrace/schemas"
)

// temporary is the prefix of files that are being written; List does not show them.
const temporary = ".writing-"

// folder is a Store in a local folder. A write goes to a temporary file, is synced, gets its name by rename or by link
// (which fails if the name is taken), and the folder is synced.
type folder struct{ root string }

func (f *folder) URL() string { return f.root }

func (f *folder) Get(_ context.Context, name string) ([]byte, error) {
	path, err := f.path(name)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	return data, f.problem("read", name, err)
}

func (f *folder) Put(_ context.Context, name string, data []byte) error {
	return f.write(name, data, os.Rename)
}

func (f *folder) Create(_ context.Context, name string, data []byte) error {
	return f.write(name, data, func(from, to string) error {
		defer os.Remove(from)
		return os.Link(from, to)
	})
}

func (f *folder) PutFile(_ context.Context, name, local string) error {
	path, err := f.path(name)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(local, os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(file.Sync(), file.Close())
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.Rename(local, path)
		if errors.Is(err, syscall.EXDEV) {
			return f.copyIn(name, local)
		}
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	return f.problem("write", name, err)
}

func (f *folder) List(_ context.Context, prefix string) ([]Info, error) {
	var out []Info
	start, err := f.path(prefix)
	if prefix == "" {
		start, err = f.root, nil
	}
	if err != nil {
		return nil, err
	}
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		start = filepath.Dir(start)
	}
	err = filepath.WalkDir(start, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(f.root, path)
		name := filepath.ToSlash(rel)
		if err != nil || !strings.HasPrefix(name, prefix) || strings.HasPrefix(d.Name(), temporary) {
			return err
		}
		info, err := d.Info()
		if err == nil {
			out = append(out, Info{Name: name, Size: info.Size(), Modified: info.ModTime()})
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	return out, f.problem("list", prefix, err)
}

func (f *folder) Delete(_ context.Context, name string) error {
	path, err := f.path(name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return f.problem("delete", name, err)
	}
	return nil
}

func (f *folder) Stat(_ context.Context, name string) (Info, error) {
	path, err := f.path(name)
	if err != nil {
		return Info{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return Info{}, f.problem("read", name, err)
	}
	return Info{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil
}

func (f *folder) Local(_ context.Context, name string) (string, error) {
	path, err := f.path(name)
	if err != nil {
		return "", err
	}
	_, err = os.Stat(path)
	return path, f.problem("read", name, err)
}

func (f *folder) Check(ctx context.Context) error {
	name := fmt.Sprintf("%scheck-%d", temporary, os.Getpid())
	err := fences(f.root, "set store: to a folder of a file system with hard links", func() error { return f.Create(ctx, name, nil) })
	return errors.Join(err, f.Delete(ctx, name))
}

func (f *folder) path(name string) (string, error) {
	if err := checkName(strings.TrimSuffix(name, "/")); err != nil {
		return "", err
	}
	return filepath.Join(f.root, filepath.FromSlash(name)), nil
}

func (f *folder) copyIn(name, local string) error {
	in, err := os.Open(local)
	if err != nil {
		return err
	}
	defer in.Close()
	err = f.writeFrom(name, in, os.Rename)
	if err == nil {
		err = os.Remove(local)
	}
	return err
}

func (f *folder) write(name string, data []byte, place func(from, to string) error) error {
	return f.writeFrom(name, strings.NewReader(string(data)), place)
}

func (f *folder) writeFrom(name string, data io.Reader, place func(from, to string) error) error {
	path, err := f.path(name)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return f.problem("write", name, err)
	}
	tmp, err := os.CreateTemp(dir, temporary+"*")
	if err != nil {
		return f.problem("write", name, err)
	}
	_, err = io.Copy(tmp, data)
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = place(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return f.problem("write", name, err)
	}
	return f.problem("write", name, syncFolder(dir))
}

// problem turns what the system says into what a caller or a person can act on.
func (f *folder) problem(verb, name string, err error) error {
	hint := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist) && verb != "write":
		return fmt.Errorf("store: %s %s: %w", verb, name, ErrNotExist)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("store: %s %s: %w", verb, name, ErrExist)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		hint = "free some space there and run it again; nothing is lost"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		hint = "make the folder writable for this user, or set store: to another; nothing is lost"
	default:
		hint = "check the folder; nothing is lost"
	}
	return &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("store %s: %s %s", f.root, verb, name), Err: err, Hint: hint}
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
