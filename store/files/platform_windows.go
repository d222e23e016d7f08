package files

import (
	"os"

	"golang.org/x/sys/windows"
)

// MapSize reserves nothing: on Windows a file is as long as its map, so that 8 GiB
// of address space would be 8 GiB of disk. A snapshot that is being read may make
// writers wait while the file grows.
const MapSize = 0

// lockWhole takes the lock of an open file, or fails at once.
func lockWhole(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
		0, 1, 0, new(windows.Overlapped))
}

// Free returns how many bytes the disk of a directory still takes from this user.
func Free(dir string) (free uint64, err error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	err = windows.GetDiskFreeSpaceEx(name, &free, nil, nil)
	return free, err
}

// syncDir has nothing to do: NTFS writes names to its journal itself, and a
// directory cannot be flushed.
func syncDir(string) error { return nil }
