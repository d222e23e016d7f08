// Package files is how the files of a data directory come into being, whole or not at
// all, and how damage to them is told.
package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Lock takes the lock of a data directory. The kernel lets go of it when
// the file is closed or the process dies.
func Lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockWhole(f); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w: %w", path, ErrInUse, err), f.Close())
	}
	return f, nil
}

// Narrow takes away what others may do in a data directory: it tells of calls,
// tenants and hashes of tokens. An older unit, or a hand, may have made it wider.
func Narrow(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another process's temporary file
		}
		if err != nil || info.Mode().Perm()&0o077 == 0 {
			return err
		}
		return os.Chmod(path, info.Mode().Perm()&^0o077)
	})
}

// Exists reports whether something is there under a name, a link to nothing too.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Publish returns a finished file its name, so that it survives a power cut.
func Publish(tmp, path string) error {
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Write writes a small file whole or not at all.
func Write(path string, b []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return Publish(tmp, path)
}
