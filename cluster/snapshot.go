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

	"tandem/cluster/leader"
	"tandem/cluster/peerpb"
	"tandem/cluster/transport"
	"tandem/ownership"
	"tandem/store"
	"tandem/store/files"
	"tandem/store/snapfile"
)

// SaveSnapshot writes the region's table as this node has it to w: the file that
// RestoreSnapshot reads, signed with the first of the keys. Call ReadBarrier first for a snapshot
// that misses nothing acknowledged before.
func (c *Cluster) SaveSnapshot(ctx context.Context, w io.Writer) error {
	keys := c.snapshotKeys()
	if len(keys) == 0 {
		return saving(c.tb.Save(ctx, w))
	}
	signed := snapfile.SignTo(w, keys[0])
	if err := c.tb.Save(ctx, signed); err != nil {
		return saving(err)
	}
	return saving(signed.Sign())
}

func saving(err error) error {
	if err != nil {
		return fmt.Errorf("saving a snapshot: %w", err)
	}
	return nil
}

func (c *Cluster) snapshotKeys() [][]byte {
	if c.cfg.SnapshotKeys == nil {
		return nil
	}
	return c.cfg.SnapshotKeys()
}

// restoreLimit bounds a restore once the snapshot is here.
const restoreLimit = 2 * time.Minute

// RestoreSnapshot replaces the region's table by a saved one, from any node: the
// way back after all nodes lost their disks. The snapshot is read whole and
// verified first. It is refused with snapfile.ErrUnsigned when no key of the deployment has
// signed it, unless the terms say that it may be so, with store.ErrForeign when it is of another
// deployment or region, with files.ErrDamaged when it is cut short or changed,
// and with ErrConflict when the table has gone on since it was taken. Indexes of two
// histories say nothing about each other: a snapshot of another founding of the
// region is refused with ErrConflict where the table of today holds calls, unless
// the terms say anyhow. The nodes of today stay in the region; a record of the same id
// with the data of before gives way. The tokens of today stay, too, unless the terms
// want the snapshot's: among those may be some that were taken back since. So do the
// rules of today, unless the snapshot's are newer. After
// ErrNoLeader the snapshot may have been restored or not.
func (c *Cluster) RestoreSnapshot(ctx context.Context, from io.Reader, terms ownership.RestoreTerms) error {
	saved, err := c.spool(from)
	if err != nil {
		return fmt.Errorf("restoring a snapshot: %w", err)
	}
	defer saved.drop()
	if keys := c.snapshotKeys(); len(keys) > 0 && !terms.Unsigned {
		if err := saved.Verify(keys); err != nil {
			return fmt.Errorf("restoring a snapshot: %w", err)
		}
	}
	info, err := c.inspect(saved, terms)
	if err != nil {
		return fmt.Errorf("restoring a snapshot: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, restoreLimit)
	defer cancel()
	if at, addr, ok := c.Leader(); ok {
		err = c.atLeader(at, addr, func(l *leader.Leadership) error { return c.restoreHere(ctx, l, saved, info, terms) },
			func(p *transport.Peer) error { return sendSnapshot(ctx, p, saved, terms) })
	} else {
		err = ownership.ErrNoLeader
	}
	if errors.Is(err, ownership.ErrNotLeader) { // any more
		err = fmt.Errorf("%w: %w", ownership.ErrNoLeader, err)
	}
	if err != nil {
		return fmt.Errorf("restoring a snapshot: %w", err)
	}
	return nil
}

// restoreHere is the leader's part.
func (c *Cluster) restoreHere(ctx context.Context, l *leader.Leadership, f spooled, info store.SnapshotInfo, terms ownership.RestoreTerms) error {
	return l.Restore(ctx, func() (err error) {
		if f, info, err = c.keepToday(f, info, terms); err != nil {
			return err
		}
		defer f.drop()
		meta := &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Index: info.Applied, Term: info.Term, Size: info.Bytes}
		done := make(chan error, 1)
		go func() { done <- c.raft.Restore(meta, f, restoreLimit) }()
		select {
		case err = <-done:
		case <-ctx.Done():
			err = ctx.Err()
		}
		return leader.Refusal(err)
	})
}

// snapshotChunk is how much of a snapshot goes into one message.
const snapshotChunk = 1 << 20

// Headers for what an operator wants, see ownership.RestoreTerms. That it is signed the
// node has seen to that was asked.
const (
	headerAnyhow = "Tandem-Restore-Anyhow"
	headerTokens = "Tandem-Restore-Tokens"
)

func sendSnapshot(ctx context.Context, p *transport.Peer, f io.Reader, terms ownership.RestoreTerms) error {
	ctx, call := connect.NewClientContext(ctx)
	for header, wanted := range map[string]bool{headerAnyhow: terms.Anyhow, headerTokens: terms.Tokens} {
		if wanted {
			call.RequestHeader().Set(header, "yes")
		}
	}
	stream, err := p.Restore(ctx)
	if err != nil {
		return p.Said(err)
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
		return p.Said(err)
	}
	return nil
}

func (d *peerDoor) Restore(ctx context.Context, stream *connect.ClientStream[peerpb.RestoreChunk]) (*peerpb.RestoreReply, error) {
	if err := d.operators(ctx, "restore", "the table"); err != nil {
		return nil, err
	}
	terms := ownership.RestoreTerms{Anyhow: stream.RequestHeader().Get(headerAnyhow) != "", Tokens: stream.RequestHeader().Get(headerTokens) != ""}
	saved, err := d.spool(&chunkReader{stream: stream})
	if err != nil {
		return nil, err
	}
	defer saved.drop()
	info, err := d.inspect(saved, terms)
	if err != nil {
		return nil, err
	}
	l, err := d.leads()
	if err != nil {
		return nil, err
	}
	if err := d.restoreHere(ctx, l, saved, info, terms); err != nil {
		return nil, err
	}
	return &peerpb.RestoreReply{}, nil
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

// spooled is a copy of a saved snapshot in the data directory.
type spooled struct {
	snapfile.Saved
	file *os.File
}

func (s spooled) drop() { _ = errors.Join(s.file.Close(), os.Remove(s.file.Name())) } // a copy

func (c *Cluster) tempFile() (*os.File, error) { return os.CreateTemp(c.st.Dir(), "restore-*.tmp") }

func (c *Cluster) spool(from io.Reader) (_ spooled, err error) {
	f, err := c.tempFile()
	if err != nil {
		return spooled{}, err
	}
	s := spooled{file: f}
	defer func() {
		if err != nil {
			s.drop()
		}
	}()
	n, err := io.Copy(f, io.LimitReader(from, transport.MaxSnapshot+1))
	if err != nil {
		return s, err
	}
	if n > transport.MaxSnapshot {
		return s, fmt.Errorf("it is longer than %d bytes: %w", int64(transport.MaxSnapshot), files.ErrDamaged)
	}
	s.Saved, err = snapfile.OpenSaved(f, n)
	return s, err
}

// inspect verifies a snapshot, and that it may take the place of the table of today.
func (c *Cluster) inspect(saved spooled, terms ownership.RestoreTerms) (info store.SnapshotInfo, err error) {
	if info, err = store.Inspect(saved); err != nil {
		return info, err
	}
	if info.Deployment != c.cfg.Deployment || info.Region != c.cfg.Region {
		return info, fmt.Errorf("it is of %s/%s, this is %s/%s: %w", info.Deployment, info.Region, c.cfg.Deployment, c.cfg.Region, store.ErrForeign)
	}
	live := 0
	for _, p := range c.tb.Partitions() {
		live += p.Live
	}
	switch same := info.Identity == c.tb.Identity(); {
	case !same && !terms.Anyhow && live > 0:
		return info, fmt.Errorf("it is of another history: the region was founded anew since it was taken, so nobody can tell which is newer; "+
			"the %d live calls of today would be lost; say --yes if they may: %w", live, ownership.ErrConflict)
	case same && info.Applied < c.tb.Applied():
		return info, fmt.Errorf("it ends at entry %d, the table is at %d: owners that were replaced since would come back: %w",
			info.Applied, c.tb.Applied(), ownership.ErrConflict)
	}
	_, err = saved.Seek(0, io.SeekStart)
	return info, err
}

// keepToday copies a snapshot with what is to stay of the table of today.
func (c *Cluster) keepToday(saved spooled, its store.SnapshotInfo, terms ownership.RestoreTerms) (_ spooled, info store.SnapshotInfo, err error) {
	today := store.Today{Tokens: c.tb.DoorTokens(), TheirTokens: terms.Tokens, Rules: c.tb.Rules(), Deposits: c.tb.Deposits(), Rollouts: c.tb.Rollouts()}
	led, err := c.tb.Ledger()
	if err != nil {
		return spooled{}, info, err
	}
	defer led.Close()             // before the table is replaced: that waits for whoever reads it
	if led.Size() >= its.Ledger { // else this region is a new one, and its ledger is in the snapshot
		today.Ledger = led
	}
	f, err := c.tempFile()
	if err != nil {
		return spooled{}, info, err
	}
	out := spooled{file: f}
	if info, err = today.With(saved, f); err == nil {
		out.Saved, err = snapfile.OpenSaved(f, info.Bytes)
	}
	if err != nil {
		out.drop()
	}
	return out, info, err
}
