package store

import (
	"cmp"
	"errors"
	"log/slog"
	"time"
)

// Options tunes a store. The zero value is what Tandem ships.
type Options struct {
	// FlushEvery is how long a change may wait for table.db. Default 100 ms.
	FlushEvery time.Duration
	// FlushAt is how many waiting records bring the next flush forward.
	// Default 10,000.
	FlushAt int
	// MaxPending is how many waiting records make Apply wait for the disk, so
	// that a slow disk costs time instead of memory. Default 200,000.
	MaxPending int
	// Events is how many events the history keeps; the oldest go first.
	// Default 500,000, which is about 150 MB.
	Events int
	// Snapshots is how many raft snapshots are kept. Default 2.
	Snapshots int
	// SegmentBytes is the size of a segment of the raft log. Default: raft-wal's
	// own, 64 MiB.
	SegmentBytes int
	// Logger gets what the store, the raft log and the snapshots have to say.
	// Default: slog.Default().
	Logger *slog.Logger
	// OnFatal is told why this node must stop: a command that it cannot read, a
	// disk that failed, damaged data. It must not return to serving; whatever
	// it does, the table applies nothing more. It may be called from several
	// goroutines and with the table's lock held. Default: panic.
	OnFatal func(error)
	// Now is the clock for the time stamp in snapshots. Default: time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	o.FlushEvery = cmp.Or(o.FlushEvery, 100*time.Millisecond)
	o.FlushAt = cmp.Or(o.FlushAt, 10_000)
	o.MaxPending = cmp.Or(o.MaxPending, 200_000)
	o.Events = cmp.Or(o.Events, 500_000)
	o.Snapshots = cmp.Or(o.Snapshots, 2)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	if o.OnFatal == nil {
		o.OnFatal = func(err error) { panic(err) }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

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
