package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"tandem/store/files"
	"tandem/store/raftlog"
	"tandem/store/tablepb"
)

// The files of a data directory.
const (
	fileStamp   = "stamp.json" // whose data these are
	fileTable   = "table.db"   // the ownership table
	fileRunning = "running"    // there from an open to a clean close
	fileLock    = "lock"       // locked while a process has the store open
	dirLog      = "raft"       // the raft log and raft's own few values
	// raft.FileSnapshotStore adds "snapshots" by itself.
)

// Store is one node's data directory, open.
type Store struct {
	dir       string
	stamp     Stamp
	opt       Options
	lock      *os.File
	log       raftlog.Log
	snapshots *raft.FileSnapshotStore
	table     *Table

	lineageMu sync.Mutex
	lineage   Lineage
}

// Open opens a data directory, and makes it when it is new. Of want, Deployment,
// Region and Node must be what the directory was made for; an Incarnation is
// compared only if given.
//
// It refuses, with an error that says how to heal: the data of another
// deployment, region or node (ErrForeign), damaged data (files.ErrDamaged), data of
// newer software (ErrNewerLayout), a directory in use (files.ErrInUse).
func Open(dir string, want Stamp, o Options) (*Store, error) {
	s, err := openStore(dir, want, o.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("opening the data directory %s: %w", dir, err)
	}
	return s, nil
}

func openStore(dir string, want Stamp, o Options) (_ *Store, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := files.Narrow(dir); err != nil {
		return nil, fmt.Errorf("keeping the data directory to this user: %w", err)
	}
	s := &Store{dir: dir, opt: o}
	if s.lock, err = files.Lock(s.path(fileLock)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.letGo())
		}
	}()
	empty, err := isNew(dir)
	if err != nil {
		return nil, err
	}
	if empty {
		if err := os.RemoveAll(s.path(fileLineage)); err != nil { // without the rest it says nothing
			return nil, err
		}
	}
	if s.stamp, err = stampIn(s.path(fileStamp), want, empty); err != nil {
		return nil, err
	}
	unclean := files.Exists(s.path(fileRunning))
	if s.table, err = openTable(s.path(fileTable), s.stamp, o, unclean); err != nil {
		return nil, err
	}
	if !empty {
		if err := s.provesItsLog(want); err != nil {
			return nil, err
		}
	}
	if err := files.Write(s.path(fileRunning), nil); err != nil {
		return nil, err
	}
	if err := s.openLog(); err != nil {
		return nil, err
	}
	if err := s.compare(); err != nil {
		return nil, err
	}
	if s.lineage, err = readLineage(s.path(fileLineage)); err != nil {
		return nil, err
	}
	s.table.running.Go(s.table.writeBehind)
	return s, nil
}

// isNew reports whether the directory holds nothing of ours.
func isNew(dir string) (bool, error) {
	for _, name := range []string{fileStamp, fileTable, dirLog, "snapshots"} {
		_, err := os.Lstat(filepath.Join(dir, name))
		if err == nil {
			return false, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return true, nil
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// openTable opens table.db, or makes an empty one: raft's snapshot and log then
// fill it again.
func openTable(path string, stamp Stamp, o Options, unclean bool) (*Table, error) {
	for _, left := range []string{".new", ".restore"} { // of a crash
		if err := os.RemoveAll(path + left); err != nil {
			return nil, err
		}
	}
	t := newTable(path, stamp, o)
	if !files.Exists(path) {
		empty := &tablepb.Meta{
			Layout: LayoutFormat, Deployment: stamp.Deployment, Region: string(stamp.Region),
			Format: t.st.format, NextPartition: uint32(t.st.next),
		}
		if err := makeFile(path, empty); err != nil {
			return nil, err
		}
	}
	if err := t.open(unclean); err != nil {
		if errors.Is(err, files.ErrDamaged) {
			err = fmt.Errorf("%w; to heal it, move %s away and start again: the node rebuilds it from its own snapshot and raft log. "+
				"If that fails too, remove the node from the region, empty its data directory and join it anew, "+
				"or restore the region from a saved snapshot", err, path)
		}
		return nil, err
	}
	return t, nil
}

// open proves the file, loads it and leaves it open.
func (t *Table) open(unclean bool) error {
	st, meta, err := load(t.path)
	if err != nil {
		return err
	}
	if err := t.ours(t.path, meta); err != nil {
		return err
	}
	db, err := openFile(t.path)
	if err != nil {
		return err
	}
	if unclean {
		if err := checkFile(db); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	t.st, t.db = st, db
	t.publish(t.st)
	t.disk = diskOf(meta)
	return nil
}

func (t *Table) ours(what string, of interface {
	GetDeployment() string
	GetRegion() string
}) error {
	if of.GetDeployment() == t.deployment && of.GetRegion() == string(t.region) {
		return nil
	}
	return fmt.Errorf("%s is of deployment %q, region %q; this is deployment %q, region %q: %w",
		what, of.GetDeployment(), of.GetRegion(), t.deployment, t.region, ErrForeign)
}

// provesItsLog refuses a directory whose raft log was taken away, with the vote
// in it, while other data stayed. Where nothing but the stamp is left, the
// directory is as good as empty and gets a new incarnation: as the old one, the
// node could vote as if it had never voted.
func (s *Store) provesItsLog(want Stamp) (err error) {
	meta := filepath.Join(s.path(dirLog), raftlog.MetaFile)
	switch {
	case files.Exists(meta):
		return nil
	case s.table.disk.applied > 0, files.Exists(s.path("snapshots")):
		return files.Damage("%s is missing although the directory holds data; bring it back, or remove the node from the region, "+
			"empty its data directory and join it anew", meta)
	}
	if err := os.RemoveAll(s.path(fileLineage)); err != nil { // of a region that this node has forgotten
		return err
	}
	s.stamp, err = makeStamp(s.path(fileStamp), want)
	return err
}

func (s *Store) openLog() error {
	if err := os.MkdirAll(s.path(dirLog), 0o700); err != nil {
		return err
	}
	logger := RaftLogger(s.opt.Logger)
	var err error
	if s.log, err = raftlog.Open(s.path(dirLog), s.opt.SegmentBytes, logger.Named("log")); err != nil {
		return fmt.Errorf("opening the raft log in %s: %w; to heal it, remove the node from the region, empty its data directory "+
			"and join it anew", s.path(dirLog), err)
	}
	s.snapshots, err = raft.NewFileSnapshotStoreWithLogger(s.dir, s.opt.Snapshots, logger.Named("snapshot"))
	return err
}

// compare proves that table, log and snapshots are of one history.
func (s *Store) compare() error {
	first, err := s.log.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.log.LastIndex()
	if err != nil {
		return err
	}
	snap, err := s.latestSnapshot()
	if err != nil {
		return err
	}
	held, term := s.table.disk.applied, s.table.disk.term
	const heal = "to heal it, remove the node from the region, empty its data directory and join it anew"
	switch {
	case held > last && held > snap:
		return files.Damage("table.db holds entry %d, but the raft log ends at %d and the latest snapshot at %d: acknowledged entries "+
			"are missing; %s", held, last, snap, heal)
	case last > snap && first > snap+1: // raft begins right after its snapshot, wherever table.db is
		return files.Damage("the latest snapshot ends at entry %d, but the raft log begins at %d; %s", snap, first, heal)
	}
	if err := s.log.Check(max(first, snap+1), last); err != nil && last > 0 {
		return files.Damage("the raft log in %s: %w; %s", s.path(dirLog), err, heal)
	}
	// A table older than the snapshot is about to be replaced by it.
	if held > snap {
		var l raft.Log
		if err := s.log.GetLog(held, &l); err != nil {
			return files.Damage("reading entry %d of the raft log: %w; %s", held, err, heal)
		}
		if l.Term != term {
			return files.Damage("table.db holds entry %d of term %d, in the raft log it is of term %d: they are of different histories; %s",
				held, term, l.Term, heal)
		}
		s.table.replayUntil = held
	}
	return nil
}

func (s *Store) latestSnapshot() (uint64, error) {
	list, err := s.snapshots.List()
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return list[0].Index, nil
}

// RestoreOnStart tells how to set up raft: Config.NoSnapshotRestoreOnStart must
// be its opposite. It is false as long as table.db reaches at least as far as
// the latest snapshot, which is every start but the one after a crash between
// storing a snapshot and taking it over, or after table.db was moved away; raft
// then starts with its index at the snapshot's and replays the log after it,
// and the table passes over what it holds. Ask before raft starts.
func (s *Store) RestoreOnStart() (bool, error) {
	snap, err := s.latestSnapshot()
	if err != nil {
		return false, fmt.Errorf("looking for the latest snapshot: %w", err)
	}
	return s.table.Durable() < snap, nil
}

// Dir is the data directory.
func (s *Store) Dir() string { return s.dir }

// Stamp says whose data these are.
func (s *Store) Stamp() Stamp { return s.stamp }

// Log is the raft log. Wrap it in a raft.LogCache: followers that are a little
// behind are then served from memory.
func (s *Store) Log() raft.LogStore { return s.log }

// Stable is raft's store for its term and vote.
func (s *Store) Stable() raft.StableStore { return s.log }

// Snapshots is raft's store for snapshots.
func (s *Store) Snapshots() raft.SnapshotStore { return s.snapshots }

// Free returns how many bytes the disk of the data directory still takes.
func (s *Store) Free() (uint64, error) { return files.Free(s.dir) }

// SnapshotAt returns when the newest snapshot here was made; zero: there is none. Raft ends
// a snapshot's id with that, in milliseconds of Unix time.
func (s *Store) SnapshotAt() time.Time {
	all, err := s.snapshots.List()
	if err != nil || len(all) == 0 {
		return time.Time{}
	}
	id := all[0].ID
	ms, err := strconv.ParseInt(id[strings.LastIndexByte(id, '-')+1:], 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// Table is the ownership table, to be given to raft as its FSM.
func (s *Store) Table() *Table { return s.table }

// LogDir is where the raft log lives; it may be a disk of its own.
func (s *Store) LogDir() string { return s.path(dirLog) }

// HasState reports whether the node has ever been part of a region: it must not
// bootstrap another one over it.
func (s *Store) HasState() (bool, error) {
	has, err := raft.HasExistingState(s.log, s.log, s.snapshots)
	if err != nil {
		return false, fmt.Errorf("looking for raft's state in %s: %w", s.dir, err)
	}
	return has, nil
}

// Close writes what waits and closes everything. Raft must have stopped. The
// next start then finds a directory that was left in order.
func (s *Store) Close() error {
	clean := s.table.Err() == nil
	if err := s.letGo(); err != nil {
		return fmt.Errorf("closing the data directory %s: %w", s.dir, err)
	}
	if !clean {
		return nil
	}
	if err := os.Remove(s.path(fileRunning)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("closing the data directory %s: %w", s.dir, err)
	}
	return nil
}

func (s *Store) letGo() error {
	var errs []error
	if s.table != nil {
		errs = append(errs, s.table.close())
	}
	if s.log.WAL != nil {
		errs = append(errs, s.log.Close())
	}
	errs = append(errs, s.lock.Close())
	return errors.Join(errs...)
}
