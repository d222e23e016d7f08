package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"connectrpc.com/connect"
	"github.com/hashicorp/raft"

	"tandem/cluster/peerpb"
	"tandem/ownership"
	"tandem/store"
)

// SaveSnapshot writes the region's table as this node has it to w: the file that
// store.Inspect and RestoreSnapshot read. Call ReadBarrier first for a snapshot
// that misses nothing acknowledged before.
func (c *Cluster) SaveSnapshot(ctx context.Context, w io.Writer) error {
	if err := c.tb.Save(ctx, w); err != nil {
		return fmt.Errorf("saving a snapshot: %w", err)
	}
	return nil
}

// restoreLimit bounds a restore once the snapshot is here.
const restoreLimit = 2 * time.Minute

// RestoreSnapshot replaces the region's table by a saved one, from any node: the
// way back after all nodes lost their disks. The snapshot is read whole and
// verified first. It is refused with store.ErrForeign when it is of another
// deployment or region, with store.ErrDamaged when it is cut short or changed,
// and with ErrConflict when the table has gone on since it was taken. Indexes of two
// histories say nothing about each other: a snapshot of another founding of the
// region is refused with ErrConflict where the table of today holds calls, unless
// anyhow is said. The nodes of today stay in the region; a record of the same id with the data of before
// gives way.
func (c *Cluster) RestoreSnapshot(ctx context.Context, from io.Reader, anyhow bool) error {
	f, info, err := c.spool(from, anyhow)
	if err != nil {
		return fmt.Errorf("restoring a snapshot: %w", err)
	}
	defer func() { _ = errors.Join(f.Close(), os.Remove(f.Name())) }() // a copy
	ctx, cancel := context.WithTimeout(ctx, restoreLimit)
	defer cancel()
	leader, addr, ok := c.Leader()
	switch {
	case !ok:
		err = ownership.ErrNoLeader
	case leader == c.self:
		err = c.restoreHere(ctx, f, info)
	default:
		err = c.sendSnapshot(ctx, leader, addr, f, anyhow)
	}
	if err != nil {
		return fmt.Errorf("restoring a snapshot: %w", err)
	}
	return nil
}

// spool brings a snapshot to disk and verifies it.
func (c *Cluster) spool(from io.Reader, anyhow bool) (_ *os.File, info store.SnapshotInfo, err error) {
	f, err := os.CreateTemp(c.st.Dir(), "restore-*.tmp")
	if err != nil {
		return nil, info, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	n, err := io.Copy(f, io.LimitReader(from, maxSnapshotSize+1))
	if err != nil {
		return nil, info, err
	}
	if n > maxSnapshotSize {
		return nil, info, fmt.Errorf("it is longer than %d bytes: %w", int64(maxSnapshotSize), store.ErrDamaged)
	}
	if _, err = f.Seek(0, io.SeekStart); err != nil {
		return nil, info, err
	}
	if info, err = store.Inspect(f); err != nil {
		return nil, info, err
	}
	if info.Deployment != c.cfg.Deployment || info.Region != c.cfg.Region {
		return nil, info, fmt.Errorf("it is of %s/%s, this is %s/%s: %w", info.Deployment, info.Region, c.cfg.Deployment, c.cfg.Region, store.ErrForeign)
	}
	live := 0
	for _, p := range c.tb.Partitions() {
		live += p.Live
	}
	switch same := info.Identity == c.tb.Identity(); {
	case !same && !anyhow && live > 0:
		return nil, info, fmt.Errorf("it is of another history: the region was founded anew since it was taken, so nobody can tell which is newer; "+
			"the %d live calls of today would be lost; say --yes if they may: %w", live, ownership.ErrConflict)
	case same && info.Applied < c.tb.Applied():
		return nil, info, fmt.Errorf("it ends at entry %d, the table is at %d: owners that were replaced since would come back: %w",
			info.Applied, c.tb.Applied(), ownership.ErrConflict)
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, info, err
}

// restoreHere is the leader's part.
func (c *Cluster) restoreHere(ctx context.Context, f io.Reader, info store.SnapshotInfo) error {
	r := c.reign.Load()
	if r == nil {
		return errNotLeader
	}
	if err := r.waitReady(ctx); err != nil {
		return err
	}
	release, err := r.form(ctx)
	if err != nil {
		return err
	}
	defer release()
	today, fit := c.tb.Nodes(), r.book.fitness(time.Now())
	r.restoring.Store(true)
	defer r.restoring.Store(false)
	meta := &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Index: info.Applied, Term: info.Term, Size: info.Bytes}
	done := make(chan error, 1)
	go func() { done <- c.raft.Restore(meta, f, restoreLimit) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return raftRefusal(err)
	}
	// Every node gets a whole lease to renew for the first time, or whoever is the
	// first to do it would inherit all that the others have.
	r.book.begin(c.leaseLength(), time.Now())
	return r.reseat(ctx, today, fit)
}

// reseat puts the nodes of today into a table that was restored from the past. fit
// is how they were before: since then nobody could renew.
func (r *reign) reseat(ctx context.Context, today []ownership.Node, fit map[ownership.NodeID]ownership.Fitness) error {
	for _, n := range today {
		if n.State == ownership.NodeGone {
			continue
		}
		old, ok := r.c.tb.Node(n.ID)
		if ok && old.Incarnation != n.Incarnation && old.State != ownership.NodeGone {
			if _, err := r.propose(ctx, ownership.Depart{Node: n.ID, Fitness: fit}); err != nil {
				return fmt.Errorf("retiring the former node %s: %w", n.ID, err)
			}
		}
		act := ownership.Join{Node: n, Partitions: r.c.cfg.Partitions}
		if ok && old.Incarnation == n.Incarnation && old.Process != "" {
			act.Ancestors = []string{old.Process} // of another day
		}
		out, err := r.propose(ctx, act)
		if err == nil {
			err = out.Err
		}
		if err != nil {
			return fmt.Errorf("putting node %s back: %w", n.ID, err)
		}
	}
	return nil
}

// snapshotChunk is how much of a snapshot goes into one message.
const snapshotChunk = 1 << 20

// headerAnyhow says that an operator wants a snapshot of another history.
const headerAnyhow = "Tandem-Restore-Anyhow"

func (c *Cluster) sendSnapshot(ctx context.Context, leader ownership.NodeID, addr string, f io.Reader, anyhow bool) error {
	p := c.links.to(leader, addr)
	stream := p.restore.CallClientStream(ctx)
	if anyhow {
		stream.RequestHeader().Set(headerAnyhow, "yes")
	}
	buf := make([]byte, snapshotChunk)
	for {
		n, err := io.ReadFull(f, buf)
		if n > 0 {
			if serr := stream.Send(&peerpb.RestoreChunk{Data: buf[:n]}); serr != nil {
				break // the answer says why
			}
		}
		if err != nil {
			break // the end of a file that was verified
		}
	}
	if _, err := stream.CloseAndReceive(); err != nil {
		return fromConnect(p.name(), err)
	}
	return nil
}

func (c *Cluster) serveRestore(ctx context.Context, stream *connect.ClientStream[peerpb.RestoreChunk]) (*connect.Response[peerpb.RestoreReply], error) {
	f, info, err := c.spool(&chunkReader{stream: stream}, stream.RequestHeader().Get(headerAnyhow) != "")
	if err != nil {
		return nil, toConnect(err)
	}
	defer func() { _ = errors.Join(f.Close(), os.Remove(f.Name())) }() // a copy
	if err := c.restoreHere(ctx, f, info); err != nil {
		return nil, toConnect(err)
	}
	return connect.NewResponse(&peerpb.RestoreReply{}), nil
}

// chunkReader reads a stream of chunks as one.
type chunkReader struct {
	stream *connect.ClientStream[peerpb.RestoreChunk]
	rest   []byte
}

// Read implements io.Reader.
func (r *chunkReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if !r.stream.Receive() {
			if err := r.stream.Err(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		r.rest = r.stream.Msg().GetData()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
