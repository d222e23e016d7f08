package store

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// Errors of the store. Each comes wrapped in a sentence that says how to heal.
var (
	// ErrForeign: the data belong to another deployment, region or node.
	ErrForeign = errors.New("the data belong to someone else")
	// ErrDamaged: a checksum or the structure of a file is wrong.
	ErrDamaged = errors.New("the data are damaged")
	// ErrNewerLayout: the files were written by newer software.
	ErrNewerLayout = errors.New("the data were written by newer software")
	// ErrInUse: another process has the store open.
	ErrInUse = errors.New("another process has the store open")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("the store is closed")
	// ErrLogStuck: the raft log's last segment is full and the next one could not
	// be begun. The log takes nothing more until the store is opened anew.
	ErrLogStuck = errors.New("the raft log cannot begin its next segment; the next start tries it again")
	// ErrReplaying: the table has yet to see again the acts that it already
	// holds; a snapshot now would pretend to be older than it is.
	ErrReplaying = errors.New("the raft log is still being replayed")
)

// damage makes an error of damaged data.
func damage(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
}

// lacksSpace reports whether a failed write may be tried again: the file system
// refused to take the bytes. Anything that failed at fsync may not, because the
// kernel has by then dropped the pages it could not write.
func lacksSpace(err error) bool {
	var pe *fs.PathError
	return errors.As(err, &pe) && pe.Op != "sync" &&
		(errors.Is(pe.Err, syscall.ENOSPC) || errors.Is(pe.Err, syscall.EDQUOT) || errors.Is(pe.Err, syscall.EFBIG))
}
