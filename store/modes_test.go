package store

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// TestD8_OthersMayNotReadTheData: whatever the directory and its files were before,
// after an open they are this user's alone.
func TestD8_OthersMayNotReadTheData(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing on Windows")
	}
	dir := filepath.Join(t.TempDir(), "data")
	s := openHere(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	widen := func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return os.Chmod(path, 0o644)
	}
	if err := filepath.WalkDir(dir, widen); err != nil {
		t.Fatal(err)
	}
	s = openHere(t, dir)
	defer s.Close()
	n := 0
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n++
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			t.Errorf("%s has mode %04o", path, mode)
		}
		return nil
	}); err != nil || n < 4 {
		t.Errorf("looked at %d files: %v", n, err)
	}
}

func openHere(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, testStamp, Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
