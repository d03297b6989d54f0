// Package flock lets one process at a time have a file (flock(2)). The system frees a lock when its process ends, however
// that ends; machines exclude each other as far as the file system between them carries flock.
package flock

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrHeld: another process has the lock.
var ErrHeld = errors.New("another process has the lock")

// Try takes the lock of an open file, which lasts until the file is closed. Errors: ErrHeld.
func Try(f *os.File) error {
	err := lock(f, unix.LOCK_EX)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrHeld
	}
	return err
}

// Take opens a file, made if it is not there, and takes its lock; closing the file gives it back. Errors: ErrHeld, the
// context's.
func Take(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for tries := 0; ; tries++ {
		err := Try(f)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, ErrHeld) || tries == 5 { // Held has it for an instant
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		}
	}
}

// Held says whether a process has the file's lock.
func Held(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(lock(f, unix.LOCK_SH), unix.EWOULDBLOCK)
}

func lock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != unix.EINTR {
			return err
		}
	}
}
