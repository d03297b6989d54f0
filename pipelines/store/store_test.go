package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/schemas"
)

func TestFilesAreWholeOrAbsent(t *testing.T) {
	for kind, s := range stores(t) {
		t.Run(kind, func(t *testing.T) { wholeOrAbsent(t, s) })
	}
}

func wholeOrAbsent(t *testing.T, s Store) {
	ctx := t.Context()
	if err := s.Check(ctx); err != nil {
		t.Fatal(err)
	}
	_, got := s.Get(ctx, "a/b")
	_, looked := s.Stat(ctx, "a/b")
	_, opened := s.Local(ctx, "a/b")
	for _, err := range []error{got, looked, opened} {
		if !errors.Is(err, ErrNotExist) {
			t.Fatalf("nothing is there: %v", err)
		}
	}
	for _, text := range []string{"one", "two"} {
		if err := s.Put(ctx, "a/b", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get(ctx, "a/b"); err != nil || string(got) != text {
			t.Fatalf("Get = %q, %v", got, err)
		}
	}
	if err := s.Create(ctx, "a/b", []byte("three")); !errors.Is(err, ErrExist) {
		t.Fatalf("Create over a file: %v", err)
	}
	moved := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(moved, []byte("moved"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.PutFile(ctx, "a/c", moved); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(moved); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was moved: %v", err)
	}
	path, err := s.Local(ctx, "a/c")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "moved" {
		t.Errorf("Local has %q, %v", got, err)
	}
	if f, ok := s.(*folder); ok {
		if err := os.WriteFile(filepath.Join(f.root, "a", ".writing-torn"), []byte("to"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(ctx, "a-b", nil); err != nil {
		t.Fatal(err)
	}
	list, err := s.List(ctx, "a/")
	if err != nil || len(list) != 2 || list[0].Name != "a/b" || list[0].Size != 3 || list[1].Name != "a/c" {
		t.Fatalf("List = %v, %v", list, err)
	}
	if info, err := s.Stat(ctx, "a/b"); err != nil || info.Name != "a/b" || info.Size != 3 || info.Modified.Sub(list[0].Modified).Abs() > time.Second {
		t.Errorf("Stat = %v, %v, and List %v", info, err, list[0])
	}
	if err := errors.Join(s.Delete(ctx, "a/b"), s.Delete(ctx, "a/b")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, "a/b"); !errors.Is(err, ErrNotExist) {
		t.Errorf("Get of what was deleted: %v", err)
	}
	for _, name := range []string{"../x", "/etc/passwd", "a/../../x", ""} {
		if err := s.Put(ctx, name, nil); err == nil {
			t.Errorf("Put(%q) was taken", name)
		}
	}
}

func TestOneCreatorWins(t *testing.T) {
	for kind, s := range stores(t) {
		t.Run(kind, func(t *testing.T) { oneWins(t, s) })
	}
}

func oneWins(t *testing.T, s Store) {
	var wins sync.Map
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			err := s.Create(t.Context(), "manifests/1", []byte{byte(i)})
			if err == nil {
				wins.Store(i, true)
			} else if !errors.Is(err, ErrExist) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	got, err := s.Get(t.Context(), "manifests/1")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	wins.Range(func(i, _ any) bool {
		n++
		if i.(int) != int(got[0]) {
			t.Errorf("%d was told it won, the file is of %d", i, got[0])
		}
		return true
	})
	if n != 1 {
		t.Errorf("%d winners", n)
	}
}

func TestAFileInTheWayIsAProblem(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(context.Background(), "x", nil); schemas.KindOf(err) != schemas.Environment {
		t.Errorf("Put = %v", err)
	}
}
