package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"time"

	"tandem/azure"
	"tandem/bot"
	"tandem/ownership"
)

// How often maintenance runs.
const (
	forgetEvery = 30 * time.Second // the leader drops old tombstones
	reapEvery   = time.Minute      // every node looks after its own silent calls
)

// maintenance keeps the table and the node's calls clean.
type maintenance struct{ *Node }

// maintain starts the rounds that clean the table up.
func (n maintenance) maintain(ctx context.Context) error {
	n.stops.addRunning(ctx, "maintenance", func(ctx context.Context) {
		forget, reap := time.NewTicker(forgetEvery), time.NewTicker(reapEvery)
		defer forget.Stop()
		defer reap.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-forget.C:
				n.forget(ctx)
			case <-reap.C:
				n.reap(ctx)
			}
		}
	})
	return nil
}

// forget drops tombstones that no late notification can reach any more. Only
// the leader proposes it, so that it is proposed once.
func (n maintenance) forget(ctx context.Context) {
	n.private.FlushAudit(ctx)
	if n.region.Status().State != "leader" {
		return
	}
	n.keepLedger(ctx)
	now := n.now()
	if _, err := n.region.Do(ctx, ownership.Forget{At: now, Before: now.Add(-n.cfg.Cluster.Tombstones)}); err != nil {
		n.log.Warn("forgetting old tombstones; the next round tries again", "err", err)
	}
}

// now is the clock of the maintenance.
func (n *Node) now() time.Time {
	if n.cfg.Now != nil {
		return n.cfg.Now()
	}
	return time.Now()
}

// reap looks at calls that have been silent for long.
func (n maintenance) reap(ctx context.Context) {
	seen, err := n.dispatcher.Reap(ctx, n.silentCalls())
	if err != nil {
		n.log.Warn("looking after silent calls; the next round tries again", "err", err)
	}
	if seen.Asked > 0 {
		n.log.Info("looked after silent calls", "asked", seen.Asked, "released", seen.Released, "alive", seen.Alive, "unclear", seen.Unclear)
	}
}

// silentCalls walks the calls of this node's of which nothing was heard for long, each
// with the epoch at which this node may act on it. An orphan's own epoch is that
// of the owner it died with: nobody could ever act on it at that one.
func (n maintenance) silentCalls() iter.Seq[ownership.Call] {
	return func(yield func(ownership.Call) bool) {
		f := ownership.CallFilter{Node: n.ID(), Silent: n.now().Add(-bot.SilentFor)}
		for _, p := range n.table.Partitions() {
			f.Partition = p.ID
			for c, err := range n.table.Each(f) {
				if err != nil {
					n.log.Error("walking this node's calls", "err", err)
					return
				}
				if c.Epoch = p.Epoch; !yield(c) {
					return
				}
			}
		}
	}
}

// announced is what the machine says of its maintenance.
type announced struct {
	mu  sync.Mutex
	to  time.Time // until when it may stand still
	why string    // empty: nothing is announced
}

func (a *announced) away() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.to.IsZero() {
		return 0
	}
	return max(time.Until(a.to), 0)
}

func (a *announced) text() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.why
}

func (a *announced) set(change func(*announced)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a)
}

// announcements is the node as maintenance of its machine meets it, see azure.Node.
type announcements struct{ *Node }

// maintenanceMark is the file that says that the drain in the table is the machine's
// maintenance. It outlives the reboot that the drain was for; an operator's drain has none.
const maintenanceMark = "maintenance"

// machineName is in whose name the table is changed.
const machineName = "azure"

// open begins to follow what is announced, where that is wanted.
func (n announcements) open(ctx context.Context) error {
	m := n.cfg.Node.Maintenance
	if !m.Azure {
		return nil
	}
	machine := azure.New(n.cfg.Azure.MetadataURL, nil)
	n.stops.add("metadata service", machine.Close)
	w := azure.Watch{Machine: machine, Name: m.Machine, Every: time.Second, Begin: m.Approve, Now: n.now, Log: n.log}
	n.stops.addRunning(ctx, "announced maintenance", func(ctx context.Context) { w.Run(ctx, n) })
	return nil
}

func (n announcements) mark() string { return filepath.Join(n.cfg.Node.DataDir, maintenanceMark) }

func (n announcements) marked(file string) bool {
	_, err := os.Lstat(file)
	return !errors.Is(err, fs.ErrNotExist)
}

// Leave implements azure.Node. A drain of an operator stays what it is.
func (n announcements) Leave(ctx context.Context, until time.Time, why string) error {
	n.announced.set(func(a *announced) { a.why = why })
	me, ok := n.table.Node(n.ID())
	switch {
	case !ok || n.marked(drains(n).drainMark()):
		return errors.New("draining for announced maintenance: this node has yet to come back from its last stop")
	case n.leaving.Load() || me.State == ownership.NodeDraining && !n.marked(n.mark()):
		return nil
	}
	if err := os.WriteFile(n.mark(), []byte("The drain in the table is for maintenance of this machine: it ends with that.\n"), 0o600); err != nil {
		return fmt.Errorf("draining for announced maintenance: %w", err)
	}
	if !until.IsZero() {
		until = until.UTC()
	}
	if err := n.region.Drain(ownership.By(ctx, machineName), n.ID(), until); err != nil {
		return fmt.Errorf("draining for announced maintenance: %w", err)
	}
	n.note(ctx, "drain-node", why)
	return nil
}

// Return implements azure.Node.
func (n announcements) Return(ctx context.Context, why string) error {
	if n.marked(n.mark()) {
		if err := n.region.Ready(ctx); err != nil {
			return err
		}
		if err := n.region.Undrain(ownership.By(ctx, machineName), n.ID()); err != nil {
			return fmt.Errorf("ending the drain of announced maintenance: %w", err)
		}
		if err := os.Remove(n.mark()); err != nil {
			return fmt.Errorf("taking the mark of announced maintenance away: %w", err)
		}
		n.note(ctx, "undrain-node", why)
		n.log.Info("this node takes new calls again: " + why)
	}
	n.announced.set(func(a *announced) { a.why = "" })
	return nil
}

// note writes the cause into the region's ledger, where the changes of operators stand.
func (n announcements) note(ctx context.Context, action, why string) {
	if _, err := n.region.Do(ownership.By(ctx, machineName), ownership.Note{
		At: n.now(), By: machineName, Action: action, Subject: "/v1/nodes/" + n.cfg.Node.ID + "/drain", Status: 204, Detail: why,
	}); err != nil {
		n.log.Warn("writing into the ledger why this node drains", "err", err)
	}
}

// Away implements azure.Node.
func (n announcements) Away(d time.Duration) {
	n.announced.set(func(a *announced) {
		a.to = time.Time{}
		if d > 0 {
			a.to = time.Now().Add(d)
		}
	})
}

// Live implements azure.Node.
func (n announcements) Live() int { return n.table.Live(n.ID()) }
