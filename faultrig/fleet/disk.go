package fleet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is an ext4 file system in a file, mounted through a loop device for one
// node alone.
type Disk struct {
	fleet      *Fleet
	image, dir string

	mu     sync.Mutex
	frozen bool
}

// Numbers of ext4's ioctl that cuts the power: EXT4_IOC_SHUTDOWN with
// EXT4_GOING_FLAGS_NOLOGFLUSH, so that neither data nor journal are written
// (linux/fs/ext4/ext4.h).
const (
	ext4IocShutdown = 0x8004587d
	ext4NoLogFlush  = 2
)

func newDisk(f *Fleet, name, dir string, size int64) (*Disk, error) {
	d := &Disk{fleet: f, image: f.File(name + ".ext4"), dir: dir}
	file, err := os.Create(d.image)
	if err != nil {
		return nil, fmt.Errorf("making a disk for %s: %w", name, err)
	}
	if err := errors.Join(file.Truncate(size), file.Close()); err != nil {
		return nil, fmt.Errorf("making a disk for %s: %w", name, err)
	}
	if err := tool("mkfs.ext4", "-q", "-F", "-m", "0", d.image); err != nil {
		return nil, err
	}
	if err := d.mount(); err != nil {
		return nil, err
	}
	f.onClose(d.close)
	return d, os.MkdirAll(filepath.Join(dir, "data"), 0o700)
}

func (d *Disk) mount() error { return tool("mount", "-o", "loop", d.image, d.dir) }

func (d *Disk) close() error {
	_ = d.Thaw() // or umount hangs
	for range 50 {
		if err := unix.Unmount(d.dir, 0); err == nil || errors.Is(err, unix.EINVAL) {
			return nil
		}
		time.Sleep(100 * time.Millisecond) // the process that used it is still ending
	}
	return unix.Unmount(d.dir, unix.MNT_DETACH)
}

// Freeze stalls every write until Thaw.
func (d *Disk) Freeze() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := tool("fsfreeze", "-f", d.dir); err != nil {
		return err
	}
	d.frozen = true
	d.fleet.fenced.Store(true) // its node ends, but the process may hang in the disk
	d.fleet.forget()
	return nil
}

// Thaw lets writes go on; a disk that is not frozen is left alone.
func (d *Disk) Thaw() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.frozen {
		return nil
	}
	d.frozen = false
	d.fleet.forget()
	d.fleet.fenced.Store(false)
	return tool("fsfreeze", "-u", d.dir)
}

// CutPower makes the disk forget all that was not synced. What still runs on it
// gets errors; Restore brings it back.
func (d *Disk) CutPower() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return fmt.Errorf("cutting the power of %s: %w", d.dir, err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), ext4IocShutdown, ext4NoLogFlush); err != nil {
		return fmt.Errorf("cutting the power of %s: %w", d.dir, err)
	}
	return nil
}

// Restore mounts the disk again, as a boot does; nothing may run on it.
func (d *Disk) Restore() error {
	if err := d.close(); err != nil {
		return fmt.Errorf("unmounting %s: %w", d.dir, err)
	}
	return d.mount()
}

// ballast is the file that fills a disk.
const ballast = "ballast"

// Fill leaves at most keep bytes free.
func (d *Disk) Fill(keep int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(d.dir, &s); err != nil {
		return fmt.Errorf("filling %s: %w", d.dir, err)
	}
	free := int64(s.Bavail)*s.Bsize - keep
	if free <= 0 {
		return nil
	}
	f, err := os.Create(filepath.Join(d.dir, ballast))
	if err != nil {
		return fmt.Errorf("filling %s: %w", d.dir, err)
	}
	defer f.Close()
	block := make([]byte, 1<<16)
	for left := free; left > 0; left -= int64(len(block)) {
		if _, err := f.Write(block[:min(left, int64(len(block)))]); err != nil {
			if errors.Is(err, unix.ENOSPC) {
				return nil
			}
			return fmt.Errorf("filling %s: %w", d.dir, err)
		}
	}
	return nil
}

// Empty returns the space back.
func (d *Disk) Empty() error { return os.Remove(filepath.Join(d.dir, ballast)) }
