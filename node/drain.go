package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"tandem/cluster"
	"tandem/ownership"
)

// The pace of a node that is about to stop.
const (
	drainRound = 200 * time.Millisecond // between two looks at what is left
	// ringPatience is how long a partition waits for its ringing calls to be
	// answered here; then their new owner answers them, as after a death.
	ringPatience = 5 * time.Second
	// handOverLimit bounds the hand-over itself, whatever node.drain says.
	handOverLimit = 5 * time.Second
	// drainMark is the file that says that the drain in the table is this node's
	// own, made by a stop: the next start ends it. An operator's drain has none
	// and outlives restarts.
	drainMark = "stopping"
)

// Drain makes this node ready to stop unnoticed, and returns how many live calls
// are still on it: it takes no new calls, hands on the lead and every partition
// without a call that is bound to this node, and waits for those that are: until
// they end, node.drain is over, or ctx ends. All the while it gets and handles
// its notifications. Stop it afterwards; its next start takes new calls again.
func (n *Node) Drain(ctx context.Context) (left int) { return drains{n}.drain(ctx) }

// drains is how a node leaves unnoticed, and comes back.
type drains struct{ *Node }

func (n drains) drain(ctx context.Context) (left int) {
	patience := n.cfg.Node.Drain
	n.leaving.Store(true)
	begun := time.Now()
	defer n.linger(ctx, begun)
	ctx, cancel := context.WithTimeout(ctx, patience+handOverLimit)
	defer cancel()
	n.log.Info("draining before the stop", "calls", n.table.Live(n.ID()), "at_most", patience)
	n.handOnLead(ctx)
	n.announceDrain(ctx, begun.Add(patience))
	tick := time.NewTicker(drainRound)
	defer tick.Stop()
	for {
		given, err := n.region.HandOff(ctx, cluster.HandingOff{Ringing: time.Since(begun) >= min(ringPatience, patience), Empty: true})
		left = n.table.Live(n.ID())
		if given.Moved > 0 {
			n.log.Info("handed partitions over", "partitions", given.Moved, "calls_left", left)
		}
		over := ctx.Err() != nil || time.Since(begun) >= patience && given.Failed == 0
		if over && left > 0 {
			n.log.Warn("stopping with live calls: their partitions stay here for one lease, then go to other nodes", "calls", left, "err", err)
		}
		if over || n.mayStop(left, given) {
			return left
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// mayStop reports whether waiting longer would help nobody.
func (n drains) mayStop(left int, given cluster.HandedOff) bool {
	// A node that may not act has nothing that anybody could lose.
	return !n.region.Status().Leased || left == 0 && given.Ringing == 0
}

// linger keeps the doors open for public.linger since the node began to leave:
// redirects to this node are under way, and whoever balances load has yet to hear
// that it is not ready. A region of one has nowhere else to send anybody.
func (n drains) linger(ctx context.Context, begun time.Time) {
	if len(n.region.Status().Peers) < 2 {
		return
	}
	over := time.NewTimer(time.Until(begun.Add(n.cfg.Public.Linger)))
	defer over.Stop()
	select {
	case <-over.C:
	case <-ctx.Done():
	}
}

// handOnLead gives the lead away before anything else: an election while calls
// are moved would hold them up.
func (n drains) handOnLead(ctx context.Context) {
	if s := n.region.Status(); s.State != "leader" || voters(s) < 2 {
		return
	}
	if err := n.region.TransferLeader(ctx, ""); err != nil {
		n.log.Warn("handing on the lead before the stop", "err", err)
	}
}

// announceDrain tells the region that this node takes no new calls. Without the
// mark on disk the node would come back and stay drained, so then it says
// nothing; its partitions go to others all the same.
func (n drains) announceDrain(ctx context.Context, until time.Time) {
	me, ok := n.table.Node(n.ID())
	if !ok || me.State != ownership.NodeActive {
		return
	}
	err := os.WriteFile(n.drainMark(), []byte("The drain in the table is this node's own: its next start ends it.\n"), 0o600)
	if err == nil {
		err = n.region.Drain(ctx, n.ID(), until.UTC())
	}
	if err != nil {
		n.log.Warn("telling the region of the stop", "err", err)
	}
}

func (n drains) drainMark() string { return filepath.Join(n.cfg.Node.DataDir, drainMark) }

// comeBack ends the drain that this node's last stop began, as soon as the node
// has a place in its region again.
func (n drains) comeBack(ctx context.Context) error {
	if _, err := os.Lstat(n.drainMark()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	n.stops.addRunning(ctx, "return from the last stop", func(ctx context.Context) {
		for ctx.Err() == nil {
			err := n.endOwnDrain(ctx)
			if err == nil {
				return
			}
			n.log.Debug("ending the drain of the last stop; trying again", "err", err)
			select {
			case <-time.After(drainRound):
			case <-ctx.Done():
			}
		}
	})
	return nil
}

func (n drains) endOwnDrain(ctx context.Context) error {
	if err := n.region.Ready(ctx); err != nil {
		return err
	}
	if err := n.region.Undrain(ctx, n.ID()); err != nil {
		return err
	}
	if err := os.Remove(n.drainMark()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("taking the mark of the last stop away: %w", err)
	}
	n.log.Info("back from the last stop: this node takes new calls")
	return nil
}
