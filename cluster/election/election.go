// Package election has the next leader elected at once when the leader's process has
// ended. Raft's own timers stay behind it, for machines that fall silent.
//
// The machine that a process ran on says that it has ended: its connections end, and its
// port refuses. A cut, a pause or a machine without power says neither. That is a hint
// and no proof, so it ends no lease and gives no vote. A node that has it may ask for
// votes earlier, once every other voter that answers has it too, and they are a majority.
package election

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"tandem/cluster/peerpb"
	"tandem/ownership"
)

// Raft is what a watch asks raft on its node.
type Raft interface {
	Leader() ownership.NodeID // whom it takes for the leader; empty: nobody
	Voters() []ownership.NodeID
	Term() uint64
	Last() Last
	Stands() bool // this process may be elected
	Elect() bool  // has it hold an election, unless it is busy
}

// Last is the last entry of a raft log.
type Last struct{ Term, Index uint64 }

// Needs is what a watch works with.
type Needs struct {
	Self ownership.NodeID
	Raft Raft
	// Patience is how long raft itself waits for a silent leader.
	Patience time.Duration
	Log      *slog.Logger
	// Refuses reports whether a machine answers where the node is, and nobody listens there.
	Refuses func(context.Context, ownership.NodeID) bool
	Ask     func(context.Context, ownership.NodeID, *peerpb.StandRequest) (*peerpb.StandReply, error)
}

// Watch knows who has raft connections to this node, and so sees when the leader has
// none left. It is safe for concurrent use.
type Watch struct {
	Needs
	mu     sync.Mutex
	lines  map[ownership.NodeID]int
	yields time.Time             // until when another one that was let go first may stand
	stands time.Time             // until when this one may be in an election that it began
	ended  chan ownership.NodeID // its last connection did
}

// New returns a watch; Run has it look.
func New(needs Needs) *Watch {
	return &Watch{Needs: needs, lines: make(map[ownership.NodeID]int), ended: make(chan ownership.NodeID, 16)}
}

// Begins notes a raft connection that the node has opened; over is to be called when it
// has ended.
func (w *Watch) Begins(id ownership.NodeID) (over func()) {
	w.count(id, 1)
	return sync.OnceFunc(func() {
		if w.count(id, -1) > 0 {
			return
		}
		select {
		case w.ended <- id:
		default: // so many end that this is no death; raft's own timers go on
		}
	})
}

func (w *Watch) count(id ownership.NodeID, by int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.lines[id] + by
	w.lines[id] = n
	if n == 0 {
		delete(w.lines, id)
	}
	return n
}

// Run has the next leader elected whenever the leader's process ends, until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	for {
		select {
		case id := <-w.ended:
			if w.Raft.Leader() == id {
				w.succeed(ctx, id)
			}
		case <-ctx.Done():
			return
		}
	}
}

// Connections end a moment before or after the port closes, and not at all voters at
// once. So a node asks again after this long, and up to twice that.
const askAgain = 4 * time.Millisecond

// succeed asks until this node may stand for election, somebody leads, or raft's own
// timers have taken over.
func (w *Watch) succeed(ctx context.Context, dead ownership.NodeID) {
	ctx, cancel := context.WithTimeout(ctx, 2*w.Patience)
	defer cancel()
	for w.leaves(dead) && w.count(dead, 0) == 0 {
		term := w.Raft.Term()
		if w.Raft.Stands() && w.hasEnded(ctx, dead) && w.agreed(ctx, dead, term) && w.stand(dead, term) {
			w.Log.Info("the leader's process has ended: this node stands for election at once", "leader", string(dead), "term", term+1)
			return
		}
		select {
		case <-time.After(askAgain + rand.N(askAgain)):
		case <-ctx.Done():
			return
		}
	}
}

// leaves reports whether nobody leads but the dead one. One who stood meanwhile may have
// failed for want of an entry that this node has.
func (w *Watch) leaves(dead ownership.NodeID) bool {
	leader := w.Raft.Leader()
	return leader == dead || leader == ""
}

// stand has raft hold an election, unless things have changed since the others agreed.
// Where raft cannot begin at once, what they said will be old when it can.
func (w *Watch) stand(dead ownership.NodeID, term uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Before(w.yields) || !w.leaves(dead) || w.Raft.Term() != term || !w.Raft.Elect() {
		return false
	}
	w.stands = now.Add(w.Patience)
	return true
}

// yield lets another voter stand before this node, unless this one has begun to and may
// have its vote. Two that stand at once may both fail, and which of two goes first depends
// on logs that may still grow by what is on its way.
func (w *Watch) yield(further bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Before(w.stands) && !further {
		return false
	}
	w.yields = now.Add(w.Patience / answerWithin)
	return true
}

// hasEnded is the hint, as this node has it now.
func (w *Watch) hasEnded(ctx context.Context, id ownership.NodeID) bool {
	return w.count(id, 0) == 0 && w.Refuses(ctx, id) && w.count(id, 0) == 0
}

// answerWithin is the part of Patience in which a voter answers, or is as good as silent,
// and for which one that answered yes stands back.
const answerWithin = 5

// agreed reports whether every other voter that answers lets this node stand, and they
// are a majority with it.
func (w *Watch) agreed(ctx context.Context, dead ownership.NodeID, term uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, w.Patience/answerWithin)
	defer cancel()
	last, voters := w.Raft.Last(), w.Raft.Voters()
	req := &peerpb.StandRequest{Leader: string(dead), Term: term, LastTerm: last.Term, LastIndex: last.Index}
	answers := make(chan *peerpb.StandReply, len(voters)) // nil: none came
	asked := 0
	for _, id := range voters {
		if id == w.Self || id == dead {
			continue
		}
		asked++
		go func() {
			res, err := w.Ask(ctx, id, req)
			if err != nil {
				res = nil
			}
			answers <- res
		}()
	}
	yes, no := 1, false
	for range asked {
		switch res := <-answers; {
		case res == nil:
		case res.GetNo() != "":
			w.Log.Debug("another voter has this node stand for no election yet", "why", res.GetNo())
			no = true
			cancel() // of the others nothing matters any more
		default:
			yes++
		}
	}
	return !no && yes > len(voters)/2
}

// Answer says why a voter may not stand for election yet; empty: it may. That is no vote:
// raft gives those.
func (w *Watch) Answer(ctx context.Context, from ownership.NodeID, req *peerpb.StandRequest) string {
	dead := ownership.NodeID(req.GetLeader())
	mine, theirs := w.Raft.Last(), Last{req.GetLastTerm(), req.GetLastIndex()}
	before := cmp.Or(cmp.Compare(mine.Term, theirs.Term), cmp.Compare(mine.Index, theirs.Index))
	switch {
	case !w.leaves(dead):
		return "another node leads"
	case w.Raft.Term() > req.GetTerm():
		return "this node knows of a later term"
	case before > 0:
		return "the log of this node goes further"
	case before == 0 && w.Self < from && w.Raft.Stands():
		return "this node stands itself"
	case !w.hasEnded(ctx, dead):
		return "to this node, node " + string(dead) + " has not ended"
	case !w.yield(before < 0):
		return "this node stands already"
	}
	return ""
}
