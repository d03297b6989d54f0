package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
)

func open(t *testing.T) (store.Store, string) {
	dir := filepath.Join(t.TempDir(), "data")
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func TestFilesAreWholeOrAbsent(t *testing.T) {
	s, dir := open(t)
	ctx := context.Background()
	if _, err := s.Get(ctx, "a/b"); !errors.Is(err, store.ErrNotExist) {
		t.Fatalf("Get of nothing: %v", err)
	}
	for _, text := range []string{"one", "two"} {
		if err := s.Put(ctx, "a/b", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get(ctx, "a/b"); err != nil || string(got) != text {
			t.Fatalf("Get = %q, %v", got, err)
		}
	}
	if err := s.Create(ctx, "a/b", []byte("three")); !errors.Is(err, store.ErrExist) {
		t.Fatalf("Create over a file: %v", err)
	}
	local := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(local, []byte("moved"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.PutFile(ctx, "a/c", local); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a", ".writing-torn"), []byte("to"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := s.List(ctx, "a/")
	if err != nil || len(list) != 2 || list[0] != (store.Info{Name: "a/b", Size: 3}) || list[1].Name != "a/c" {
		t.Fatalf("List = %v, %v", list, err)
	}
	if err := errors.Join(s.Delete(ctx, "a/b"), s.Delete(ctx, "a/b")); err != nil {
		t.Fatal(err)
	}
}

func TestOneCreatorWins(t *testing.T) {
	s, _ := open(t)
	var wins sync.Map
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			err := s.Create(context.Background(), "manifests/1", []byte{byte(i)})
			if err == nil {
				wins.Store(i, true)
			} else if !errors.Is(err, store.ErrExist) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	got, err := s.Get(context.Background(), "manifests/1")
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

func TestNamesStayInside(t *testing.T) {
	s, _ := open(t)
	for _, name := range []string{"../x", "/etc/passwd", "a/../../x", ""} {
		if err := s.Put(context.Background(), name, nil); err == nil {
			t.Errorf("Put(%q) was taken", name)
		}
	}
}

func TestAFileInTheWayIsAProblem(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(context.Background(), "x", nil); schemas.KindOf(err) != schemas.Environment {
		t.Errorf("Put = %v", err)
	}
	if _, err := store.Open("s3://bucket/x"); schemas.KindOf(err) != schemas.Usage {
		t.Errorf("Open(s3) = %v", err)
	}
}
