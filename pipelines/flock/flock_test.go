package flock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A lock excludes others until its file is closed, and somebody who only looks takes it from nobody.
func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if Held(path) {
		t.Error("a file that is not there is held")
	}
	f, err := Take(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if !Held(path) {
		t.Error("nobody seems to have the lock")
	}
	if _, err := Take(t.Context(), path); !errors.Is(err, ErrHeld) {
		t.Errorf("a second lock gives %v", err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Take(over, path); !errors.Is(err, context.Canceled) {
		t.Errorf("who is told to stop goes on: %v", err)
	}
	f.Close()
	if Held(path) {
		t.Error("the lock outlives its file")
	}
	again, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := Try(again); err != nil {
		t.Errorf("a free lock gives %v", err)
	}
}
