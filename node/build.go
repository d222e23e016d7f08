package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"tandem/bot"
	"tandem/cluster"
	"tandem/ownership"
	"tandem/policy"
	"tandem/store"
	"tandem/webhook"
)

// The methods below each open one room. They run in the order in which Start
// names them: a room may use those before it, and reaches later ones only
// through a closure that runs once everything is open.

// openPolicy reads what needs no other room, so that a mistake in it is told before
// the node shows itself to its region.
func (n *Node) openPolicy(context.Context) (err error) {
	if n.policy, err = n.cfg.policy(); err != nil {
		return err
	}
	if n.handles, err = webhook.LoadHandles(n.cfg.HandleKeysFile); err != nil {
		return fmt.Errorf("reading handle_keys_file: %w", err)
	}
	return nil
}

func (n *Node) openStore(context.Context) error {
	c := n.cfg
	st, err := store.Open(c.Node.DataDir, c.stamp(), store.Options{Logger: n.log, OnFatal: n.fatal, MaxPending: c.Pending})
	if err != nil {
		return fmt.Errorf("opening the store in %s: %w", c.Node.DataDir, err)
	}
	n.store, n.table = st, st.Table()
	n.stops.addWaiting("store", n.closeStore)
	return nil
}

// closeStore closes the store once nobody uses it any more. When the time is over
// before that, it stays open, and the end of the process closes it: what raft writes
// until then must not meet a closed log.
func (n *Node) closeStore(ctx context.Context) error {
	if n.region != nil {
		select {
		case <-n.region.Over():
		default:
			select {
			case <-n.region.Over():
			case <-ctx.Done():
				return fmt.Errorf("it stays open, for the region has not ended: %w", ctx.Err())
			}
		}
	}
	return n.store.Close()
}

// fatal is called when the disk or the table makes the node useless.
func (n *Node) fatal(err error) {
	n.log.Error("this node cannot go on", "err", err)
	n.cfg.Fatal(err)
}

func (n *Node) openTokens(ctx context.Context) error {
	v, err := Tokens(context.WithoutCancel(ctx), n.cfg)
	if err != nil {
		return err
	}
	n.tokens = v
	n.stops.addWaiting("token verifier", func(context.Context) error { return v.Close() })
	return nil
}

// ledger lets the dispatcher act on the table; the region opens after the dispatcher. Until
// then nothing is known, and nothing taken.
type ledger struct{ n *Node }

// open reports whether the region may be asked.
func (l ledger) open() bool {
	select {
	case <-l.n.opened:
		return true
	default:
		return false
	}
}

// Do has the region apply an act. A node that has left or stopped will never
// get it applied: its dispatcher keeps it for the next start.
func (l ledger) Do(ctx context.Context, act ownership.Act) (*ownership.Outcome, error) {
	if !l.open() {
		return nil, fmt.Errorf("%s: this node is still starting: %w", ownership.Doing(act), ownership.ErrNoLeader)
	}
	if _, ok := act.(ownership.TakeUp); ok && l.n.table.Format() < ownership.FormatReservations {
		return nil, nil // a region of older software has no reservations: nobody can reclaim an orphan
	}
	out, err := l.n.region.Do(ctx, act)
	if errors.Is(err, ownership.ErrGone) || errors.Is(err, cluster.ErrStopped) {
		err = fmt.Errorf("%w: %w", bot.ErrOver, err)
	}
	return out, err
}

// Holds implements bot.Ledger.
func (l ledger) Holds(call ownership.CallID, p ownership.PartitionID, e ownership.Epoch) bool {
	return l.open() && l.n.region.Holds(call, p, e)
}

// Owns implements bot.Ledger.
func (l ledger) Owns(call ownership.CallID, p ownership.PartitionID, e ownership.Epoch) bool {
	return l.open() && l.n.region.Owns(call, p, e)
}

// Find implements bot.Ledger.
func (l ledger) Find(call ownership.CallID) (ownership.Known, bool) {
	if !l.open() {
		return ownership.Known{}, false
	}
	return l.n.region.Find(call)
}

func (l ledger) leased() bool { return l.open() && l.n.region.Leased() }

func (n *Node) openRegion(ctx context.Context) error {
	cfg := n.cfg.clusterConfig()
	cfg.SnapshotKeys = func() [][]byte { return n.handles.Derived("saved snapshots") }
	r, err := cluster.Start(context.WithoutCancel(ctx), cfg, n.store, cluster.Deps{
		HandOver:     n.relayed,
		LetIn:        n.letIn,
		Letter:       http.HandlerFunc(n.letter),
		Health:       n.health,
		OnReassigned: n.reassigned,
		Quiesce:      n.dispatcher.Quiesce,
		Memory:       n.dispatcher.MemoryOf,
		Recall:       n.takeMemory,
		Consult:      trails{n}.consulted,
		Fatal:        n.fatal,
	})
	if err != nil {
		return fmt.Errorf("joining region %s: %w", n.Region(), err)
	}
	n.region = r
	n.stops.add("adoptions", n.adopting.Wait) // the region, which starts them, has stopped by then
	n.stops.addWaiting("region", r.Stop)
	// The dispatcher opened before the region, which carries its acts; it closes before
	// it as well, or what it still has to record and to answer would be lost.
	n.stops.addWaiting("bot's dispatcher", n.closeDispatcher)
	return nil
}

// relayed takes what another node relayed to this one.
func (n *Node) relayed(ctx context.Context, h ownership.HandOver) (ownership.Reply, error) {
	if !(ledger{n}).open() {
		return ownership.Reply{}, fmt.Errorf("taking a relayed notification: this node is still starting: %w", ownership.ErrFenced)
	}
	return n.door.HandOver(ctx, h)
}

// letter takes what a node of another region relayed to this one.
func (n *Node) letter(w http.ResponseWriter, r *http.Request) {
	select {
	case <-n.opened:
		n.letters.ServeHTTP(w, r)
	default:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// letIn says whose join token a new node shows; the admin door knows them.
func (n *Node) letIn(ctx context.Context, token string, node ownership.NodeID, done bool) (string, error) {
	if !(ledger{n}).open() {
		return "", fmt.Errorf("judging a join token: this node is still starting: %w", ownership.ErrNoLeader)
	}
	return n.private.LetIn(ctx, token, node, done)
}

// health is what this node tells the leader at each renewal of its lease.
func (n *Node) health() cluster.Health {
	apps := n.dispatcher.Health()
	healthy, load, room := bot.Worst(apps)
	return cluster.Health{Bot: healthy, Load: load, Room: room, Live: n.table.Live(n.ID()), Apps: apps, Away: n.announced.away(), Versions: n.dispatcher.Versions()}
}

// takeMemory takes what the present owner of a partition knows of its handled
// messages: the partition is about to be this node's.
func (n *Node) takeMemory(id ownership.PartitionID, memory []byte) {
	if err := n.dispatcher.RecallOf(id, memory); err != nil {
		n.log.Warn("taking over what is known of handled messages; the bot may be handed repeats", "partition", id, "err", err)
	}
}

func (n *Node) openDoor(context.Context) error {
	cfg, err := n.cfg.webhookConfig()
	if err != nil {
		return err
	}
	door, err := webhook.New(cfg, webhook.Deps{
		Tokens: n.tokens, Table: n.region, Dispatcher: n.dispatcher, Regions: abroad{n.regions, n.region},
		Healthy: n.healthy, Handles: n.handles, Identity: n.table.Identity, Logger: n.log, Metrics: n.cfg.Registry, Steps: n.trail, Traces: n.traces,
	})
	if err != nil {
		return fmt.Errorf("building the public door: %w", err)
	}
	n.door, n.letters = door, n.traces.Door("letter", false, door.Letters())
	n.rules.Serve(func(c *policy.Compiled) { door.SetPolicy(c.Rules, c.Pins) })
	close(n.opened)
	return nil
}
