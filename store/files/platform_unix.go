//go:build !windows

package files

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// MapSize is the address space reserved for table.db: 8 GiB, or 1 GiB on 32-bit
// machines. It costs no memory. bbolt remaps a file that outgrows its map, and
// that waits for every reader: with a snapshot being read it would stop the
// writer, and behind it every other reader.
const MapSize = 1 << (30 + 3*(^uint(0)>>63))

// lockWhole takes the lock of an open file, or fails at once.
func lockWhole(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// Free returns how many bytes the disk of a directory still takes from this user.
func Free(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return s.Bavail * uint64(s.Bsize), nil
}

// syncDir makes names that were given or taken in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
