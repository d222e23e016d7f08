package store

import (
	"errors"
)

// Errors of the store. Each comes wrapped in a sentence that says how to heal.
var (
	// ErrForeign: the data belong to another deployment, region or node.
	ErrForeign = errors.New("the data belong to someone else")
	// ErrNewerLayout: the files were written by newer software.
	ErrNewerLayout = errors.New("the data were written by newer software")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("the store is closed")
	// ErrReplaying: the table has yet to see again the acts that it already
	// holds; a snapshot now would pretend to be older than it is.
	ErrReplaying = errors.New("the raft log is still being replayed")
)
