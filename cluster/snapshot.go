package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"connectrpc.com/connect"
	"github.com/hashicorp/raft"

	"tandem/cluster/peerpb"
	"tandem/ownership"
	"tandem/store"
)

// SaveSnapshot writes the region's table as this node has it to w: the file that
// RestoreSnapshot reads, signed with the first of the keys. Call ReadBarrier first for a snapshot
// that misses nothing acknowledged before.
func (c *Cluster) SaveSnapshot(ctx context.Context, w io.Writer) error {
	keys := c.snapshotKeys()
	if len(keys) == 0 {
		return saving(c.tb.Save(ctx, w))
	}
	signed := store.SignTo(w, keys[0])
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
// verified first. It is refused with store.ErrUnsigned when no key of the deployment has
// signed it, unless the terms say that it may be so, with store.ErrForeign when it is of another
// deployment or region, with store.ErrDamaged when it is cut short or changed,
// and with ErrConflict when the table has gone on since it was taken. Indexes of two
// histories say nothing about each other: a snapshot of another founding of the
// region is refused with ErrConflict where the table of today holds calls, unless
// the terms say anyhow. The nodes of today stay in the region; a record of the same id
// with the data of before gives way. The tokens of today stay, too, unless the terms
// want the snapshot's: among those may be some that were taken back since. After
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
	leader, addr, ok := c.Leader()
	switch {
	case !ok:
		err = ownership.ErrNoLeader
	case leader == c.self:
		err = c.restoreHere(ctx, saved, info, terms)
	default:
		err = c.sendSnapshot(ctx, leader, addr, saved, terms)
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
func (c *Cluster) restoreHere(ctx context.Context, f spooled, info store.SnapshotInfo, terms ownership.RestoreTerms) error {
	r := c.reign.Load()
	if r == nil {
		return ownership.ErrNotLeader
	}
	if err := r.waitReady(ctx); err != nil {
		return err
	}
	release, err := r.form(ctx)
	if err != nil {
		return err
	}
	defer release()
	today, fit := c.tb.Nodes(), r.leases.Fitness(time.Now())
	r.restoring.Store(true)
	defer r.restoring.Store(false)
	if err := r.standStill(ctx); err != nil {
		return err
	}
	if !terms.Tokens {
		if f, info, err = c.keepTokens(f); err != nil {
			return err
		}
		defer f.drop()
	}
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
	r.leases.Begin(c.leaseLength(), time.Now())
	return r.reseat(ctx, today, fit)
}

// standStill waits until every lease is certainly over, while no new one is granted:
// nobody may act by the table of before while another acts by the restored one. Then
// it makes sure that this node still leads: raft replaces a leader's own table before
// it asks anybody.
func (r *reign) standStill(ctx context.Context) error {
	for {
		var over time.Time
		for _, n := range r.c.tb.Nodes() {
			if at := r.leases.Over(n.ID); at.After(over) {
				over = at
			}
		}
		wait := time.Until(over)
		if wait <= 0 {
			_, err := r.verify.Do(ctx, struct{}{})
			return r.over(err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !r.sleep(wait) {
			return ownership.ErrNotLeader
		}
	}
}

// reseat puts the nodes of today into a table that was restored from the past. fit
// is how they were before: since then nobody could renew.
func (r *reign) reseat(ctx context.Context, today []ownership.Node, fit map[ownership.NodeID]ownership.Fitness) error {
	left := make(map[ownership.PartitionID]bool) // by the machines of before
	for _, n := range today {
		if n.State == ownership.NodeGone {
			continue
		}
		old, ok := r.c.tb.Node(n.ID)
		if ok && old.Incarnation != n.Incarnation && old.State != ownership.NodeGone {
			out, err := r.propose(ctx, ownership.Depart{Node: n.ID, Fitness: fit})
			if err != nil {
				return fmt.Errorf("retiring the former node %s: %w", n.ID, err)
			}
			for _, m := range out.Moves {
				left[m.Partition] = true
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
	return r.share(ctx, left, fit)
}

// share spreads the partitions of the machines of before over the nodes of today, the
// heaviest first: who took the place of the first of them could inherit from all the
// others, who took that of the last one from nobody. Nobody has a lease, so nobody has
// to stop first.
func (r *reign) share(ctx context.Context, left map[ownership.PartitionID]bool, fit map[ownership.NodeID]ownership.Fitness) error {
	var heirs []ownership.NodeID
	for _, n := range r.c.tb.Nodes() {
		if n.State == ownership.NodeActive && fit[n.ID].Leased && fit[n.ID].Bot {
			heirs = append(heirs, n.ID)
		}
	}
	if len(heirs) == 0 {
		return nil
	}
	estate := slices.DeleteFunc(r.c.tb.Partitions(), func(p ownership.Partition) bool { return p.Retired || !left[p.ID] })
	slices.SortFunc(estate, func(a, b ownership.Partition) int { return cmp.Or(b.Live-a.Live, cmp.Compare(a.ID, b.ID)) })
	for i, p := range estate {
		to := heirs[i%len(heirs)]
		if p.Owner == to {
			continue
		}
		out, err := r.propose(ctx, ownership.Move{Partition: p.ID, Epoch: p.Epoch, To: to})
		if err == nil {
			err = out.Err
		}
		if err != nil {
			return fmt.Errorf("giving partition %s to node %s: %w", p.ID, to, err)
		}
	}
	return nil
}

// seatAll finishes a restore of which the leader lost the lead in the middle: by the
// table of another founding all nodes of today are strangers, and nobody would let
// any of them in. false: the reign ended.
func (r *reign) seatAll() bool {
	today := r.c.unseated.Load()
	if today == nil {
		return true
	}
	fit := make(map[ownership.NodeID]ownership.Fitness)
	strangers := slices.DeleteFunc(slices.Clone(*today), func(n ownership.Node) bool {
		fit[n.ID] = ownership.Fitness{Leased: true, Bot: true} // as far as anybody knows
		now, ok := r.c.tb.Node(n.ID)
		return n.State == ownership.NodeGone || ok && now.Incarnation == n.Incarnation
	})
	for len(strangers) > 0 {
		ctx, cancel := context.WithTimeout(r.ctx, restoreLimit)
		err := r.reseat(ctx, strangers, fit)
		cancel()
		if err == nil {
			r.c.log.Info("finished the restore that the leader before had begun", "nodes", len(strangers))
			break
		}
		r.c.log.Warn("finishing a restore; trying again", "err", err)
		if !r.sleep(retryPause) {
			return false
		}
	}
	return true
}

// snapshotChunk is how much of a snapshot goes into one message.
const snapshotChunk = 1 << 20

// Headers for what an operator wants, see ownership.RestoreTerms. That it is signed the
// node has seen to that was asked.
const (
	headerAnyhow = "Tandem-Restore-Anyhow"
	headerTokens = "Tandem-Restore-Tokens"
)

func (c *Cluster) sendSnapshot(ctx context.Context, leader ownership.NodeID, addr string, f io.Reader, terms ownership.RestoreTerms) error {
	p := c.links.To(leader, addr)
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

func (c *peerDoor) Restore(ctx context.Context, stream *connect.ClientStream[peerpb.RestoreChunk]) (*peerpb.RestoreReply, error) {
	if err := c.operators(ctx, "restore", "the table"); err != nil {
		return nil, err
	}
	terms := ownership.RestoreTerms{Anyhow: stream.RequestHeader().Get(headerAnyhow) != "", Tokens: stream.RequestHeader().Get(headerTokens) != ""}
	saved, err := c.spool(&chunkReader{stream: stream})
	if err != nil {
		return nil, err
	}
	defer saved.drop()
	info, err := c.inspect(saved, terms)
	if err != nil {
		return nil, err
	}
	if err := c.restoreHere(ctx, saved, info, terms); err != nil {
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
