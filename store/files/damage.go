package files

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"syscall"
)

var (
	// ErrDamaged says that a checksum or the structure of a file is wrong.
	ErrDamaged = errors.New("the data are damaged")
	// ErrInUse says that another process has the store open.
	ErrInUse = errors.New("another process has the store open")
)

// Castagnoli is the polynomial of all checksums of 32 bits on the disk.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Damage makes an error of damaged data.
func Damage(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
}

// LacksSpace reports whether a failed write may be tried again: the file system
// refused to take the bytes. Anything that failed at fsync may not, because the
// kernel has by then dropped the pages it could not write.
func LacksSpace(err error) bool {
	var pe *fs.PathError
	return errors.As(err, &pe) && pe.Op != "sync" &&
		(errors.Is(pe.Err, syscall.ENOSPC) || errors.Is(pe.Err, syscall.EDQUOT) || errors.Is(pe.Err, syscall.EFBIG))
}
